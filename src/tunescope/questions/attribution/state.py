"""Finished nodes of an integral on disk, so that a killed run goes on where it stopped."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunescope.study.state import load_arrays, save_arrays

Array = NDArray[np.float64]

# The files of finished nodes.
KEPT = "*-*-*.npz"
_VALUES = "integrand"


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
        return None if self._folder is None else self._folder / f"{self._stem}-{node[0]}-{node[1]}.npz"

    def load(self, node: tuple[int, int]) -> Array | None:
        """The integrand at a node, whatever sets it is of, or `None`; raises as `load_arrays`."""
        path = self._path(node)
        if path is None or not path.exists():
            return None
        return load_arrays(path)[_VALUES]

    def save(self, node: tuple[int, int], values: Array) -> None:
        """Keep the integrand at a node, so that no half of one is ever found."""
        path = self._path(node)
        if path is not None:
            save_arrays(path, {_VALUES: values})
