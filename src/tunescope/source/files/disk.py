"""Byte ranges of a regular file, read with plain reads and guarded against change."""

import os
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tunescope.errors import BadInput, Exhausted, Missing, disk_is_full
from tunescope.hashes import check
from tunescope.paths import is_link, resolved

# O_NONBLOCK so that a FIFO put in the file's place cannot make the program wait for a writer.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class Bytes(Protocol):
    """A file whose bytes are read by ranges, on this disk or elsewhere."""

    @property
    def path(self) -> Path: ...

    @property
    def size(self) -> int: ...

    def verify(self) -> None: ...

    def read(self, offset: int, count: int) -> NDArray[np.uint8]: ...

    def fill(self, offset: int, out: NDArray[np.uint8]) -> None: ...


@dataclass(frozen=True)
class Snapshot:
    """The identity of a file when it was first opened: size, time of last change, device and inode."""

    path: Path
    size: int
    changed_ns: int
    inode: tuple[int, int]

    def verify(self) -> None:
        """Refuse a file that is no longer the one first opened."""
        if (now := take_snapshot(self.path)) != self:
            _AHEAD.drop()
            raise BadInput(
                "changed-while-read",
                "the file changed while it was being read",
                file=self.path,
                expected=f"{self.size} bytes, last changed at {self.changed_ns} ns",
                found=f"{now.size} bytes, last changed at {now.changed_ns} ns",
                fix="wait until whatever writes the file is done, then run again",
            )

    def read(self, offset: int, count: int) -> NDArray[np.uint8]:
        """`count` bytes from `offset`; a file that has shrunk or changed is refused."""
        if count <= _SMALL and (found := _AHEAD.read(self, offset, count)) is not None:
            return found
        out = np.empty(count, dtype=np.uint8)
        self.fill(offset, out)
        return out

    def fill(self, offset: int, out: NDArray[np.uint8]) -> None:
        """Read as many bytes as `out` has, from `offset`; raises as `read`."""
        if not out.size:
            return
        descriptor = _open(self.path)
        try:
            if _identify(self.path, os.fstat(descriptor)) != self:
                self.verify()
            _fill(descriptor, memoryview(out.data), offset, self.path)
        finally:
            os.close(descriptor)


@dataclass(eq=False, slots=True)
class _Window:
    """Bytes of a file from `offset`, and until when it need not be looked at again."""

    snapshot: Snapshot
    offset: int
    data: NDArray[np.uint8]
    trusted_until: float


class _Ahead:
    """Where small reads follow each other in a file, what lies behind them is read with them.

    Thousands of small tensors would cost an opening, a look and a closing each. A look is shared by the reads
    of a twentieth of a second; what changes between them is noticed by the next, or by a reader's last.
    """

    def __init__(self) -> None:
        self._window: _Window | None = None
        # Where the next read in order begins, and how many were in order.
        self._next: tuple[Snapshot | None, int, int] = (None, 0, 0)

    def read(self, snapshot: Snapshot, offset: int, count: int) -> NDArray[np.uint8] | None:
        """A copy of `count` bytes from `offset`; None where they are to be read by themselves."""
        follows, place, run = self._next
        run = run + 1 if follows is snapshot and place == offset else 0
        self._next = snapshot, offset + count, run
        window = self._window
        if window is not None and window.snapshot is snapshot:
            begin = offset - window.offset
            if 0 <= begin <= window.data.size - count:
                if (now := monotonic()) > window.trusted_until:
                    snapshot.verify()
                    window.trusted_until = now + _TRUSTED
                return window.data[begin : begin + count].copy()
        if run < _IN_ORDER or snapshot.size - offset < count:
            return None
        data = np.empty(min(_WINDOW, snapshot.size - offset), dtype=np.uint8)
        snapshot.fill(offset, data)
        self._window = _Window(snapshot, offset, data, monotonic() + _TRUSTED)
        return data[:count].copy()

    def drop(self) -> None:
        """Forget what was read."""
        self._window = None


# A tensor of at most 64 KiB is small; after so many in order (two factors of one module are no order yet),
# 1 MiB is read at once.
_SMALL, _IN_ORDER, _WINDOW, _TRUSTED = 1 << 16, 4, 1 << 20, 0.05
_AHEAD = _Ahead()


