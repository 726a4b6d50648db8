"""One process at a time writes to a folder; the lock goes with the process, even when it is killed."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tunescope.errors import Exhausted

FILE = ".lock"


@contextmanager
def locked(folder: Path, wanted: bool = True) -> Iterator[None]:
    """Hold the folder's lock, where `wanted`; the folder is made.

    Raises `Exhausted`, naming the holder, while another process has it.
    """
    if not wanted:
        yield
        return
    path = folder / FILE
    with _opened(path) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            stream.seek(0)
            raise Exhausted(
                "output-in-use",
                "another process is writing to this folder",
                file=folder,
                found=stream.read().strip() or "an unnamed process",
                fix="wait for it, or choose another output folder",
            ) from problem
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        stream.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            # A folder in which nothing was done is not left behind.
            if not any(folder.iterdir()):
                folder.rmdir()


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+")
    except OSError as problem:
        raise Exhausted(
            "read-only",
            "the output cannot be written",
            file=path.parent,
            found=problem,
            fix="choose a writable place",
        ) from problem
