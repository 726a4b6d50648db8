"""The folder of a demonstration, where one was killed at its first write."""

from pathlib import Path

import pytest

from tunescope.demo.output import RECORD, prepared
from tunescope.errors import UsageError


def test_what_a_killed_demonstration_had_begun_is_no_obstacle_to_the_same_command(tmp_path: Path) -> None:
    (tmp_path / f".{RECORD}.0123456789ab.part").write_bytes(b"")
    assert prepared(tmp_path, "quick", ["norms"], overwrite=False) == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == [RECORD]


def test_a_folder_with_anything_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    for name in (f".{RECORD}.0123456789ab.part", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UsageError, match="output-exists"):
        prepared(tmp_path, "quick", ["norms"], overwrite=True)
    assert len(list(tmp_path.iterdir())) == 2