def take_snapshot(path: Path) -> Snapshot:
    """Look at a file; refuse what is missing, unreadable, no regular file, or not what is stated of it.

    It is opened only where hashes are to be compared.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise unreachable(path, error) from None
    if not stat.S_ISREG(status.st_mode):
        raise BadInput(
            "not-a-file",
            f"this is a {_kind(status.st_mode)}, not a regular file",
            file=path,
            expected="a regular file",
            found=_kind(status.st_mode),
            fix="name a regular file, or the folder that holds it",
        )
    try:
        check(path)
    except OSError as error:
        raise unreachable(path, error) from None
    return _identify(path, status)


def check_links(folder: Path, paths: Sequence[Path]) -> None:
    """Refuse links that lead out of the folder, but for the hub cache's, from `snapshots` to `blobs`."""
    root = resolved(folder)
    for path in paths:
        target = resolved(path)
        # A link to nothing is for the reader to name.
        if target.is_relative_to(root) or not path.is_symlink() or not target.exists():
            continue
        parts = root.parts
        cache = Path(*parts[: parts.index("snapshots")], "blobs") if "snapshots" in parts else None
        if cache is None or not target.is_relative_to(cache):
            raise BadInput(
                "link-outside",
                "a link in the folder leads out of it",
                file=path,
                found=f"-> {target}",
                expected="a file within the folder",
                fix="name the file it points to",
            )


def unreachable(path: Path, error: OSError) -> Missing:
    """The error for a path that cannot be looked at or opened, by what stands in the way."""
    if is_link(path) and not isinstance(error, PermissionError):
        return _dangling(path)
    if isinstance(error, PermissionError):
        return _denied(path)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Missing("not-found", "there is no such file", file=path, fix="check the path")
    return Missing(
        "io-error",
        "the file cannot be read",
        file=path,
        found=error.strerror or str(error),
        fix="check the disk or the mount, and run again",
    )


def _dangling(path: Path) -> Missing:
    target = str(path.readlink())
    cached = "snapshots" in path.parts and "blobs" in Path(target).parts
    fix = "mend or remove the link"
    if cached:
        repository = next((p for p in path.parts if p.startswith("models--")), "models--ORG--NAME")
        fix = f"download it again: hf download {repository.removeprefix('models--').replace('--', '/', 1)}"
    what = "the cache entry is broken: its blob is gone" if cached else "the symbolic link points nowhere"
    return Missing("broken-link", what, file=path, found=f"-> {target}", fix=fix)


def _denied(path: Path) -> Missing:
    try:
        status = path.stat()
        found = f"owner uid {status.st_uid}, mode {stat.filemode(status.st_mode)}"
    except OSError:
        found = "a folder on the way to it may not be entered"
    return Missing(
        "denied", "the file may not be read", file=path, found=found, fix="ask its owner for read access"
    )


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "named pipe (FIFO)"), (stat.S_ISSOCK, "socket"))
    return next((name for test, name in kinds if test(mode)), "device")


def _identify(path: Path, status: os.stat_result) -> Snapshot:
    return Snapshot(path, status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino))


def _open(path: Path) -> int:
    try:
        return os.open(path, _FLAGS)
    except OSError as error:
        raise unreachable(path, error) from None


def _fill(descriptor: int, buffer: memoryview, offset: int, path: Path) -> None:
    done = 0
    while done < len(buffer):
        try:
            got = _read_into(descriptor, buffer[done:], offset + done)
        except MemoryError as error:
            raise Exhausted("out-of-memory", "there is no memory for the read", file=path) from error
        except OSError as error:
            raise Missing(
                "io-error",
                "reading failed",
                file=path,
                found=f"{error.strerror} at byte {offset + done}",
                fix="check the disk or the network mount, then run again",
            ) from error
        if got == 0:
            raise BadInput(
                "changed-while-read",
                "the file became shorter while it was being read",
                file=path,
                expected=f"{len(buffer)} bytes from {offset}",
                found=f"{done} bytes",
                fix="run again once nothing writes there any more",
            )
        done += got


def _read_into(descriptor: int, buffer: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    data = os.read(descriptor, len(buffer))
    buffer[: len(data)] = data
    return len(data)


def reader_failed(what: str, said: str) -> Exhausted | RuntimeError:
    """The error of a reader that is a process of its own, and of what it wrote when it ended: a bug of ours.

    Unless the disk took no more of what it unpacks.
    """
    if not disk_is_full(failed := RuntimeError(f"the reader of {what} failed: {said.strip()[-2000:]}")):
        return failed
    return Exhausted(
        "disk-full", f"there is no room to unpack {what}", file=tempfile.gettempdir(),
        fix="set TMPDIR to a folder with more room, or convert the weights to safetensors",
    )  # fmt: skip
