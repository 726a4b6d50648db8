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
        if path.startswith("/api/models/"):
            self._model(path.removeprefix("/api/models/"))
        else:
            repo, _, rest = path.strip("/").partition("/resolve/")
            self._file(f"{repo}/{rest.split('/', 1)[-1]}")

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


def test_entry_76_wrong_id_and_wrong_revision(server: Hub) -> None:
    server.files |= adapter()
    assert refused("org/nmae").slug == "hub-not-found"
    assert "org/nmae" in str(refused("org/nmae"))
    error = refused("org/name@v9")
    assert error.slug == "hub-not-found"
    assert "revision" in str(error)


def test_entry_77_cached_adapter_is_read_without_a_connection(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files |= adapter()
    open_source("org/name")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("no connection must be tried"))
    asked = len(server.asked)
    assert len(open_source("org/name").deltas) == 1
    assert len(server.asked) == asked


def test_entry_77_offline_and_not_cached(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files |= adapter()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = refused("org/name@v1:sub")
    assert error.slug == "hub-offline"
    assert "hf download org/name --revision v1" in str(error.fix)
    assert not server.asked


def test_entry_77_no_network_falls_back_to_the_cache(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files |= adapter()
    open_source("org/name")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert len(open_source("org/name").deltas) == 1
    assert refused("org/other").slug == "hub-offline"


@pytest.mark.parametrize(
    ("status", "code", "slug"),
    [(401, "", "hub-not-found"), (403, "GatedRepo", "hub-denied"), (403, "", "hub-denied"),
     (401, "GatedRepo", "hub-denied"),
     (500, "", "hub-unavailable")],
)  # fmt: skip
def test_entry_78_denied(server: Hub, status: int, code: str, slug: str) -> None:
    server.statuses["org/name"] = (status, code)
    error = refused("org/name")
    assert error.slug == slug
    assert slug == "hub-unavailable" or "hf auth login" in str(error.fix)


@pytest.mark.usefixtures("server")
def test_entry_28_read_only_cache_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
