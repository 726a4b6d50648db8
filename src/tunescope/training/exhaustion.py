"""A disk or a device that ran out under the trainer, told from faults of ours."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunescope.errors import Exhausted, TunescopeError, disk_is_full
from tunescope.lm.device import named_memory

# A disk or mount that failed, went away or became read-only, and a call that was interrupted.
_FAILED = (errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.EINTR)


def exit_code(problem: BaseException) -> int:
    """The exit code of what stopped something that others went on without; 70 for a fault of ours."""
    if isinstance(problem, OSError) or disk_is_full(problem):
        return Exhausted.exit_code
    return problem.exit_code if isinstance(problem, TunescopeError) else TunescopeError.exit_code


def reason(problem: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(problem, TunescopeError):
        return problem.what if problem.found is None else f"{problem.what}: {problem.found}"
    return f"{type(problem).__name__}: {problem}".splitlines()[0]


@contextmanager
def named_exhaustion(root: Path) -> Iterator[None]:
    """Memory and disk that ran out under the trainer, as our own error; the sweep can go on afterwards."""
    try:
        with named_memory("--batch-size 1, a shorter --max-length, or --gradient-checkpointing"):
            yield
    except Exhausted:
        raise
    # Libraries raise bare exceptions here; what does not speak of the disk goes on as it came.
    except Exception as problem:
        if isinstance(problem, OSError) and problem.errno in _FAILED:
            fix = "check the disk or the mount, and repeat the command"
            raise Exhausted("cannot-write", "writing failed", file=root, found=problem, fix=fix) from problem
        if not disk_is_full(problem):
            raise
        raise Exhausted(
            "disk-full", "the disk is full", file=root, found=problem, fix="make room and repeat the command"
        ) from problem
