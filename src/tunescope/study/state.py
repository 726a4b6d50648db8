"""What a run keeps on disk while it measures, so that a killed one goes on with the same numbers."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunescope.errors import BadInput
from tunescope.paths import resolved
from tunescope.source.files.npz import read_npz
from tunescope.writing import beside, write_atomically

Arrays = Mapping[str, NDArray[Any]]

# The member that holds the sha256 of all others.
_SEAL = "seal"


def state_folder(out: Path, command: str) -> Path:
    """A hidden folder beside the output, which no other output shares."""
    return beside(resolved(out), f".{command}-state")


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays by name, whole or not at all; raises `Exhausted` where the disk takes no more."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays, **{_SEAL: np.frombuffer(_digest(arrays), np.uint8)})  # type: ignore[arg-type]
    write_atomically(path, lambda out: out.write(buffer.getvalue()))


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays that `save_arrays` wrote; `BadInput` where even one value of them is another now."""
    found: object = "values that were changed"
    try:
        arrays = {name: tensor.read() for name, tensor in read_npz(path).tensors.items()}
    except BadInput as error:
        arrays, found = {}, error.what
    seal = arrays.pop(_SEAL, None)
    if seal is None or seal.tobytes() != _digest(arrays):
        raise BadInput(
            "bad-state",
            "the state of the earlier run cannot be read",
            file=path,
            expected="a state as this command wrote it",
            found=found,
            fix="delete it, and the same command starts anew",
        )
    return arrays


def _digest(arrays: Arrays) -> bytes:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name!r} {array.dtype.str} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()


def forget_state(folder: Path, pattern: str) -> None:
    """Remove what a finished run had kept, and the folder if nothing else is in it."""
    for path in (*folder.glob(pattern), *folder.glob(f".{pattern}*.part")):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
