"""The hub, played by a small server on this machine, and its cache."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from tunescope.errors import Missing
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
    # One after the other, these stand in for answers: a status, "html", "login" or "cut".
    instead: list[int | str] = field(default_factory=list)
    everywhere: bool = False
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
        if path.startswith("/api/models/"):
            self._model(path.removeprefix("/api/models/"))
        else:
            repo, _, rest = path.strip("/").partition("/resolve/")
            self._file(f"{repo}/{rest.split('/', 1)[-1]}")

    def _other(self, what: int | str) -> None:
        if isinstance(what, int):
            self._answer(what, b"secret-token-echo", {"Retry-After": "3"})
        elif what == "html":
            self._answer(200, b"<!DOCTYPE html><title>Sign in</title>", {"Content-Type": "text/html"})
        elif what == "login":
            self._answer(302, b"", {"Location": "/login"})
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
        etag = hashlib.sha256(data).hexdigest()
        self._answer(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

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
        listening.shutdown()
        thread.join()


def adapter(folder: str = "") -> dict[str, bytes]:
    prefix = f"org/name/{folder}/" if folder else "org/name/"
    return {f"{prefix}adapter_model.safetensors": WEIGHTS, f"{prefix}adapter_config.json": CONFIG}


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
