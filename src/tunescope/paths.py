"""A path as a person writes it."""

import errno
import os
from pathlib import Path

from tunescope.errors import Missing, UsageError


def local_path(text: str | os.PathLike[str]) -> Path:
    """The path, with `~` and `~user` put in full.

    Raises `Missing` for a user that this machine does not have, and `UsageError` for a text with a NUL
    byte, which no path can hold.

    >>> local_path("runs/one").name
    'one'
    """
    path = Path(text)
    if "\0" in str(path):
        raise UsageError("bad-spec", "a path holds a NUL byte", expected="a path", found=repr(str(path)))
    try:
        return path.expanduser()
    except RuntimeError:
        raise Missing(
            "not-found",
            "there is no home folder of that name",
            file=path,
            found=path.parts[0],
            fix="write the path in full",
        ) from None


def check_possible(path: Path) -> None:
    """Refuse the name of an output that no file can have: too long for the disk, or with a NUL byte.

    >>> check_possible(Path("x" * 300))
    Traceback (most recent call last):
    tunescope.errors.UsageError: no file can have this name [bad-spec]
    ...
    """
    try:
        path.absolute().lstat()
    except ValueError as error:
        found: object = error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            return
        found = error.strerror
    else:
        return
    raise UsageError(
        "bad-spec", "no file can have this name", file=ascii(str(path))[1:-1],
        expected="at most 255 bytes between two slashes, none of them NUL", found=found,
        fix="choose a shorter name",
    )  # fmt: skip


def resolved(path: Path) -> Path:
    """The path with every link followed; links that lead to each other are left as they are."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def exists(path: Path) -> bool:
    """Whether there is something at the path; a name too long for the disk is nothing."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder at the path; a name too long for the disk is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_link(path: Path) -> bool:
    """Whether there is a symbolic link at the path; a name too long for the disk is none."""
    try:
        return path.is_symlink()
    except (OSError, ValueError):
        return False
