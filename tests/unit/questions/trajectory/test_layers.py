import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from tunescope.linalg.ranks import spearman
from tunescope.questions.trajectory import layers
from tunescope.questions.trajectory.proxy import compare_profiles

RNG = np.random.default_rng(3)


def row(**given: Any) -> dict[str, Any]:
    base = {
        "run": "r", "step": 1, "epoch": 0.5, "stack": "model", "layer": 0, "module_type": "self_attn.q_proj",
        "family": "attention", "component_name": "L0_ATTN_Q", "factor": "A", "reference": "start", "numel": 4,
        "mean": 0.0, "variance": 1.0, "abs_mean": 1.0, "abs_variance": 1.0, "delta_frobenius_norm": 1.0,
    }  # fmt: skip
    return base | given


def test_a_layer_is_the_unweighted_mean_and_population_std_of_its_matrices() -> None:
    means, sizes = RNG.normal(size=6), RNG.random(6)
    modules = ["self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"]
    rows = [
        row(
            module_type=m,
            factor=f,
            mean=means[2 * i + j],
            abs_mean=sizes[2 * i + j],
            numel=10**i,
            variance=float(i),
        )
        for i, m in enumerate(modules)
        for j, f in enumerate("AB")
    ]
    found = layers.by_layer(layers.frame(rows))
    assert tuple(found.columns) == layers.BY_LAYER
    together, A, B = found.to_dicts()
    assert (together["factor"], A["factor"], B["factor"]) == ("all", "A", "B")
    assert together["mean"] == pytest.approx(means.mean())
    assert together["mean_std"] == pytest.approx(means.std())
    assert together["abs_mean_std"] == pytest.approx(sizes.std())
    assert A["mean"] == pytest.approx(means[::2].mean())
    assert B["abs_mean"] == pytest.approx(sizes[1::2].mean())
    assert (together["variance"], together["n_matrices"], A["n_matrices"]) == (1.0, 6, 3)


def test_biases_and_norm_weights_stay_out_of_layer_means() -> None:
    rows = [
        row(factor="W"),
        row(factor="W", module_type="self_attn.q_proj.bias", abs_mean=100.0),
        row(factor="W", module_type="input_layernorm", family="norm", abs_mean=100.0),
    ]
    found = layers.by_layer(layers.frame(rows))
    assert found["abs_mean"].to_list() == [1.0, 1.0]
    assert found["n_matrices"].to_list() == [1, 1]


def test_rows_that_mix_origins_say_so() -> None:
    rows = [row(reference="first_checkpoint"), row(factor="B", reference="zero")]
    found = layers.by_layer(layers.frame(rows))
    assert dict(found.select("factor", "reference").iter_rows()) == {
        "all": "mixed", "A": "first_checkpoint", "B": "zero",
    }  # fmt: skip


def test_towers_with_equal_layer_numbers_are_kept_apart() -> None:
    rows = [
        row(stack="text"),
        row(stack="vision", abs_mean=3.0),
        row(stack="text", layer=None, module_type="lm_head"),
    ]
    towers = layers.by_tower(layers.frame(rows))
    assert towers["run"].to_list() == ["r/text", "r/vision", "r"]
    one = layers.by_tower(layers.frame([row(stack="encoder"), row(layer=None, module_type="classifier")]))
    assert one["run"].to_list() == ["r", "r"]


def test_whole_norms_and_cosines_are_those_of_the_stacked_vector() -> None:
    steps = [RNG.normal(size=(3, 8)) for _ in range(4)]
    rows = []
    for t, parts in enumerate(steps):
        for i, part in enumerate(parts):
            norm, before, last = np.linalg.norm(part), steps[t - 1][i], steps[-1][i]
            rows.append(
                row(
                    step=t,
                    layer=i,
                    delta_frobenius_norm=norm,
                    cosine_to_last=cos(part, last),
                    cosine_to_previous=None if t == 0 else cos(part, before),
                )
            )
    found = layers.by_step(layers.frame([*rows, *(r | {"factor": "B"} for r in rows)]))
    flat = [s.reshape(-1) for s in steps]
    assert found["delta_frobenius_norm"].to_list() == pytest.approx([np.linalg.norm(f) for f in flat])
    assert found["cosine_to_last"].to_list() == pytest.approx([cos(f, flat[-1]) for f in flat])
    previous = found["cosine_to_previous"].to_list()
    assert previous[0] is None
    assert previous[1:] == pytest.approx([cos(b, a) for a, b in itertools.pairwise(flat)])


