"""A file that something else writes to while a command reads it: the result is refused, by every command."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunescope.source.files import disk

from .disk.commands import make_inputs

GIVEN: dict[str, Callable[[Path], list[Any]]] = {
    "norms": lambda i: ["norms", i / "tuned"],
    "norms beside its base": lambda i: ["norms", i / "tuned", "--base", i / "model"],
    "norms of a merged model": lambda i: ["norms", i / "merged.safetensors", "--base", i / "model"],
    "subspace": lambda i: ["subspace", i / "a", i / "tuned"],
    "check": lambda i: ["check", i / "tuned", "--base", i / "model", "--deep"],
    "verify": lambda i: ["verify", i / "merged.safetensors", i / "tuned", "--base", i / "model"],
    "trajectory": lambda i: ["trajectory", i / "run"],
}


@pytest.mark.parametrize("way", GIVEN)
def test_a_file_that_changes_while_a_command_reads_it_is_exit_3_and_leaves_nothing(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Every file of weights is touched, as by a trainer that saves again, once its first values were read."""
    inputs, out = tmp_path / "inputs", tmp_path / "out"
    inputs.mkdir()
    make_inputs(inputs)
    fill, touched = disk._fill, set()

    def filled(descriptor: int, view: memoryview, offset: int, path: Path) -> None:
        fill(descriptor, view, offset, path)
        if path.suffix == ".safetensors" and offset + len(view) > 100 and path not in touched:
            later = path.stat().st_mtime_ns + 10**9
            os.utime(path, ns=(later, later))
            touched.add(path)

    monkeypatch.setattr(disk, "_fill", filled)
    ran = run(*GIVEN[way](inputs), "-o", out, "--figures", "none")
    assert touched
    assert ran.code == 3, ran.out + ran.err
    assert "[changed-while-read]" in ran.err
    assert not out.exists()
