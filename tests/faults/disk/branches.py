"""All faults of a command from one run of it: at every point a branch of the process meets the fault.

A run to the Nth point costs as much as all before it, and there are six faults at every point. So the
command runs once, the trunk; at each point it forks, the branch is struck and comes to its end, what it
left is kept, and the folder is put back as it was for the next branch and for the trunk itself.
"""

import hashlib
import os
import re
import select
import shutil
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tunescope.hashes import sha256_of

from .shim import Shim

# A fork has none of its parent's threads: what waits for one never ends, and is tried in a run of its own.
_WAITING = 20
_THREADED = "polars"
# Drawn anew in every process: names of what is half-written, and whoever holds a lock.
_DRAWN = re.compile(r"[0-9a-f]{12}(?=\.part)|(?<=\.p)\d+")


@dataclass(frozen=True)
class Branch:
    """A fault at a point: the exit code (None where it came to no end), and what was left, by its digest."""

    fault: str
    point: int
    code: int | None
    left: str


class Branching(Shim):
    """Never strikes the process itself; at each point of `wanted` every fault there strikes a fork of it."""

    def __init__(self, wanted: Mapping[int, list[str]], place: Path, lefts: Path) -> None:
        super().__init__("EIO", 0)
        self._wanted, self._place, self._lefts = wanted, place, lefts
        self.met: list[Branch] = []
        # Faults that do not end the command: Python tries again what a signal interrupted.
        self._alone = {"EINTR"}

    @property
    def is_branch(self) -> bool:
        """Whether this process is one of the forks."""
        return self.at > 0

    def strikes(self, full: bool = False) -> bool:
        """As of a shim, in a branch; in the trunk, never."""
        struck = super().strikes(full)
        if self.is_branch or not (faults := self._wanted.get(self.count)):
            return struck
        below = _is_below(_THREADED)
        self.met += [Branch(fault, self.count, None, "") for fault in faults if below or fault in self._alone]
        if not (branched := [fault for fault in faults if not below and fault not in self._alone]):
            return False
        before = _Kept(self._place, self._lefts / "kept")
        for fault in branched:
            sys.stdout.flush()
            sys.stderr.flush()
            if (child := os.fork()) == 0:
                self.fault, self.at = fault, self.count
                return True
            self.met.append(Branch(fault, self.count, _ended(child), self._left()))
            if self.met[-1].code is None:
                self._alone.add(fault)
            before.put_back()
        assert digest_of(self._place) == before.digest, "a branch wrote into what the trunk had written"
        return False

    def _left(self) -> str:
        """The digest of what is there now, of which a copy is kept the first time."""
        digest = digest_of(self._place)
        if not (copy := self._lefts / digest).exists():
            shutil.copytree(self._place, copy, symlinks=True)
        return digest


def _is_below(package: str) -> bool:
    """Whether a package that has threads of its own called, through others, what asks."""
    frame = sys._getframe()
    while frame is not None and not str(frame.f_globals.get("__name__")).startswith(package):
        frame = frame.f_back
    return frame is not None or threading.current_thread() is not threading.main_thread()


def digest_of(place: Path) -> str:
    """What a folder holds, by name and content, whatever is drawn anew every time."""
    held = [
        f"{_DRAWN.sub('', str(path.relative_to(place)))} {sha256_of(path) if _is_result(path) else ''}"
        for path in sorted(place.rglob("*"))
    ]
    return hashlib.sha256("\n".join(sorted(held)).encode()).hexdigest()


def _is_result(path: Path) -> bool:
    return path.is_file() and path.suffix != ".lock"


def _ended(child: int) -> int | None:
    """The exit code of a branch; None, and it is ended, where it does nothing for too long."""
    handle = os.pidfd_open(child)
    try:
        in_time = bool(select.select([handle], [], [], _WAITING)[0])
    finally:
        os.close(handle)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status) if in_time else None


class _Kept:
    """A folder as it is now, by further names of its files: the trunk has some of them open."""

    def __init__(self, place: Path, keep: Path) -> None:
        self._place, self._keep, self.digest = place, keep, digest_of(place)
        shutil.rmtree(keep, ignore_errors=True)
        shutil.copytree(place, keep, copy_function=os.link, symlinks=True)
        self._sizes = {p.relative_to(keep): p.stat().st_size for p in keep.rglob("*") if p.is_file()}
        self._places = {handle: os.lseek(handle, 0, os.SEEK_CUR) for handle in _open_below(place)}

    def put_back(self) -> None:
        """Make the folder again what it was."""
        shutil.rmtree(self._place)
        shutil.copytree(self._keep, self._place, copy_function=os.link, symlinks=True)
        for name, size in self._sizes.items():
            if (self._place / name).stat().st_size != size:
                os.truncate(self._place / name, size)
        # A fork shares where its parent is in a file.
        for handle, at in self._places.items():
            os.lseek(handle, at, os.SEEK_SET)


def _open_below(place: Path) -> list[int]:
    """The files below a folder that this process has open."""
    found = []
    for handle in Path("/proc/self/fd").iterdir():
        target = handle.readlink() if handle.is_symlink() else place
        if target.is_relative_to(place) and target.is_file():
            found.append(int(handle.name))
    return found
