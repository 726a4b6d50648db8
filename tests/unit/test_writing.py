"""What is written is whole or absent, and one process at a time writes."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunescope import writing
from tunescope.errors import Exhausted
from tunescope.writing import beside, clear_remains, held, published, write_atomically, write_text

PUBLISH = """
import os, sys
from pathlib import Path
from tunescope import writing
at = int(sys.argv[2])
count = 0
def dying(real):
    def call(*a, **k):
        global count
        count += 1
        if count == at:
            os.kill(os.getpid(), 9)
        return real(*a, **k)
    return call
for name in ("rename", "replace", "fsync", "mkdir"):
    setattr(os, name, dying(getattr(os, name)))
if sys.argv[3] == "no-swap":
    writing._swapped = lambda a, b: False
with writing.published(Path(sys.argv[1])) as work:
    for name in ("one", "two"):
        writing.write_text(work / name, "new")
"""


def whole(folder: Path) -> str:
    """`old`, `new` or `absent`; anything else is torn."""
    if not folder.exists():
        return "absent"
    texts = {path.read_text() for path in folder.iterdir()}
    assert len(texts) == 1, texts
    assert {path.name for path in folder.iterdir()} == {"one", "two"}
    return texts.pop()


def old_study(folder: Path) -> None:
    with published(folder) as work:
        for name in ("one", "two"):
            write_text(work / name, "old")


@pytest.mark.parametrize("swap", ["swap", "no-swap"])
@pytest.mark.parametrize("before", ["old", "absent"])
def test_killed_at_any_rename_sync_or_folder_it_is_whole_and_the_next_run_succeeds(
    tmp_path: Path, before: str, swap: str
) -> None:
    killed = 0
    for at in range(1, 40):
        out = tmp_path / f"{at}" / "study"
        out.parent.mkdir()
        if before == "old":
            old_study(out)
        command = [sys.executable, "-c", PUBLISH, str(out), str(at), swap]
        done = subprocess.run(command, capture_output=True, check=False, env={**os.environ})
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
        killed += 1
        if swap == "swap":
            assert whole(out) in (before, "new")
        with published(out) as work:
            for name in ("one", "two"):
                write_text(work / name, "new")
        assert whole(out) == "new"
        assert [path.name for path in out.parent.iterdir()] == ["study"]
    assert killed >= 5


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("name", ["fsync", "rename", "replace"])
def test_a_disk_that_fails_at_the_nth_call_leaves_the_old_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    old_study(tmp_path / "study")
    real = getattr(os, name)
    for at in range(1, 12):
        count = 0

        def failing(*a: Any, **k: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:  # noqa: B023
                raise OSError(code, os.strerror(code))
            return real(*a, **k)

        monkeypatch.setattr(os, name, failing)
        try:
            with published(tmp_path / "study") as work:
                for file in ("one", "two"):
                    write_text(work / file, "new")
        except Exhausted:
            pass
        else:
            break
        finally:
            monkeypatch.setattr(os, name, real)
        assert whole(tmp_path / "study") in ("old", "new")
        assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_an_error_inside_leaves_everything_as_it_was(tmp_path: Path) -> None:
    old_study(tmp_path / "study")

    def interrupted() -> None:
        with published(tmp_path / "study") as work:
            write_text(work / "one", "new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert whole(tmp_path / "study") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_outputs_whose_names_begin_alike_do_not_touch_each_others_work(tmp_path: Path) -> None:
    names = ["study", "study.v2", *(f"qwen2.5-0.5b-instruct-physics-lr-2e-4-seed-{k}" for k in range(40))]
    places = [beside(tmp_path / name, ".x.part").name for name in (*names, "x" * 255, "x" * 254)]
    assert len(set(places)) == len(places)
    assert max(len(name.encode()) for name in places) <= 255
    with published(tmp_path / "study.v2") as work:
        write_text(work / "one", "new")
        old_study(tmp_path / "study")
        write_text(work / "two", "new")
    assert whole(tmp_path / "study.v2") == "new"


HOLD = "import sys, time; from pathlib import Path; from tunescope.writing import held\n"
HOLD += "with held(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"


def test_a_living_holder_is_named_and_a_dead_one_does_not_matter(tmp_path: Path) -> None:
    target = tmp_path / "study"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(Exhausted, match="locked") as raised, held(target):
        pass
    assert str(process.pid) in str(raised.value)
    process.kill()
    process.communicate()
    lock = beside(target, ".lock")
    assert lock.exists()
    for left in ("", "process 1 on another-host", f"process {os.getpid()}", "\x00\xff"):
        lock.write_text(left)
        with held(target):
            assert lock.exists()
        assert not lock.exists()


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_mode_that_the_umask_leaves(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        path = write_text(tmp_path / "x", "text")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = write_text(tmp_path / "x", "old")

    def fail(out: Any) -> None:
        out.write(b"half")
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(Exhausted, match="cannot-write"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("code", "fix"),
    [(errno.ENOSPC, "make room on that disk"), (errno.EIO, "see what the disk or mount reports")],
)
def test_of_a_study_that_cannot_be_written_the_file_that_was_meant_is_named_and_what_to_do(
    tmp_path: Path, code: int, fix: str
) -> None:
    """Not the hidden folder that it is filled in, which is gone when the message is read."""

    def fail(_: Any) -> None:
        raise OSError(code, "not now")

    with pytest.raises(Exhausted) as caught, published(tmp_path / "study") as work:
        write_atomically(work / "readout.md", fail)
    assert caught.value.file == str(tmp_path / "study" / "readout.md")
    assert str(caught.value.fix).startswith(fix)
    assert "run the same command again" in str(caught.value.fix)
    assert list(tmp_path.iterdir()) == []


def test_what_json_cannot_say_becomes_what_it_gives_back() -> None:
    value: Callable[[], Any] = lambda: {1: (float("nan"), {"b", "a"} - {"b"}), "p": Path("x")}  # noqa: E731
    assert writing.plain(value()) == {"1": [None, ["a"]], "p": "x"}


def test_remains_of_a_killed_write_are_cleared_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page[1].html"
    write_text(page, "new")
    ours = tmp_path / ".page[1].html.0123456789ab.part"
    others = [".page1.html.0123456789ab.part", ".page[1].html.notes.part", "page[1].html.0123456789ab.part"]
    for name in (ours.name, *others):
        (tmp_path / name).write_text("half")
    clear_remains(page)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([page.name, *others])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.0123456789ab.part").write_text("half")
    clear_remains(tmp_path)
    assert [p.name for p in tmp_path.rglob(".*.part")] == [others[1]]


@pytest.mark.parametrize("call", ["write", "ftruncate"])
def test_a_disk_that_has_no_room_for_a_lock_is_exit_5_and_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(f"tunescope.writing.os.{call}", full)
        with pytest.raises(Exhausted, match="No space left"), held(tmp_path / "study"):
            pytest.fail("nobody may write there")
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path / "study"):
        assert beside(tmp_path / "study", ".lock").exists()
