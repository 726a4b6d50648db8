"""The one place that writes: whole files and whole folders or none, and one process at a time.

Every byte of a result goes through `write_atomically` or `published`. Both write under a hidden name
beside the target, bring the data to the disk, and only then give it its final name.
"""

import contextlib
import ctypes
import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tunescope.errors import Exhausted, encodable, unwritten
from tunescope.interruption import stop_where_asked
from tunescope.paths import resolved

# Linux' renameat2: paths relative to the working folder, and the flag that swaps two names in one step.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# The locks that this process holds, by thread.
_HELD: set[tuple[Path, int]] = set()


def write_atomically(path: str | Path, write: Callable[[BinaryIO], Any]) -> Path:
    """Write through a temporary neighbour and rename, so a half-written file never has the final name.

    Raises `Exhausted` where the disk or the folder takes no more; what was there before stays then.
    """

    def fill(temporary: Path) -> None:
        # Made without tempfile, so that the user's umask decides who may read it.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        with io.FileIO(handle, "wb") as raw, io.BufferedWriter(raw) as out:
            write(out)
            out.flush()
            os.fsync(raw.fileno())

    return _renamed(Path(path), fill)


def write_by_name(path: str | Path, write: Callable[[Path], Any]) -> Path:
    """As `write_atomically`, through a library that opens the file itself and raises errors of its own."""

    def fill(temporary: Path) -> None:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())

    return _renamed(Path(path), fill)


def _renamed(path: Path, fill: Callable[[Path], None]) -> Path:
    """The file that `fill` writes under a hidden name, under its own once it is whole."""
    temporary = path.parent / f".{path.name[:40]}.{secrets.token_hex(6)}.part"
    try:
        fill(temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise unwritten(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def clear_remains(path: Path) -> None:
    """Remove what killed processes left half-written of a file, or anywhere below a folder.

    Call it while nobody else may write there: under `held` or `locked`.
    """
    ending = f"{'[0-9a-f]' * 12}.part"
    if path.is_dir():
        left = path.rglob(f".*.{ending}")
    else:
        left = path.parent.glob(glob.escape(f".{path.name[:40]}.") + ending)
    for remains in list(left):
        if remains.is_file():
            remains.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write a UTF-8 text file atomically."""
    return write_atomically(path, lambda out: out.write(text.encode()))


def write_json(path: str | Path, document: Any) -> Path:
    """Write strict JSON (a NaN becomes null), atomically."""
    return write_text(path, strict_json(document) + "\n")


def strict_json(document: Any) -> str:
    """JSON text without NaN or infinity, which JSON does not have; they become null."""
    return json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """The value as what JSON gives back: mappings with text keys, lists, and null for a NaN or infinity.

    Bytes of a file's name that are no UTF-8 are spelled.
    """
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {encodable(str(k)): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int) else encodable(str(value))


@contextlib.contextmanager
def published(target: Path) -> Iterator[Path]:
    """A hidden folder to fill, which becomes `target` in one step when the block ends without an error.

    An earlier `target` stays whole until then, and is gone afterwards but for files that are not its
    study's: those go along (the caller says which by leaving them out of `study.json`). Raises
    `Exhausted` where the disk takes no more or another process writes there.
    """
    target = resolved(target)
    with held(target):
        _recover(target)
        work = beside(target, f".{secrets.token_hex(6)}.part")
        try:
            work.mkdir()
            yield work
            _bring_to_disk(work)
            stop_where_asked()
            _exchange(work, target)
        except OSError as error:
            raise unwritten(target, error) from error
        except Exhausted as error:
            # The folder is hidden until it is whole; what is named is where the file would have been.
            if error.slug != "cannot-write" or not isinstance(cause := error.__cause__, OSError):
                raise
            raise unwritten(str(error.file).replace(str(work), str(target)), cause) from cause
        finally:
            shutil.rmtree(work, ignore_errors=True)


def held(target: Path) -> contextlib.AbstractContextManager[None]:
    """Keep every other run off `target` for as long as the block takes; see `locked`."""
    target = resolved(target)
    return locked(beside(target, ".lock"), target)


_BESIDE = re.compile(r"\..*\.[0-9a-f]{10}(\.\w+)+", re.DOTALL)


def beside(target: Path, ending: str) -> Path:
    """A hidden neighbour of `target` that no other target shares, however long or alike the names."""
    key = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:10]
    short = os.fsdecode(os.fsencode(target.name)[:60])
    return target.parent / f".{short}.{key}{ending}"


def is_beside(name: str) -> bool:
    """Whether a name is one that `beside` gives."""
    return _BESIDE.fullmatch(name) is not None


def _exchange(work: Path, target: Path) -> None:
    """Give `work` the name `target`; an earlier folder of that name ends up as `work`, to be removed."""
    if not target.exists() or not any(target.iterdir()):
        # A rename onto an empty folder replaces it.
        work.rename(target)
    elif not _swapped(work, target):
        old = beside(target, ".old.part")
        target.rename(old)
        try:
            work.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    _bring_folder_to_disk(target.parent)


def _swapped(a: Path, b: Path) -> bool:
    """Whether the system swapped both names in one step; not every system and disk can."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    done = rename(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE)
    if done == 0:
        return True
    if (code := ctypes.get_errno()) not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        raise OSError(code, os.strerror(code), str(b))
    return False


def _recover(target: Path) -> None:
    """Undo and clear what killed runs left: the earlier folder back in place, half-made ones removed."""
    old = beside(target, ".old.part")
    if old.is_dir() and not target.exists():
        old.rename(target)
    stem = beside(target, ".").name
    for path in target.parent.iterdir():
        if path.name.startswith(stem) and path.name.endswith(".part") and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _bring_to_disk(folder: Path) -> None:
    """Wait until everything below `folder` is on the disk, so that no crash leaves names without bytes."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with (Path(parent) / name).open("rb") as file:
                os.fsync(file.fileno())
        _bring_folder_to_disk(Path(parent))


def _bring_folder_to_disk(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(lock: Path, target: Path) -> Iterator[None]:
    """Hold `lock` while writing to `target`; the system lets go of it when the process ends, however.

    Raises `Exhausted`, naming the holder, while another process has it. What a dead process, another host
    or nobody wrote into the file does not matter: only a living holder counts. Whoever holds it may ask
    for it again.
    """
    mine = (lock, threading.get_ident())
    if mine in _HELD:
        yield
        return
    handle = _taken(lock, target)
    _HELD.add(mine)
    try:
        _sign(handle, target)
        yield
    finally:
        _HELD.discard(mine)
        lock.unlink(missing_ok=True)
        os.close(handle)


def _sign(handle: int, target: Path) -> None:
    """Write into a lock who holds it, for whoever is refused."""
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except OSError as error:
        raise unwritten(target, error) from error


def _taken(lock: Path, target: Path) -> int:
    """The open lock file, held."""
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise Exhausted(
                "read-only", "the output cannot be written", file=target, found=error,
                fix="choose a writable place",
            ) from error  # fmt: skip
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "an unnamed process"
            os.close(handle)
            raise Exhausted(
                "locked", "another run writes there", file=target, found=holder,
                fix="wait for it, or choose another output",
            ) from error  # fmt: skip
        if _is_there(lock, handle):
            return handle
        # Its last holder removed it between our opening and our holding: what we hold has no name.
        os.close(handle)


def _is_there(lock: Path, handle: int) -> bool:
    try:
        return os.path.samestat(lock.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
