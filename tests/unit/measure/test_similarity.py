"""Cosines between updates, against NumPy on the products multiplied out."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import rankdata

from tunescope.address import parse
from tunescope.delta import Delta, Factored
from tunescope.measure.between import between
from tunescope.measure.similarity import norm_map_ranks, norm_maps


def deltas(size: float, seed: int) -> tuple[list[Delta], np.ndarray]:
    """Two updates with factors of this size, and both products, scaled up, in one vector."""
    random, found, flat = np.random.default_rng(seed), [], []
    for layer in range(2):
        B, A = ((size * random.standard_normal(s)).astype(np.float32) for s in ((24, 4), (4, 40)))
        name = f"model.layers.{layer}.self_attn.q_proj"
        update = Factored(B, A, 1.0)
        found.append(
            Delta(parse(name), name, "lora", 24, 40, 4, None, 1.0, (), open=lambda update=update: update)
        )
        flat.append(((B.astype(float) / size) @ (A.astype(float) / size)).ravel())
    return found, np.concatenate(flat)


@pytest.mark.parametrize("size", [1e-42, 1e-38, 1e-20, 1.0, 1e18])
def test_the_cosine_of_tiny_and_of_huge_updates_is_that_of_numpy(size: float) -> None:
    (one, u), (other, v) = deltas(size, 0), deltas(size, 1)
    found = between([("a", one), ("b", other)]).cosine[0, 1]
    assert found == pytest.approx(u @ v / np.linalg.norm(u) / np.linalg.norm(v), abs=1e-6)


def maps(**models: dict[str, list[float | None]]) -> pl.DataFrame:
    """A table of a metric `m`: of every model the values of each kind of weight, layer by layer."""
    rows = [
        {"model_id": model, "stack": "", "layer": layer, "module_type": kind, "expert": None, "m": value}
        for model, kinds in models.items()
        for kind, values in kinds.items()
        for layer, value in enumerate(values)
    ]
    types = {"layer": pl.Int64, "expert": pl.Int64, "m": pl.Float64}
    return pl.DataFrame(rows, schema_overrides=types)


def test_maps_rank_layers_within_kinds_as_scipys_ranks_do() -> None:
    draws = np.random.default_rng(5)
    a, b = draws.random((2, 9)).round(1), draws.random((2, 9)).round(1)
    frame = maps(a={"q": a[0].tolist(), "v": a[1].tolist()}, b={"q": b[0].tolist(), "v": b[1].tolist()})
    x, y = (np.concatenate([rankdata(kind) - rankdata(kind).mean() for kind in own]) for own in (a, b))
    expected = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    found = norm_map_ranks(frame, ["a", "b"], "m")
    assert found[0, 1] == found[1, 0] == pytest.approx(expected, abs=1e-12)
    assert np.diag(found) == pytest.approx([1.0, 1.0])


def test_sizes_that_differ_by_kind_alone_make_no_two_maps_alike() -> None:
    a = {"q": [1.0, 2.0, 3.0, 4.0], "v": [101.0, 102.0, 103.0, 104.0]}
    b = {"q": [4.0, 3.0, 2.0, 1.0], "v": [104.0, 103.0, 102.0, 101.0]}
    frame = maps(a=a, b=b)
    assert norm_maps(frame, ["a", "b"], "m")[0][0, 1] > 0.99
    assert norm_map_ranks(frame, ["a", "b"], "m")[0, 1] == pytest.approx(-1.0)


def test_models_are_compared_over_the_weights_that_both_have() -> None:
    frame = maps(
        a={"q": [1.0, 2.0, 3.0, 4.0], "v": [9.0, 1.0, 5.0, 2.0]},
        b={"q": [1.0, 2.0, 3.0, None]},
        c={"o": [1.0, 2.0, 3.0, 4.0]},
        d={"q": [1.0, 1.0, 1.0, 1.0]},
    )
    found = norm_map_ranks(frame, ["a", "b", "c", "d"], "m")
    assert found[0, 1] == pytest.approx(1.0)
    assert np.isnan(found[0, 2])
    assert np.isnan(found[0, 3])
    assert np.isnan(found[3, 3])


def test_two_layers_have_no_order_to_compare() -> None:
    frame = maps(a={"q": [1.0, 2.0]}, b={"q": [2.0, 1.0]})
    assert np.isnan(norm_map_ranks(frame, ["a", "b"], "m")[0, 1])
