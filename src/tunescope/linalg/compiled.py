"""The compiled pass over a unit of values, where the package was built with a C compiler."""

import ctypes
import os
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pass = Callable[[Array, Array | None, tuple[float, float], bool], list[float]]

SOURCE = Path(__file__).with_name("unit_sums.c")
# Not named like a module: Python would import it in the place of one.
LIBRARY = SOURCE.with_name("libunit_sums.so")
# The dtypes that it widens itself, by their numbers in the source.
_KINDS = {"bfloat16": 0, "float16": 1, "float32": 2, "float64": 3}
# What it gives: six sums, the largest |d|, three counts.
_RESULTS = 10


@cache
def compiled() -> Pass | None:
    """The pass of this installation; `None` without one, or where `TUNESCOPE_NUMPY_ONLY` is set."""
    return None if os.environ.get("TUNESCOPE_NUMPY_ONLY") else load(LIBRARY)


def load(path: Path) -> Pass | None:
    """The pass in a library; `None` where there is none, or one of another source or another machine."""
    try:
        library = ctypes.CDLL(str(path))
        made_of = library.tunescope_source
        made_of.restype, made_of.argtypes = ctypes.c_char_p, ()
        if made_of() == sha256(SOURCE.read_bytes()).hexdigest().encode():
            return _pass(library.tunescope_unit_sums)
    except (OSError, AttributeError):
        pass
    return None


def _pass(function: Any) -> Pass:
    address, results = ctypes.c_void_p, ctypes.c_double * _RESULTS
    # Python's lock is let go of for as long as the function runs.
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_size_t, address, address, address, address)
    function.restype = None

    def run(before: Array, after: Array | None, edges: tuple[float, float], single: bool) -> list[float]:
        out = results()
        function(
            _KINDS[before.dtype.name], single, before.size, before.ctypes.data,
            None if after is None else after.ctypes.data, (ctypes.c_double * 2)(*edges), out,
        )  # fmt: skip
        return list(out)

    return run


def as_read(row: Array) -> Array:
    """A row as the pass reads it: contiguous, in a dtype that it knows, each number exactly the same."""
    known = row.dtype.name in _KINDS
    if known and row.dtype.isnative and row.flags.c_contiguous:
        return row
    wide = np.dtype(np.float64 if row.dtype.itemsize > 4 else np.float32)
    return np.ascontiguousarray(row, row.dtype.newbyteorder("=") if known else wide)
