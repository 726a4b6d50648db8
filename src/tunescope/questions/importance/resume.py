"""What a killed run leaves behind, so that the next one goes on from there with the same numbers."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.errors import BadInput
from tunescope.questions.importance.moments import Halves, Moments
from tunescope.study.state import load_arrays, save_arrays


class Progress:
    """Saved moments of one process, in a folder; nothing is kept without a folder.

    `fingerprint` says what was asked and of which model: another one in the folder is refused.
    """

    def __init__(self, folder: Path | None, name: str, fingerprint: str, every: float = 10.0) -> None:
        self.path = None if folder is None else folder / f"{name}.npz"
        self.fingerprint, self.every = fingerprint, every
        self._saved = time.monotonic()

    def load(self) -> tuple[dict[str, Halves], dict[str, Any]]:
        """The moments and the notes saved with them; both empty where there is nothing yet."""
        if self.path is None or not self.path.exists():
            return {}, {}
        arrays = load_arrays(self.path)
        notes = json.loads(arrays.pop("notes").tobytes())
        if notes.pop("fingerprint") != self.fingerprint:
            raise BadInput("other-state", "the earlier run was of another model or with other arguments",
                           file=self.path, expected="a state of this model, data and arguments",
                           fix="delete it, or repeat the earlier arguments")  # fmt: skip
        return _halves(arrays), notes

    def save(self, found: Mapping[str, Halves], notes: Mapping[str, Any], force: bool = False) -> None:
        """Write the state, through a temporary file, if the last time is long enough ago."""
        if self.path is None or not (force or time.monotonic() - self._saved >= self.every):
            return
        self._saved = time.monotonic()
        text = json.dumps({**notes, "fingerprint": self.fingerprint}).encode()
        arrays = _arrays(found) | {"notes": np.frombuffer(text, dtype=np.uint8)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(self.path, arrays)


def _arrays(found: Mapping[str, Halves]) -> dict[str, NDArray[Any]]:
    return {
        f"{method}/{half}/{name}": array
        for method, halves in found.items()
        for half, moments in (("even", halves.even), ("odd", halves.odd))
        for name, array in moments.arrays().items()
    }


def _halves(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Halves]:
    grouped: dict[str, dict[str, dict[str, Any]]] = {}
    for key, array in arrays.items():
        method, half, name = key.split("/")
        grouped.setdefault(method, {}).setdefault(half, {})[name] = array
    return {
        method: Halves(Moments.of_arrays(halves["even"]), Moments.of_arrays(halves["odd"]))
        for method, halves in grouped.items()
    }
