"""One pass over a pair of tensors: every statistic against NumPy in float64, and bits that stay the same."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope.delta import InMemory
from tunescope.linalg.differences import UNIT
from tunescope.measure import dense
from tunescope.measure.dense import Change, change, looked
from tunescope.source.files.container import read_safetensors

BF16 = np.dtype(ml_dtypes.bfloat16)
KINDS = [BF16, *map(np.dtype, ("f2", "f4", "f8", ml_dtypes.float8_e4m3fn))]


def pair(kind: np.dtype, n: int, step: float = 2e-3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(n)
    before = (draw.standard_normal(n) * 0.02).astype(kind)
    return before, (before.astype(np.float64) + step * draw.standard_normal(n)).astype(kind)


def measured(before: np.ndarray, after: np.ndarray) -> Change:
    return change(InMemory(before), InMemory(after))


def expected(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    w, v = before.astype(np.float64), after.astype(np.float64)
    d = v - w
    size = np.abs(d)
    return {
        "norm": float(np.linalg.norm(d)),
        "base_norm": float(np.linalg.norm(w)),
        "relative_norm": float(np.linalg.norm(d) / np.linalg.norm(w)),
        "cosine_to_base": float(w @ v / np.linalg.norm(w) / np.linalg.norm(v)),
        "mean": d.mean(),
        "variance": d.var(),
        "abs_mean": size.mean(),
        "abs_variance": size.var(),
        "max_abs": size.max(),
        "relative_l1": size.sum() / np.abs(w).sum(),
        "changed_fraction": (d != 0).mean(),
    }


@pytest.mark.parametrize("n", [1, 7, 4097, UNIT, UNIT + 3, 5 * UNIT + 1001])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_statistic_is_numpys_in_float64(kind: np.dtype, n: int) -> None:
    before, after = pair(kind, n)
    after[0] = 1
    found = measured(before, after)
    for name, value in expected(before, after).items():
        assert getattr(found, name) == pytest.approx(value, rel=5e-8, abs=1e-13), name
    size = np.abs(after.astype(np.float64) - before.astype(np.float64))
    assert found.changed_fraction_above == tuple((size > t).mean() for t in (1e-6, 1e-5))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_bits_depend_neither_on_threads_nor_on_how_much_is_read_at_once(
    kind: np.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = pair(kind, 6 * UNIT + 77)
    alone = measured(before, after)
    monkeypatch.setattr(dense, "_AT_ONCE", 1)
    with ThreadPoolExecutor(3) as pool:
        assert change(InMemory(before), InMemory(after), pool) == alone


@pytest.mark.parametrize("start", [1, 3, 5])
def test_bits_do_not_depend_on_where_in_memory_the_values_lie(start: int) -> None:
    before, after = pair(np.dtype("f4"), 70_000)
    moved = [np.concatenate([np.zeros(start, "f4"), row])[start:] for row in (before, after)]
    assert measured(*moved) == measured(before, after)


@pytest.mark.parametrize("kind", ["bfloat16", "float32"])
def test_a_file_read_in_parts_gives_what_memory_gives(kind: str, tmp_path: Path) -> None:
    before, after = (row.reshape(-1, 64) for row in pair(np.dtype(kind), 64 * 12_345))
    for name, row in (("before", before), ("after", after)):
        save_file({"w": row}, tmp_path / f"{name}.safetensors")
    files = [read_safetensors(tmp_path / f"{n}.safetensors").tensors["w"] for n in ("before", "after")]
    assert change(*files) == measured(before, after)
    with ThreadPoolExecutor(1) as ahead:
        assert change(*files, ahead) == measured(before, after)


def test_zero_of_either_sign_and_nan_are_no_change() -> None:
    before = np.array([0.0, -0.0, math.nan, 1.0, math.inf], BF16)
    after = np.array([-0.0, 0.0, math.nan, 1.0, math.inf], BF16)
    found = measured(before, after)
    assert (found.norm, found.changed_fraction, found.non_finite) == (0.0, 0.0, 4)


def test_a_nan_that_came_makes_the_sums_nan_and_is_counted() -> None:
    before = np.array([1.0, 2.0, 3.0], np.float32)
    found = measured(before, np.array([1.0, math.nan, 4.0], np.float32))
    assert math.isnan(found.norm)
    assert math.isnan(found.max_abs)
    assert (found.changed_fraction, found.non_finite) == (2 / 3, 1)


def test_a_zero_base_has_no_relative_numbers() -> None:
    found = measured(np.zeros(4, "f4"), np.ones(4, "f4"))
    assert (found.relative_norm, found.cosine_to_base, found.relative_l1) == (None, None, None)
    assert found.norm == 2.0


def test_equal_bytes_are_all_zeros_and_need_no_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = pair(BF16, 3 * UNIT + 5)
    monkeypatch.setattr(dense, "difference_sums", None)
    monkeypatch.setattr(dense, "base_sums", None)
    found = measured(before, before.copy())
    assert found.identical
    assert (found.norm, found.relative_norm, found.cosine_to_base, found.changed_fraction) == (0, 0, 1, 0)
    zero = np.zeros(3, BF16)
    assert measured(zero, zero.copy()).relative_norm is None


def test_an_edit_in_one_unit_leaves_the_others_out_of_the_difference() -> None:
    before, _ = pair(BF16, 3 * UNIT + 5)
    after = before.copy()
    after[UNIT + 9] = 2
    found = measured(before, after)
    wanted = expected(before, after)
    assert found.changed_fraction == 1 / before.size
    assert found.relative_norm == pytest.approx(wanted["relative_norm"], rel=2e-8)
    assert found.norm == pytest.approx(wanted["norm"], rel=1e-15)


def test_differing_dtypes_count_as_changed_only_what_rounding_does_not_explain() -> None:
    before = np.random.default_rng(3).standard_normal(5000).astype(np.float32)
    after = before.astype(BF16)
    found = measured(before, after)
    assert (found.changed_fraction, found.rounded_to) == (0.0, "bfloat16")
    assert found.norm == pytest.approx(np.linalg.norm(after.astype(float) - before.astype(float)), rel=1e-13)
    after[:50] *= 2
    assert measured(before, after).changed_fraction == 0.01


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e18])
def test_values_whose_squares_float32_does_not_hold(size: float) -> None:
    before, after = (
        (row.astype(np.float64) * size).astype(BF16) for row in pair(np.dtype("f8"), UNIT, step=0.1)
    )
    found, wanted = measured(before, after), expected(before, after)
    for name in ("norm", "base_norm", "relative_norm"):
        assert getattr(found, name) == pytest.approx(wanted[name], rel=2e-8), name


@pytest.mark.parametrize("outlier", [1.0, 300.0])
def test_one_large_value_does_not_round_the_small_ones_of_its_block_away(outlier: float) -> None:
    before, after = pair(BF16, UNIT, step=1e-3)
    after[77] = outlier
    found, wanted = measured(before, after), expected(before, after)
    for name in ("norm", "abs_mean", "mean", "abs_variance"):
        assert getattr(found, name) == pytest.approx(wanted[name], rel=5e-9), name


def test_reading_on_does_not_touch_what_memory_holds(tmp_path: Path) -> None:
    before, after = pair(BF16, 2 * UNIT)
    save_file({"w": before}, tmp_path / "before.safetensors")
    on_disk = read_safetensors(tmp_path / "before.safetensors").tensors["w"]
    kept = after.copy()
    assert change(on_disk, InMemory(after)) == measured(before, after)
    assert after.tobytes() == kept.tobytes()
    memory = np.empty(2 * UNIT * 2, np.uint8)
    assert on_disk.into(3, 7, memory).tobytes() == before[3:7].tobytes()
    assert looked(on_disk, InMemory(before))[0]
    assert not looked(on_disk, InMemory(after))[0]


def test_an_empty_tensor_and_a_scalar() -> None:
    assert measured(np.zeros(0, "f4"), np.zeros(0, "f4")).norm == 0
    assert measured(np.array(1.0, "f4"), np.array(3.0, "f4")).norm == 2


def test_tolerances_are_strict_in_float32_too() -> None:
    edge = np.float32(1e-6)
    steps = np.array([edge, np.nextafter(edge, np.float32(1)), np.nextafter(edge, np.float32(0))], np.float32)
    after = np.zeros(UNIT, np.float16)
    found = measured(np.zeros(3, np.float32), steps)
    assert found.changed_fraction_above[0] == sum(float(s) > 1e-6 for s in steps) / 3
    after[0] = 1e-6
    assert (
        measured(np.zeros(UNIT, np.float16), after).changed_fraction_above[0]
        == (float(np.float16(1e-6)) > 1e-6) / UNIT
    )


@pytest.mark.parametrize("value", [1.0078125, 1.3359375, 1.7578125])
def test_differences_of_one_size_have_no_variance_of_it(value):
    """As after the first step of Adam: in float32 all roundings would go one way, to 2e-7 of the sum."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], 2 * UNIT)
    found = measured(np.zeros(2 * UNIT, BF16), (value * signs).astype(BF16))
    assert found.norm == pytest.approx(value * math.sqrt(2 * UNIT), rel=1e-14)
    assert found.abs_mean == pytest.approx(value, rel=1e-14)
    assert found.abs_variance == pytest.approx(0, abs=1e-14)


def test_threads_that_take_turns_give_the_bits_of_one():
    """Spans are summed in order, whoever read them."""
    before, after = pair(BF16, 9 * UNIT + 77)
    alone = dense.change(InMemory(before), InMemory(after))
    with ThreadPoolExecutor(3) as pool:
        assert dense.change(InMemory(before), InMemory(after), pool) == alone
