"""A demonstration that was killed while it wrote is made again, and nothing half-written stays."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunescope.demo.output import PAGE, RECORD, filling, prepared
from tunescope.errors import UsageError


def test_what_a_killed_demonstration_left_of_its_page_is_gone_once_it_is_made_again(tmp_path: Path) -> None:
    root = prepared(tmp_path / "demo", "quick", ["one"], overwrite=False)
    (root / f".{PAGE}.0123456789ab.part").write_text("<html>")
    (root / ".notes.part").write_text("of somebody else")
    prepared(root, "quick", ["one"], overwrite=True)
    assert {path.name for path in root.iterdir()} == {RECORD, ".notes.part"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_demonstration_that_came_to_no_end_is_made_by_the_same_call_and_a_whole_one_is_not(
    tmp_path: Path, overwrite: bool
) -> None:
    """What its training had reached is gone on with, unless it shall be overwritten."""
    root = tmp_path / "below" / "demo"

    def killed() -> None:
        with filling(root, "whole", ["runs", "norms"], False, goes_on=["runs"]):
            for name in ("runs", "norms"):
                (root / name).mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    with filling(root, "whole", ["runs", "norms"], overwrite, goes_on=["runs"]):
        assert [path.name for path in sorted(root.iterdir())] == [RECORD, *([] if overwrite else ["runs"])]
        with pytest.raises(UsageError, match="output-exists"), filling(root, "quick", ["norms"], True):
            pass
    with pytest.raises(UsageError, match="output-exists"), filling(root, "whole", ["runs", "norms"], False):
        pass
    assert [path.name for path in root.parent.iterdir()] == ["demo"]


def test_a_full_disk_under_a_demonstration_is_exit_5_and_the_same_command_makes_it(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its adapters were written past the one place that writes: exit 70."""
    monkeypatch.setattr("tunescope.demo.family.LAYERS", 2)
    with monkeypatch.context() as patch:

        def full(_: object) -> bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr("tunescope.demo.folders._container", full)
        ran = run("demo", "--quick", "-o", tmp_path / "demo")
    assert ran.code == 5, ran.err
    assert "[cannot-write]" in ran.err
    assert str(tmp_path / "demo" / "base" / "model.safetensors") in ran.err
    assert run("demo", "--quick", "-o", tmp_path / "demo").code == 0
    assert run("demo", "--quick", "-o", tmp_path / "demo").code == 2
