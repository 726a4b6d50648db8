"""Finished nodes of an integral on disk, so that a killed run goes on where it stopped."""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class NodeStore:
    """The integrand at finished nodes, (sequences, cells) each; nothing is kept without a folder.

    Only nodes with the same fingerprint are found again: the losses of every sequence at both ends of the
    path and the size of every update are in it, so another model, data set or precision starts anew.
    """

    def __init__(self, folder: Path | None, identity: Iterable[Array]) -> None:
        digest = hashlib.sha256()
        for array in identity:
            digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes() + b";")
        self._folder, self._stem = folder, digest.hexdigest()[:24]
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def _path(self, node: tuple[int, int]) -> Path | None:
        return None if self._folder is None else self._folder / f"{self._stem}-{node[0]}-{node[1]}.npy"

    def load(self, node: tuple[int, int]) -> Array | None:
        """The integrand at a node, whatever sets it is of, or `None`."""
        path = self._path(node)
        if path is None or not path.exists():
            return None
        found: Array = np.load(path, allow_pickle=False)
        return found

    def save(self, node: tuple[int, int], values: Array) -> None:
        """Keep the integrand at a node, through a temporary file, so that no half of one is ever found."""
        path = self._path(node)
        if path is None:
            return
        buffer = io.BytesIO()
        np.save(buffer, values)
        temporary = path.with_suffix(".part")
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(path)


def forget(folder: Path) -> None:
    """Remove what a finished run had kept, and the folder if nothing else is in it."""
    for path in (*folder.glob("*-*-*.npy"), *folder.glob("*-*-*.part")):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
