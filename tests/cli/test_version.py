"""`tunescope --version`: the version, and whether whole weights are summed up by the compiled pass."""

import subprocess
import sys

import pytest

from tunescope.linalg.compiled import UNIT_SUMS, library_of, load
from tunescope.version import __version__


@pytest.mark.parametrize("only", ["", "1"])
def test_the_version_and_the_engine(monkeypatch: pytest.MonkeyPatch, only: str) -> None:
    monkeypatch.setenv("TUNESCOPE_NUMPY_ONLY", only)
    done = subprocess.run(
        [sys.executable, "-m", "tunescope", "--version"], capture_output=True, text=True, check=True
    )
    first, engine = done.stdout.splitlines()
    assert first == f"tunescope {__version__}"
    fast = not only and load(library_of(UNIT_SUMS)) is not None
    assert ("compiled pass" in engine) is fast
    assert ("NumPy" in engine) is not fast