def cos(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_captures_have_no_cosines_and_unknown_norms_stay_unknown() -> None:
    found = layers.by_step(layers.frame([row(), row(step=2, delta_frobenius_norm=None)]))
    assert found["cosine_to_last"].to_list() == [None, None]
    assert found["delta_frobenius_norm"].to_list() == [1.0, None]
    by_layer = layers.norms_by_layer(layers.frame([row(), row(step=2, delta_frobenius_norm=None)]))
    assert by_layer["delta_frobenius_norm"].to_list() == [1.0, None]


def test_a_module_saved_whole_does_not_enter_the_adapters_norm() -> None:
    saved = row(
        factor="W",
        reference="first_checkpoint",
        module_type="classifier",
        layer=None,
        delta_frobenius_norm=50.0,
    )
    found = layers.by_step(
        layers.frame([row(reference="first_checkpoint"), row(factor="B", reference="zero"), saved])
    )
    assert found["delta_frobenius_norm"].to_list() == [1.0]
    alone = layers.by_step(layers.frame([saved]))
    assert alone["delta_frobenius_norm"].to_list() == [50.0]


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_is_scipys(ties: bool) -> None:
    x, y = RNG.normal(size=40), RNG.normal(size=40)
    if ties:
        x, y = x.round(), y.round()
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def profile(factor: str, sizes: dict[str, np.ndarray]) -> pl.DataFrame:
    rows = [
        row(run=factor, step=step, layer=i, module_type=module, factor=factor,
            family="mlp" if module.startswith("mlp") else "attention", delta_frobenius_norm=float(v) * step)
        for module, values in sizes.items() for i, v in enumerate(values) for step in (1, 2)
    ]  # fmt: skip
    return layers.frame(rows)


def test_a_full_run_that_ranks_layers_alike_is_followed_per_family() -> None:
    q, up = np.arange(1.0, 13.0), RNG.permutation(12) + 1.0
    low_rank = profile("B", {"self_attn.q_proj": q, "mlp.up_proj": up})
    full = profile("W", {"self_attn.q_proj": 100 * q**2, "mlp.up_proj": -up + 20, "mlp.down_proj": 1000 * up})
    found = {p.family: p for p in compare_profiles(low_rank, full)}
    assert found["attention"].correlation == pytest.approx(1)
    assert found["mlp"].correlation == pytest.approx(-1)
    assert (found["mlp"].n_modules, found["mlp"].n_layers, found["all"].n_modules) == (12, 12, 24)
    assert set(found) == {"attention", "mlp", "all"}


def test_too_few_layers_give_no_correlation() -> None:
    three = {"mlp.up_proj": np.arange(3.0)}
    assert compare_profiles(profile("B", three), profile("W", three)) == []


def test_rough_profiles_that_agree_are_told_from_chance_and_slopes_are_not() -> None:
    rough = {"mlp.up_proj": np.exp(0.5 * RNG.normal(size=24))}
    (one,) = compare_profiles(profile("B", rough), profile("W", {"mlp.up_proj": rough["mlp.up_proj"] ** 2}))
    assert one.p < 0.001
    assert one.low > 0
    slope = {"mlp.up_proj": np.arange(1.0, 25.0)}
    (two,) = compare_profiles(profile("B", slope), profile("W", slope))
    assert two.correlation == pytest.approx(1)
    assert (two.p, two.low) == (1, -1)
