"""The compiled functions, where the package was built with a C compiler: one library for each source."""

import ctypes
import os
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# The sums over a unit (unit_sums.py).
Pass = Callable[[Array, Array | None, tuple[float, float], bool], list[float]]
# Σ d² of each row of a matrix, or of each column (squares.py).
Squares = Callable[[Array, Array, int, bool], Array]
# What a merger makes of a weight: W, updates (k, n), which of them it adds and how much of each, the grids
# that it computes and stores on, and where it rounds (merging.py).
Replay = Callable[[Array, Array, Sequence[int], "Sequence[float] | Array", tuple[str, str], int], Array]

UNIT_SUMS = Path(__file__).with_name("unit_sums.c")
MERGING = UNIT_SUMS.with_name("merging.c")
# The dtypes that are widened there, by their numbers in the source.
_KINDS = {"bfloat16": 0, "float16": 1, "float32": 2, "float64": 3}
# What the pass gives: six sums, the largest |d|, three counts.
_RESULTS = 10
# Grids of a replay in float32, by their numbers in the source.
REPLAYED = {"": 0, "float32": 0, "bfloat16": 1, "float16": 2}


def library_of(source: Path) -> Path:
    """Where a source's library lies; not named like a module: Python would import it in the place of one."""
    return source.with_name(f"lib{source.stem}.so")


@cache
def compiled() -> Pass | None:
    """The pass of this installation; `None` without one, or where `TUNESCOPE_NUMPY_ONLY` is set."""
    return None if os.environ.get("TUNESCOPE_NUMPY_ONLY") else load(library_of(UNIT_SUMS))


@cache
def compiled_squares() -> Squares | None:
    """The sums of rows and columns of this installation, as `compiled`."""
    return None if os.environ.get("TUNESCOPE_NUMPY_ONLY") else load_squares(library_of(UNIT_SUMS))


@cache
def compiled_replay() -> Replay | None:
    """The replay of this installation, as `compiled`."""
    return None if os.environ.get("TUNESCOPE_NUMPY_ONLY") else load_replay(library_of(MERGING))


def load(path: Path) -> Pass | None:
    """The pass in a library; `None` where there is none, or one of another source or another machine."""
    function = _function(path, UNIT_SUMS, "tunescope_unit_sums")
    return None if function is None else _pass(function)


def load_squares(path: Path) -> Squares | None:
    """The sums of rows and columns in a library, as `load`."""
    function = _function(path, UNIT_SUMS, "tunescope_squares")
    return None if function is None else _squares(function)


def load_replay(path: Path) -> Replay | None:
    """The replay in a library, as `load`."""
    function = _function(path, MERGING, "tunescope_replay")
    return None if function is None else _replay(function)


def _function(path: Path, source: Path, name: str) -> Any:
    try:
        library = ctypes.CDLL(str(path))
        made_of = library.tunescope_source
        made_of.restype, made_of.argtypes = ctypes.c_char_p, ()
        if made_of() == sha256(source.read_bytes()).hexdigest().encode():
            return getattr(library, name)
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


def _squares(function: Any) -> Squares:
    number, size, address = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
    function.argtypes, function.restype = (number, number, size, size, address, address, address), None

    def run(before: Array, after: Array, columns: int, by_column: bool) -> Array:
        rows = before.size // columns
        out = np.empty(columns if by_column else rows)
        function(
            _KINDS[before.dtype.name], by_column, rows, columns, _address(before), _address(after),
            _address(out),
        )  # fmt: skip
        return out

    return run


def _replay(function: Any) -> Replay:
    number, size, address = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
    function.argtypes = (number, number, number, size, size, address, address, address, address)
    function.restype = None

    def run(
        before: Array, updates: Array, order: Sequence[int], shares: Sequence[float] | Array,
        grids: tuple[str, str], rounds: int,
    ) -> Array:  # fmt: skip
        out, k = np.empty(before.size, np.float32), len(order)
        first, apart = _address(updates), updates.strides[0]
        function(
            REPLAYED[grids[0]], REPLAYED[grids[1]], rounds, before.size, k, _address(before),
            (address * k)(*[first + apart * a for a in order]), (ctypes.c_float * k)(*shares), _address(out),
        )  # fmt: skip
        return out

    return run


def _address(row: Array) -> int:
    # Several times faster than `row.ctypes.data`.
    found: int = row.__array_interface__["data"][0]
    return found


def as_read(row: Array) -> Array:
    """A row as the pass reads it: contiguous, in a dtype that it knows, each number exactly the same."""
    known = row.dtype.name in _KINDS
    if known and row.dtype.isnative and row.flags.c_contiguous:
        return row
    wide = np.dtype(np.float64 if row.dtype.itemsize > 4 else np.float32)
    return np.ascontiguousarray(row, row.dtype.newbyteorder("=") if known else wide)
