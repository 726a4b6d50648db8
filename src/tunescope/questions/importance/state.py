"""Where a run keeps what it has measured so far, so that a killed one goes on from there."""

import shutil
from pathlib import Path


def state_folder(out: Path) -> Path:
    """A hidden folder beside the output."""
    place = out.resolve()
    return place.parent / f".{place.name}.importance-state"


def forget_state(out: Path) -> None:
    """Remove what a finished run had kept."""
    folder = state_folder(out)
    for path in folder.glob("process-*-of-*.npz"):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        shutil.rmtree(folder)
