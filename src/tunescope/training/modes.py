"""Who may read what a training writes: as the umask says, also where a library writes for its owner alone."""

import os
import secrets
import stat
from pathlib import Path


def follow_umask(place: Path) -> None:
    """Give a file, or the files anywhere below a folder, the mode that a new file has there.

    `safetensors` makes its files 0600, so that nobody else of a group could read an adapter.
    """
    files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
    mode = _mode_of_new(place if place.is_dir() else place.parent)
    for path in files:
        if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)


def _mode_of_new(folder: Path) -> int:
    """Asked of the system by a file that is gone at once: the umask of a process cannot be read alone."""
    probe = folder / f".mode.{secrets.token_hex(6)}.part"
    handle = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)
        probe.unlink()
