"""The hub, played by a small server on this machine, and its cache."""

import contextlib
import hashlib
import itertools
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

import tunescope
from tunescope.errors import BadInput, Missing
from tunescope.source import open_source

constants = pytest.importorskip("huggingface_hub.constants")

COMMIT = "c" * 40
STEM = "base_model.model.model.layers.0.self_attn.q_proj"
WEIGHTS = save(
    {
        f"{STEM}.lora_A.weight": np.ones((2, 6), np.float32),
        f"{STEM}.lora_B.weight": np.ones((4, 2), np.float32),
    }
)
CONFIG = json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}).encode()


@dataclass
class Hub:
    """Files by `repository/path`, what each request asked for, and statuses that stand in for answers."""

    files: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    # One after the other, these stand in for answers: a status, "html", "login", "cut", "hang" or "trickle".
    instead: list[int | str] = field(default_factory=list)
    retry_after: str = "3"
    # Every answer is of another commit.
    moving: bool = False
    over: threading.Event = field(default_factory=threading.Event)
    everywhere: bool = False
    ranges: bool = True
    # How far from what was asked for a range begins; how often its bytes are sent, and how many at a time.
    shift: int = 0
    repeat: int = 1
    at_once: int | None = None
    sent: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """The few addresses of the hub that fetching needs."""

    state: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.state.asked.append(path)
        self.state.headers.append(dict(self.headers))
        for repo, (status, code) in self.state.statuses.items():
            if repo in path:
                self._answer(status, b"secret-token-echo", {"X-Error-Code": code} if code else {})
                return
        is_file = "/resolve/" in path and self.command == "GET"
        if self.state.instead and (self.state.everywhere or is_file):
            self._other(self.state.instead.pop(0))
            return
        if path.startswith(("/api/models/", "/api/datasets/")):
            self._model(path.split("/", 3)[3])
        else:
            repo, _, rest = path.strip("/").partition("/resolve/")
            self._file(f"{repo}/{rest.split('/', 1)[-1]}")

    def _other(self, what: int | str) -> None:
        if isinstance(what, int):
            self._answer(what, b"secret-token-echo", {"Retry-After": self.state.retry_after})
        elif what == "html":
            self._answer(200, b"<!DOCTYPE html><title>Sign in</title>", {"Content-Type": "text/html"})
        elif what == "login":
            self._answer(302, b"", {"Location": "/login"})
        elif what == "hang":
            self.state.over.wait()
            self.close_connection = True
        elif what == "trickle":
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            with contextlib.suppress(ConnectionError):
                while not self.state.over.wait(0.01):
                    self.wfile.write(b"X: x\r\n")
        else:
            # More is promised than comes before the connection closes.
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"PART")
            self.close_connection = True

    def _model(self, rest: str) -> None:
        repo, _, revision = rest.partition("/revision/")
        names = [n.removeprefix(repo + "/") for n in self.state.files if n.startswith(repo + "/")]
        if not names or revision not in ("", "main", "v1", COMMIT):
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound" if names else "RepoNotFound"})
            return
        document = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}
        self._answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str) -> None:
        data = self.state.files.get(name)
        if data is None:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        commit = f"{len(self.state.asked):040x}" if self.state.moving else COMMIT
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None or not self.state.ranges or self.command == "HEAD":
            self._answer(200, data, headers)
            return
        first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
        self.state.sent += last + 1 - first
        told = {"Content-Range": f"bytes {first + self.state.shift}-{last}/{len(data)}"}
        body = data[first : last + 1]
        if self.state.repeat == 1 and self.state.at_once is None:
            self._answer(206, body, headers | told)
        else:
            self._without_a_length(body, headers | told)

    def _without_a_length(self, body: bytes, headers: dict[str, str]) -> None:
        """Send the body piece by piece until nobody listens any more."""
        self.send_response(206)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.close_connection = True
        size = self.state.at_once or len(body)
        with contextlib.suppress(ConnectionError):
            for _ in range(self.state.repeat):
                for start in range(0, len(body), size):
                    self.state.sent += self.connection.send(body[start : start + size])

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub()
    handler = type("Bound", (Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listening.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield state
        state.over.set()
        listening.shutdown()
        thread.join()


def adapter(folder: str = "", weights: bytes = WEIGHTS) -> dict[str, bytes]:
    prefix = f"org/name/{folder}/" if folder else "org/name/"
    return {f"{prefix}adapter_model.safetensors": weights, f"{prefix}adapter_config.json": CONFIG}


def refused(text: str) -> Missing:
    with pytest.raises(Missing) as raised:
        open_source(text)
    assert raised.value.exit_code == 4
    assert "hf_secret" not in str(raised.value)
    assert "secret-token-echo" not in str(raised.value)
    return raised.value


def test_adapter_is_fetched_with_its_config_and_nothing_else(server: Hub) -> None:
    server.files |= adapter() | {"org/name/model.safetensors": b"huge", "org/name/optimizer.pt": b"never"}
    source = open_source("org/name@v1")
    assert (source.label, source.location) == ("name", f"hf://org/name@{COMMIT}")
    assert source.deltas[0].scale == 2.0
    assert not any(path.endswith(("/model.safetensors", "/optimizer.pt")) for path in server.asked)


def test_folder_of_a_repository(server: Hub) -> None:
    server.files |= adapter("runs/checkpoint-5")
    source = open_source("late=hf://org/name/runs/checkpoint-5")
    assert (source.label, source.location) == ("late", f"hf://org/name@{COMMIT}/runs/checkpoint-5")
    assert open_source("org/name:runs/checkpoint-5").label == "checkpoint-5"


def test_repository_without_an_adapter_names_those_below(server: Hub) -> None:
    server.files |= adapter("runs/one")
    error = refused("org/name")
    assert error.slug == "no-adapter-on-hub"
    assert "org/name:runs/one" in str(error.fix)


def test_a_wrong_id_or_revision_is_missing_and_named(server: Hub) -> None:
    server.files |= adapter()
    assert refused("org/nmae").slug == "hub-not-found"
    assert "org/nmae" in str(refused("org/nmae"))
    error = refused("org/name@v9")
    assert error.slug == "hub-not-found"
    assert "revision" in str(error)


def test_offline_a_cached_adapter_is_read_without_a_connection(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files |= adapter()
    open_source("org/name")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("no connection must be tried"))
    asked = len(server.asked)
    assert len(open_source("org/name").deltas) == 1
    assert len(server.asked) == asked


def test_offline_what_is_not_cached_is_listed_with_the_command_that_fetches_it(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files |= adapter()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = refused("org/name@v1:sub")
    assert error.slug == "hub-offline"
    assert "hf download org/name --revision v1" in str(error.fix)
    assert not server.asked


def test_without_a_network_the_cache_is_used(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files |= adapter()
    open_source("org/name")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert len(open_source("org/name").deltas) == 1
    assert refused("org/other").slug == "hub-offline"


@pytest.mark.parametrize(
    ("status", "code", "slug"),
    [(401, "", "hub-denied"), (403, "GatedRepo", "hub-denied"), (403, "", "hub-denied"),
     (401, "GatedRepo", "hub-denied"),
     (500, "", "hub-unavailable")],
)  # fmt: skip
def test_a_denied_or_failing_hub_is_exit_4_without_a_token_in_the_text(
    server: Hub, status: int, code: str, slug: str
) -> None:
    server.statuses["org/name"] = (status, code)
    error = refused("org/name")
    assert error.slug == slug
    assert slug == "hub-unavailable" or "hf auth login" in str(error.fix)


@pytest.mark.usefixtures("server")
def test_a_read_only_cache_without_links_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "cache" / "models--org--name"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (snapshot / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (snapshot / "adapter_config.json").write_bytes(CONFIG)
    for folder in (snapshot, repository):
        folder.chmod(0o555)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert len(open_source("org/name").deltas) == 1
    for folder in (repository, snapshot):
        folder.chmod(0o755)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that were made, without making them."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again_as_it_says(
    server: Hub, waits: list[float], capsys: pytest.CaptureFixture[str], status: int
) -> None:
    server.files |= adapter()
    server.instead, server.everywhere = [status, status], True
    assert len(open_source("org/name").deltas) == 1
    assert waits
    assert max(waits) <= 60
    said = capsys.readouterr().err
    assert f"the server answered {status}" in said
    assert "hf_secret" not in said


def test_a_hub_that_stays_busy_is_given_up(server: Hub, waits: list[float]) -> None:
    server.statuses["org/name"] = (503, "")
    error = refused("org/name")
    assert error.slug == "hub-unavailable"
    assert sum(waits) < 200


def test_a_login_page_with_status_200_is_no_answer(server: Hub) -> None:
    server.instead, server.everywhere = ["html"] * 20, True
    error = refused("org/name")
    assert error.slug == "hub-unavailable"
    assert "page to log in" in str(error)


@pytest.mark.usefixtures("waits")
def test_a_login_page_in_the_place_of_the_weights_is_exit_4(server: Hub) -> None:
    server.files |= adapter()
    server.instead = ["html"] * 20
    refused("org/name")


def test_a_redirect_to_a_login_is_exit_4(server: Hub) -> None:
    server.instead, server.everywhere = ["login"] * 40, True
    refused("org/name")


def test_a_download_that_breaks_off_is_taken_up_again(server: Hub, waits: list[float]) -> None:
    server.files |= adapter()
    server.instead = ["cut"]
    assert len(open_source("org/name").deltas) == 1
    del waits


@pytest.mark.usefixtures("waits")
def test_a_download_that_breaks_off_every_time_is_exit_4(server: Hub) -> None:
    server.files |= adapter()
    server.instead = ["cut"] * 40
    refused("org/name")


def test_an_expired_token_is_named_as_what_it_is(server: Hub) -> None:
    server.statuses["org/name"] = (401, "")
    assert "has expired" in str(refused("org/name"))


LARGE = 512


def large(alpha: bool = False) -> dict[str, np.ndarray[Any, Any]]:
    """Forty modules, of PEFT or (with alphas) of kohya, with far more values than names."""
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for layer in range(40):
        stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        sides = ("lora_A.weight", "lora_B.weight")
        if alpha:
            stem, sides = stem.replace("base_model.model.", ""), ("lora_down.weight", "lora_up.weight")
            tensors[f"{stem}.alpha"] = np.full(1, 2.0, np.float32)
        tensors[f"{stem}.{sides[0]}"] = np.full((4, LARGE), 0.5, np.float32)
        tensors[f"{stem}.{sides[1]}"] = np.full((LARGE, 4), 0.5, np.float32)
    return tensors


def test_check_fetches_the_headers_of_an_adapter_alone_and_states_how_much(server: Hub) -> None:
    weights = save(large())
    server.files |= {"org/name/adapter_model.safetensors": weights, "org/name/adapter_config.json": CONFIG}
    study = tunescope.check("org/name@v1")
    found = study.readout["models"]["name"]
    assert (found["modules"], found["bytes"], found["bytes_read"]) == (40, len(weights), server.sent)
    assert server.sent <= 20_000 < len(weights) // 10
    (source,) = study.sources
    assert (source["location"], source["revision"]) == (f"hf://org/name@{COMMIT}", COMMIT)
    assert source["digest"] == {"kind": "hub_etag", "value": hashlib.sha256(weights).hexdigest()}
    assert study.table.frame["scale"].unique().to_list() == [2.0]
    asked = [path for path in server.asked if "/resolve/" in path]
    assert all(f"/resolve/{COMMIT}/" in path for path in asked)


@pytest.mark.parametrize("suffix", ["lora.safetensors", "adapter_model.safetensors"])
def test_numbers_that_are_tensors_of_their_own_are_fetched_too(server: Hub, suffix: str) -> None:
    weights = save(large(alpha=True))
    server.files[f"org/kohya/{suffix}"] = weights
    study = tunescope.check("org/kohya")
    assert study.table.frame["scale"].unique().to_list() == [0.5]
    assert study.readout["models"]["kohya"]["bytes_read"] == server.sent < len(weights) / 2


def test_all_shards_of_an_adapter_are_read_by_their_headers(server: Hub) -> None:
    tensors = large()
    for number, names in enumerate((list(tensors)[:40], list(tensors)[40:]), 1):
        part = save({name: tensors[name] for name in names})
        server.files[f"org/shards/adapter_model-{number:05}-of-00002.safetensors"] = part
    server.files["org/shards/adapter_config.json"] = CONFIG
    study = tunescope.check("org/shards")
    assert study.table.frame.height == 40
    assert len(study.sources[0]["files"]) == 2


def test_values_are_fetched_only_where_they_are_asked_for(server: Hub) -> None:
    server.files |= adapter()
    deep = tunescope.check("org/name", deep=True)
    assert deep.sources[0]["files"]
    assert server.sent == 0


def test_a_server_without_ranges_sends_the_file_whole(server: Hub) -> None:
    server.files |= adapter()
    server.ranges = False
    found = tunescope.check("org/name").readout["models"]["name"]
    assert (found["modules"], found["attached"]) == (1, None)


def test_of_a_range_without_end_no_more_is_taken_than_was_asked_for(server: Hub) -> None:
    server.files |= adapter(weights=save(large()))
    server.repeat = 100_000
    with pytest.raises(Missing, match="more than the") as raised:
        tunescope.check("org/name")
    assert (raised.value.slug, raised.value.exit_code) == ("hub-unavailable", 4)


def test_a_range_that_trickles_is_given_up(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files |= adapter(weights=save(large()))
    server.at_once = 1
    clock = itertools.count(0, 3600)
    monkeypatch.setattr("tunescope.source.hub_headers.monotonic", lambda: float(next(clock)))
    with pytest.raises(Missing, match=r"bytes in \d+ s") as raised:
        tunescope.check("org/name")
    assert (raised.value.slug, raised.value.exit_code) == ("hub-unavailable", 4)


def test_a_range_that_begins_elsewhere_is_not_taken_for_what_was_asked_for(server: Hub) -> None:
    server.files |= adapter(weights=save(large()))
    server.shift = 1
    with pytest.raises(Missing, match="from 1") as raised:
        tunescope.check("org/name")
    assert raised.value.slug == "hub-moved"


def test_offline_check_reads_the_headers_of_the_cache(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files |= adapter()
    open_source("org/name")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert tunescope.check("org/name").table.frame.height == 1
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert tunescope.check("org/name").table.frame.height == 1


def test_a_damaged_header_on_the_hub_is_exit_3_and_names_the_file(server: Hub) -> None:
    server.files |= adapter() | {"org/name/adapter_model.safetensors": WEIGHTS[:60]}
    with pytest.raises(BadInput) as raised:
        tunescope.check("org/name")
    assert raised.value.exit_code == 3
    assert raised.value.file == "org/name/adapter_model.safetensors"


@pytest.mark.parametrize("sharded", [False, True])
def test_base_and_adapter_are_both_read_from_the_hub_by_their_headers(server: Hub, sharded: bool) -> None:
    """The bytes that are stated for each are those that the server sent."""
    layers = range(40)
    base = {f"model.layers.{n}.self_attn.q_proj.weight": np.ones((LARGE, LARGE), np.float16) for n in layers}
    names = list(base)
    parts = {"model.safetensors": names}
    if sharded:
        parts = {f"model-0000{i + 1}-of-00003.safetensors": names[i::3] for i in range(3)}
        server.files["org/base/model.safetensors.index.json"] = b"{}"
    server.files |= {f"org/base/{file}": save({n: base[n] for n in held}) for file, held in parts.items()}
    server.files |= {
        "org/base/config.json": b"{}",
        "org/name/adapter_model.safetensors": save(large()),
        "org/name/adapter_config.json": CONFIG.replace(b'"r": 2', b'"r": 4'),
    }
    readout = tunescope.check("org/name", base="org/base").readout
    assert readout["models"]["name"]["attached"] == 40
    assert readout["base"]["weights"] == 40
    assert readout["models"]["name"]["bytes_read"] + readout["base"]["bytes_read"] == server.sent


def test_a_base_in_a_folder_of_its_repository_is_read_there(server: Hub) -> None:
    weights = save({"model.layers.0.self_attn.q_proj.weight": np.ones((4, 6), np.float16)})
    server.files |= adapter() | {"org/base/sub/model.safetensors": weights}
    assert tunescope.check("org/name", base="org/base:sub").readout["models"]["name"]["attached"] == 1


BASE = {
    f"model.layers.0.self_attn.{name}.weight": np.full((4, 6), 0.5, np.float32) for name in ("q_proj", "v")
}
TUNED = BASE | {"model.layers.0.self_attn.q_proj.weight": np.full((4, 6), 0.75, np.float32)}


def whole(repo: str, tensors: dict[str, np.ndarray], name: str = "model.safetensors") -> dict[str, bytes]:
    return {f"{repo}/{name}": save(tensors), f"{repo}/config.json": b'{"model_type": "llama"}'}


def test_a_whole_model_on_the_hub_is_compared_with_its_base_there(server: Hub) -> None:
    server.files |= whole("org/base", BASE) | whole("org/tuned", TUNED)
    server.files |= {"org/tuned/pytorch_model.bin": b"never", "org/tuned/onnx/model.safetensors": b"never"}
    study = tunescope.norms("org/tuned", base="org/base")
    changed = study.table.frame.filter(study.table.frame["frobenius_norm"] > 0)
    assert changed["module_type"].to_list() == ["self_attn.q_proj"]
    assert changed["frobenius_norm"][0] == pytest.approx(0.25 * 24**0.5)
    assert not any(path.endswith((".bin", "onnx/model.safetensors")) for path in server.asked)


def test_an_adapter_on_the_hub_stands_beside_a_whole_model(server: Hub) -> None:
    server.files |= whole("org/base", BASE) | whole("org/tuned", TUNED) | adapter()
    study = tunescope.norms("full=org/tuned", "lora=org/name", base="org/base")
    assert set(study.table.frame["model_id"]) == {"full", "lora"}
    assert study.table.frame["relative_norm"].null_count() == 0


def test_a_whole_model_in_the_cache_is_read_offline(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files |= whole("org/base", BASE) | whole("org/tuned", TUNED)
    before = tunescope.norms("org/tuned", base="org/base").table.frame
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(server.asked)
    assert tunescope.norms("org/tuned", base="org/base").table.frame.equals(before)
    assert len(server.asked) == asked


def test_a_base_of_pickles_alone_is_read_through_the_guarded_path(server: Hub, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({name: torch.from_numpy(array) for name, array in BASE.items()}, tmp_path / "model.bin")
    server.files |= whole("org/tuned", TUNED)
    server.files["org/base/pytorch_model.bin"] = (tmp_path / "model.bin").read_bytes()
    server.files["org/base/training_args.bin"] = b"never"
    study = tunescope.norms("org/tuned", base="org/base")
    assert study.table.frame["changed_fraction"].to_list() == [1.0, 0.0]
    assert not any(path.endswith("training_args.bin") for path in server.asked)


def test_a_repository_without_weights_is_no_base(server: Hub) -> None:
    server.files |= whole("org/tuned", TUNED) | adapter() | {"org/empty/README.md": b"x"}
    for base in ("org/name", "org/empty"):
        with pytest.raises(Missing) as caught:
            tunescope.norms("org/tuned", base=base)
        assert caught.value.slug == "no-model-on-hub"
