"""A study folder that appears whole or not at all, and never harms what was there before."""

import contextlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunescope.errors import Exhausted, UsageError
from tunescope.table import SCHEMA_VERSION
from tunescope.version import __version__
from tunescope.writing import write_json

RECORD = "study.json"


class StudyFolder:
    """Where a running command writes: `tables/` and `figures/` below a hidden folder beside the target."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tables = root / "tables"
        self.figures = root / "figures"
        self.tables.mkdir(parents=True)
        self.figures.mkdir()


def check_output(out: Path, inputs: Sequence[Path], overwrite: bool) -> None:
    """Refuse an output that cannot be written or would harm something, before anything is computed."""
    if not out.absolute().parent.is_dir():
        raise UsageError(
            "no-parent", "the folder to write into is not there", file=out, fix="create its parent first"
        )
    resolved = out.resolve()
    for path in (p.resolve() for p in inputs):
        if resolved == path or (path.is_file() and resolved == path.parent) or resolved in path.parents:
            raise UsageError("output-is-input", "the output would lie on an input", file=out, found=path)
    if out.is_dir() and any(out.iterdir()):
        _check_overwrite(out, overwrite)
    elif out.exists() and not out.is_dir():
        raise UsageError("output-exists", "the output is an existing file", file=out, fix="name a folder")
    if not os.access(out if out.exists() else out.absolute().parent, os.W_OK):
        raise Exhausted("read-only", "the output cannot be written", file=out, fix="choose a writable place")


def _check_overwrite(out: Path, overwrite: bool) -> None:
    if not overwrite:
        raise UsageError(
            "output-exists", "the output folder is not empty", file=out, fix="--overwrite, or another -o"
        )
    if not (out / RECORD).is_file():
        raise UsageError(
            "not-ours",
            "the output folder was not written by tunescope, so it is not overwritten",
            file=out,
            expected=f"a folder with {RECORD}",
            fix="choose another -o",
        )


@contextlib.contextmanager
def study_folder(
    out: str | Path,
    *,
    arguments: Mapping[str, Any],
    sources: Sequence[Mapping[str, Any]],
    overwrite: bool = False,
) -> Iterator[StudyFolder]:
    """Write a study: everything goes to a hidden neighbour first and moves to `out` when it is complete.

    With `overwrite`, files that the earlier study recorded are replaced or removed; nothing else is touched.
    """
    out = Path(out)
    with locked(out):
        _clear_leftovers(out)
        work = Path(tempfile.mkdtemp(prefix=_prefix(out), suffix=".part", dir=out.absolute().parent))
        try:
            folder = StudyFolder(work)
            yield folder
            _record(folder, arguments, sources)
            _publish(work, out, overwrite)
        except OSError as error:
            raise Exhausted("cannot-write", "writing the study failed", file=out, found=error) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _prefix(out: Path) -> str:
    return f".{out.name[:40]}."


def _clear_leftovers(out: Path) -> None:
    """Remove the hidden neighbours of runs into this output that were killed; the lock says none is alive."""
    for path in out.absolute().parent.iterdir():
        ours = path.name.startswith(_prefix(out)) and path.name.endswith(".part")
        if ours and (path / "tables").is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _record(folder: StudyFolder, arguments: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> None:
    for empty in (folder.tables, folder.figures):
        if not any(empty.iterdir()):
            empty.rmdir()
    files = sorted(str(p.relative_to(folder.root)) for p in folder.root.rglob("*") if p.is_file())
    document = {
        "schema_version": SCHEMA_VERSION,
        "tunescope": __version__,
        "arguments": dict(arguments),
        "sources": list(sources),
        "files": files,
    }
    write_json(folder.root / RECORD, document)


def _publish(work: Path, out: Path, overwrite: bool) -> None:
    if overwrite and (out / RECORD).is_file():
        for old in _recorded(out):
            (out / old).unlink(missing_ok=True)
    names = sorted(p.relative_to(work) for p in work.rglob("*") if p.is_file() and p.name != RECORD)
    for name in [*names, Path(RECORD)]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).replace(out / name)


def _recorded(out: Path) -> list[str]:
    """Files of the earlier study, as its record lists them, and only those inside the folder."""
    try:
        names = json.loads((out / RECORD).read_text())["files"]
    except (ValueError, KeyError, TypeError):
        return []
    inside = [name for name in names if isinstance(name, str)]
    return [n for n in inside if (out / n).resolve().is_relative_to(out.resolve())]


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the lock beside `out`; `Exhausted` where a living process has it."""
    lock = out.absolute().parent / f".{out.name}.lock"
    me = f"{os.getpid()} {socket.gethostname()}"
    _take(lock, me)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _take(lock: Path, me: str) -> None:
    for _ in range(2):
        try:
            with lock.open("x") as file:
                file.write(me)
            return
        except FileExistsError:
            holder = lock.read_text() if lock.exists() else ""
            if not _stale(holder):
                raise Exhausted(
                    "locked",
                    "another run writes there",
                    file=lock,
                    found=f"process {holder}",
                    fix="wait for it",
                ) from None
            lock.unlink(missing_ok=True)
        except OSError as error:
            raise Exhausted(
                "read-only", "the output cannot be written", file=lock.parent, found=error
            ) from error
    raise Exhausted("locked", "another run took the output at the same moment", file=lock, fix="run again")


def _stale(holder: str) -> bool:
    """Whether the lock names a process of this host that is gone."""
    pid, _, host = holder.partition(" ")
    if host != socket.gethostname() or not pid.isdigit():
        return not holder
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
