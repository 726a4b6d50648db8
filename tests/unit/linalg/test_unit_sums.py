"""The compiled pass and NumPy's take the same sums to the bit, in the order that is written down."""

import math
import struct
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripts import build_kernel

from tunescope.linalg import compiled, unit_sums
from tunescope.linalg.compiled import Pass, as_read, load
from tunescope.linalg.differences import TOLERANCES, Sums, base_sums, difference_sums
from tunescope.linalg.unit_sums import BLOCK, LANES, ROWS, UNIT, by_numpy

BF16 = np.dtype(ml_dtypes.bfloat16)
KINDS = [BF16, *map(np.dtype, ("f2", "f4", "f8"))]
WAYS = [(kind, single) for kind in KINDS for single in ((False, True) if kind.itemsize == 2 else (False,))]
EDGES = TOLERANCES


@pytest.fixture(scope="module")
def kernel(built: Callable[[Path], Path]) -> Pass:
    """The pass compiled anew."""
    made = load(built(compiled.UNIT_SUMS))
    assert made is not None
    return made


def bits(numbers: list[float]) -> bytes:
    return struct.pack(f"{len(numbers)}d", *numbers)


def rows(kind: np.dtype, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    before = (0.02 * draw.standard_normal(n)).astype(kind)
    return before, (before.astype(np.float64) + 2e-4 * draw.standard_normal(n)).astype(kind)


def assert_equal(kernel: Pass, before: np.ndarray, after: np.ndarray, single: bool) -> None:
    """Equal to the bit; where a value is not finite, neither way calls the sums of squares finite."""
    for other in (after, None):
        one, two = (way(before, other, EDGES, single) for way in (kernel, by_numpy))
        finite = [math.isfinite(found[0]) and math.isfinite(found[2]) for found in (one, two)]
        assert finite[0] == finite[1]
        if finite[0]:
            assert bits(one) == bits(two)


@pytest.mark.parametrize("n", [0, 1, 7, LANES, LANES + 1, BLOCK - 1, BLOCK, BLOCK + 1, 70_001, UNIT])
@pytest.mark.parametrize(("kind", "single"), WAYS, ids=str)
def test_both_ways_give_the_same_bits(kernel: Pass, kind: np.dtype, single: bool, n: int) -> None:
    assert_equal(kernel, *rows(kind, n, seed=n), single)


@pytest.mark.parametrize(("kind", "single"), WAYS, ids=str)
@given(data=st.data())
def test_both_ways_give_the_same_bits_of_any_bits(kernel: Pass, kind: np.dtype, single: bool, data) -> None:
    """Every pattern of bits: NaN, infinities, −0, subnormal numbers, outliers."""
    n = data.draw(st.integers(1, 2 * LANES))
    seed, finite = data.draw(st.integers(0, 2**32 - 1)), data.draw(st.booleans())
    before, after = (
        np.random.default_rng(seed + side).integers(0, 256, n * kind.itemsize, np.uint8).view(kind)
        for side in (0, 1)
    )
    if finite:
        with np.errstate(all="ignore"):
            before, after = (np.where(np.isfinite(row), row, row.dtype.type(0)) for row in (before, after))
    places = data.draw(st.lists(st.integers(0, n - 1), max_size=8))
    for place in places:
        after[place] = data.draw(st.sampled_from([0.0, -0.0, 1.0, before[place], 2.0**-24, math.inf]))
    with np.errstate(all="ignore"):
        assert_equal(kernel, before, after, single)


@pytest.mark.parametrize(("kind", "single"), WAYS, ids=str)
@pytest.mark.parametrize("value", [0.0, -0.0, 1.0078125, 1e-7])
def test_rows_of_one_value_give_the_same_bits(
    kernel: Pass, kind: np.dtype, single: bool, value: float
) -> None:
    before = np.full(BLOCK + 3, value).astype(kind)
    assert_equal(kernel, before, -before, single)
    assert_equal(kernel, np.zeros_like(before), before, single)


@pytest.mark.parametrize(("kind", "single"), WAYS, ids=str)
def test_rows_at_odd_addresses_give_the_same_bits(kernel: Pass, kind: np.dtype, single: bool) -> None:
    before, after = rows(kind, 20_011)
    moved = []
    for row in (before, after):
        raw = np.zeros(row.nbytes + 1, np.uint8)
        raw[1:] = row.view(np.uint8)
        moved.append(raw[1:].view(kind))
    for way in (kernel, by_numpy):
        assert bits(way(*moved, EDGES, single)) == bits(way(before, after, EDGES, single))


@pytest.mark.parametrize("single", [False, True])
def test_numpy_adds_in_the_order_that_is_written_down(single: bool) -> None:
    """One number after the other, as the module says: lanes down the rows of a block, blocks, halves."""
    before, _ = rows(BF16, 2 * BLOCK + 3 * LANES + 17)
    kind = np.float32 if single else np.float64
    lanes = [0.0] * LANES
    for block in range(0, before.size, BLOCK):
        for lane in range(LANES):
            down = kind(0)
            for w in before[block : block + BLOCK][lane::LANES]:
                down = kind(down + kind(w) * kind(w))
            lanes[lane] += float(down)
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [a + b for a, b in zip(lanes[:half], lanes[half:], strict=True)]
    assert by_numpy(before, None, EDGES, single)[2] == lanes[0]
    assert ROWS * LANES == BLOCK


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_statistics_are_the_same_with_and_without_the_compiled_pass(
    kernel: Pass, kind: np.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [rows(kind, n) for n in (UNIT, 12_345)]
    pairs[1][1][5] = math.nan
    outlier = rows(kind, UNIT, seed=1)
    outlier[1][3] = 300
    pairs += [outlier, (np.ones(UNIT, kind), np.full(UNIT, 1.5, kind))]

    def found(way: Pass | None) -> list[tuple[Sums, Sums]]:
        monkeypatch.setattr(unit_sums, "compiled", lambda: way)
        return [(difference_sums(*pair), base_sums(pair[0])) for pair in pairs]

    assert repr(found(kernel)) == repr(found(None))


@pytest.mark.parametrize("kind", [">f2", ">f4", "f4"], ids=str)
def test_rows_that_do_not_lie_as_a_file_stores_them_are_read_by_both(kernel: Pass, kind: str) -> None:
    before, after = rows(np.dtype("f2"), 2 * 5000)
    apart = [row.astype(kind)[::2] for row in (before, after)]
    whole = [np.ascontiguousarray(row[::2]) for row in (before, after)]
    for way in (kernel, by_numpy):
        assert bits(way(*map(as_read, apart), EDGES, False)) == bits(way(*whole, EDGES, False))


def test_eight_bit_floats_are_read_as_float32() -> None:
    row = np.array([1.5, -2.0], ml_dtypes.float8_e4m3fn)
    assert as_read(row).dtype == np.float32
    assert difference_sums(row, row[::-1]).squares == 2 * 3.5**2


def test_a_library_of_another_source_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(tmp_path / "absent.so") is None
    (tmp_path / "broken.so").write_bytes(b"not a library")
    assert load(tmp_path / "broken.so") is None
    if build_kernel.compiler() is not None:
        library = tmp_path / "libunit_sums.so"
        assert build_kernel.build(library) == ""
        changed = tmp_path / "unit_sums.c"
        changed.write_text(compiled.UNIT_SUMS.read_text() + "\n")
        monkeypatch.setattr(compiled, "UNIT_SUMS", changed)
        assert load(library) is None


def test_the_variable_leaves_the_compiled_pass_out(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled.compiled.cache_clear()
    monkeypatch.setenv("TUNESCOPE_NUMPY_ONLY", "1")
    try:
        assert compiled.compiled() is None
        assert build_kernel.compiler() is None
        assert difference_sums(np.zeros(3), np.ones(3)).squares == 3
    finally:
        compiled.compiled.cache_clear()


def test_without_a_compiler_nothing_is_built_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    library = tmp_path / "libunit_sums.so"
    assert build_kernel.build(library) == "no C compiler"
    assert not library.exists()


def test_a_compiler_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "bin" / "cc"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\necho no such header >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setattr(build_kernel.sys, "platform", "linux")
    monkeypatch.delenv("TUNESCOPE_NUMPY_ONLY", raising=False)
    out = tmp_path / "out"
    out.mkdir()
    assert "no such header" in build_kernel.build(out / "libunit_sums.so")
    assert list(out.iterdir()) == []
