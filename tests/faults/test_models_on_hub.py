"""Models and data on the hub, on a server that misbehaves: exit 4 and one sentence, or the answer."""

import gzip
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults.disk.commands import make_inputs
from tests.unit.source.test_hub import COMMIT, Handler, Hub, adapter, constants, server

from tunescope import hub_session
from tunescope.corpus.hub import hub_records
from tunescope.errors import BadInput, Exhausted, Missing
from tunescope.lm.place import located
from tunescope.lm.pretrained import load_config, load_model, load_tokenizer
from tunescope.source import open_source

pytest.importorskip("transformers")

__all__ = ["server"]

PAGE = b"<!DOCTYPE html><title>Sign in</title>"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


@pytest.fixture
def hub(server: Hub, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A server with the model `org/model` and an adapter of it, `org/name`; waits take no time."""
    server.files |= {f"org/model/{p.name}": p.read_bytes() for p in (inputs / "model").iterdir()} | adapter()
    monkeypatch.setattr("time.sleep", lambda _: None)
    return server


def importance(inputs: Path, *more: object) -> list[object]:
    rows = ["--data", inputs / "rows.jsonl", "--sequences", 2, "--max-length", 16]
    return ["importance", "org/model", *rows, "--no-layer-importance", *more]


def attribute(inputs: Path, *more: object) -> list[object]:
    rows = ["--data", inputs / "rows.jsonl", "--sequences", 2, "--max-length", 16, "--nodes", 1]
    return ["attribute", inputs / "tuned", "--base", "org/model", *rows, *more]


def finetune(inputs: Path, *more: object) -> list[object]:
    sizes = ["--max-steps", 1, "--quantize", "none", "--rank", 2, "--max-length", 16]
    return ["finetune", "--model", "org/model", "--data", f"x={inputs / 'rows.jsonl'}", *sizes, *more]


VERBS = {"importance": importance, "attribute": attribute, "finetune": finetune}
ATTACKS: dict[str, tuple[str, Callable[[Hub], Any]]] = {
    "expired token": ("hub-denied", lambda h: h.statuses.update({"org/model": (401, "")})),
    "denied": ("hub-denied", lambda h: h.statuses.update({"org/model": (403, "")})),
    "gated": ("hub-denied", lambda h: h.statuses.update({"org/model": (403, "GatedRepo")})),
    "busy for ever": ("hub-unavailable", lambda h: h.statuses.update({"org/model": (429, "")})),
    "broken": ("hub-unavailable", lambda h: h.statuses.update({"org/model": (500, "")})),
    "page": ("hub-unavailable", lambda h: _everywhere(h, "html")),
    "login": ("hub-unavailable", lambda h: _everywhere(h, "login")),
    "page as config": ("hub-unavailable", lambda h: h.files.update({"org/model/config.json": PAGE})),
    "page as tokenizer": ("hub-unavailable", lambda h: h.files.update({"org/model/tokenizer.json": PAGE})),
    "moving": ("hub-moved", lambda h: setattr(h, "moving", True)),
    "day of waiting": ("hub-unavailable", lambda h: _waiting(h, "86400")),
    "wait until a date": ("hub-unavailable", lambda h: _waiting(h, "Wed, 21 Oct 2099 07:28:00 GMT")),
}  # fmt: skip


def _everywhere(hub: Hub, what: int | str) -> None:
    hub.instead, hub.everywhere = [what] * 200, True


def _waiting(hub: Hub, until: str) -> None:
    _everywhere(hub, 429)
    hub.retry_after = until


# All load through one function, so that one verb stands for the others in most attacks.
TRIED = [
    (v, a) for v in VERBS for a in ATTACKS if v == "importance" or a in ("expired token", "page", "moving")
]


@pytest.mark.parametrize(("verb", "attack"), TRIED)
def test_a_model_whose_server_misbehaves_is_exit_4_without_a_token(
    hub: Hub, run: Callable[..., Any], inputs: Path, tmp_path: Path, verb: str, attack: str
) -> None:
    slug, prepare = ATTACKS[attack]
    prepare(hub)
    ran = run("--debug", *VERBS[verb](inputs, "-o", tmp_path / "out"))
    assert ran.code == 4, ran.err
    assert f"[{slug}]" in ran.err
    for secret in ("hf_secret", "secret-token-echo"):
        assert secret not in ran.err + ran.out
    assert not list(tmp_path.glob("out/**/study.json"))


DATA: dict[str, tuple[str, Callable[[Hub], Any]]] = {
    "expired token": ("hub-denied", lambda h: h.statuses.update({"org/rows": (401, "")})),
    "denied": ("hub-denied", lambda h: h.statuses.update({"org/rows": (403, "")})),
    "broken": ("hub-unavailable", lambda h: h.statuses.update({"org/rows": (500, "")})),
    "page": ("hub-unavailable", lambda h: _everywhere(h, "html")),
    "login": ("hub-unavailable", lambda h: _everywhere(h, "login")),
    "day of waiting": ("hub-unavailable", lambda h: _waiting(h, "86400")),
    "cut": ("data-hub", lambda h: _everywhere(h, "cut")),
}  # fmt: skip


@pytest.mark.parametrize("attack", DATA)
def test_data_whose_server_misbehaves_are_exit_4_without_a_token(hub: Hub, attack: str) -> None:
    pytest.importorskip("datasets")
    slug, prepare = DATA[attack]
    prepare(hub)
    with pytest.raises(Missing) as caught:
        list(hub_records("org/rows"))
    assert caught.value.slug == slug
    assert caught.value.file == "org/rows"
    assert "hf_secret" not in str(caught.value)


def test_a_script_that_the_hub_does_not_list_is_a_page_that_answers_for_everything(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")

    def load_dataset(*_: Any, **options: Any) -> None:
        assert options["revision"] == COMMIT
        raise RuntimeError("Dataset scripts are no longer supported, but found rows.py")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    hub.files["org/rows/train.jsonl"] = b"{}"
    with pytest.raises(Missing, match="hub-unavailable"):
        list(hub_records("org/rows"))
    hub.files["org/rows/rows.py"] = b"x"
    with pytest.raises(BadInput, match="remote-code"):
        list(hub_records("org/rows"))


@pytest.mark.parametrize("what", [429, 503, "cut"])
def test_a_model_is_fetched_from_a_server_that_is_soon_there_again(hub: Hub, what: int | str) -> None:
    hub.instead = [what]
    assert load_config("org/model").num_hidden_layers == 2
    assert len(load_tokenizer("org/model")) > 100


def test_a_model_of_the_hub_is_of_one_commit_and_named_by_its_repository(hub: Hub) -> None:
    model = load_model("org/model@v1")
    assert model.name_or_path == "org/model"
    files = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files
    assert located("org/model@v1").name == COMMIT


def test_of_a_model_no_code_and_no_second_format_of_weights_is_fetched(hub: Hub) -> None:
    hub.files |= {f"org/model/{name}": b"x" for name in ("extra.py", "pytorch_model.bin", "optimizer.pt")}
    load_tokenizer("org/model")
    load_model("org/model")
    asked = " ".join(hub.asked)
    assert not [name for name in ("extra.py", "pytorch_model.bin", "optimizer.pt") if name in asked]


def test_a_config_with_code_is_refused_before_any_weights_are_fetched(hub: Hub) -> None:
    config = json.loads(hub.files["org/model/config.json"]) | {"auto_map": {"AutoConfig": "extra.C"}}
    hub.files["org/model/config.json"] = json.dumps(config).encode()
    with pytest.raises(BadInput, match="remote-code"):
        load_model("org/model")
    assert not any("model.safetensors" in path for path in hub.asked)


def test_offline_a_cached_model_is_loaded_without_a_connection(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_model("org/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("no connection must be tried"))
    assert load_model("org/model").config.num_hidden_layers == 2
    assert len(load_tokenizer("org/model")) > 100
    assert hub.asked


def test_offline_a_model_that_is_not_cached_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("no connection must be tried"))
    with pytest.raises(Missing, match="hf download org/model"):
        load_model("org/model")
    assert not hub.asked


def test_a_page_is_not_kept_in_the_cache_in_the_place_of_a_file(hub: Hub) -> None:
    """What the advice says, to run again, works."""
    sound = hub.files["org/name/adapter_model.safetensors"]
    hub.files["org/name/adapter_model.safetensors"] = PAGE
    with pytest.raises(Missing, match="a page in the place of"):
        open_source("org/name")
    hub.files["org/name/adapter_model.safetensors"] = sound
    assert len(open_source("org/name").deltas) == 1


@pytest.mark.parametrize("what", ["hang", "trickle"])
def test_headers_that_never_come_are_given_up(hub: Hub, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(hub_session, "_PATIENCE", 0.2)
    _everywhere(hub, what)
    with pytest.raises(Missing) as caught:
        load_config("org/model")
    assert caught.value.slug == "hub-offline"


def test_a_body_that_trickles_is_given_up(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 3600)
    monkeypatch.setattr(hub_session, "monotonic", lambda: float(next(clock)))
    with pytest.raises(Missing, match="answers too slowly"):
        load_config("org/model")
    assert hub.asked


@pytest.mark.parametrize("load", [lambda: load_config("org/model"), lambda: open_source("org/name")])
@pytest.mark.parametrize("everywhere", [True, False])
def test_an_answer_that_unpacks_to_far_more_than_was_sent_is_exit_4(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, load: Callable[[], Any], everywhere: bool
) -> None:
    """Every answer, or those with files alone."""
    bomb, plain = gzip.compress(b"[" + bytes(2**24)), Handler._answer

    def answer(self: Any, status: int, body: bytes, headers: dict[str, str]) -> None:
        if status == 200 and self.command == "GET" and (everywhere or "/resolve/" in self.path):
            body, headers = bomb, headers | {"Content-Encoding": "gzip"}
        plain(self, status, body, headers)

    monkeypatch.setattr(Handler, "_answer", answer)
    with pytest.raises(Missing, match="unpacks to far more than was sent") as caught:
        load()
    assert caught.value.exit_code == 4
    assert "hf_secret" not in str(caught.value)
    assert hub.asked


@pytest.mark.filterwarnings("ignore:Not enough free disk space")
@pytest.mark.parametrize("load", [lambda: load_config("org/model"), lambda: open_source("org/name")])
def test_a_file_that_is_said_to_be_larger_than_the_library_fetches_is_exit_4(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, load: Callable[[], Any]
) -> None:
    def answer(self: Any, status: int, body: bytes, headers: dict[str, str]) -> None:
        size = 10**15 if "/resolve/" in self.path else len(body)
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(size)}).items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(body)

    monkeypatch.setattr(Handler, "_answer", answer)
    with pytest.raises(Missing, match="hub-too-large") as caught:
        load()
    assert caught.value.exit_code == 4
    assert hub.asked


def test_a_full_disk_under_the_cache_is_exit_5(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "cache")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    with pytest.raises(Exhausted, match="disk-full") as caught:
        open_source("org/name")
    assert caught.value.exit_code == 5
    assert hub.asked


def test_a_study_of_a_model_on_the_hub_holds_no_token(
    hub: Hub, run: Callable[..., Any], inputs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    ran = run(*importance(inputs, "-o", out, "--figures", "none"))
    assert ran.code == 0, ran.err
    assert run("report", out, "-o", tmp_path / "page.html").code == 0
    written = [*out.rglob("*"), tmp_path / "page.html"]
    assert not [path for path in written if path.is_file() and b"hf_secret" in path.read_bytes()]
    assert any("Bearer hf_secret" in headers.get("authorization", "") for headers in map(_lower, hub.headers))
    shutil.rmtree(out)


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
