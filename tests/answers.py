"""The right answers to the ten questions of `browser/questions.md`, from tables, looked for in a page's data.

Each takes the tables of the studies by name and the page that was made of them.
"""

import re
from collections.abc import Callable, Mapping

import polars as pl
import pytest
from scipy.stats import spearmanr
from tests.packed import PageText

Tables = Mapping[str, pl.DataFrame]
METRIC = "frobenius_norm_normalized"
SIZE = "delta_frobenius_norm"


def which_weight_changed_most(tables: Tables, page: PageText) -> None:
    """1: the largest value of the norms table, and its weight and model."""
    keys = ["model_id", "component_name", METRIC]
    largest, shown = (t.sort(METRIC, descending=True, nulls_last=True).select(keys).row(0)
                      for t in (tables["norms"], page.table("norms")))  # fmt: skip
    assert shown[:2] == largest[:2]
    assert shown[2] == pytest.approx(largest[2], rel=1e-6)


def how_models_compare(tables: Tables, page: PageText) -> None:
    """2: ratios of the means over the matrices that both models have, of the kinds that moved in both."""
    norms = tables["norms"]
    first, *others = norms["model_id"].unique(maintain_order=True).to_list()
    for model in others:
        said = re.search(
            rf"\b{re.escape(model)}: mean \S+ [\d.]+(?: over [^;]*? left out\))?, "
            rf"([\d.]+)× that of {re.escape(first)}",
            page.text,
        )
        assert said is not None, model
        of = {label: _moved(norms.filter(pl.col("model_id") == label)) for label in (first, model)}
        both = of[first].join(of[model], on=["stack", "component_name"], suffix="_other")
        assert float(said[1]) == pytest.approx(
            both[f"{METRIC}_other"].mean() / both[METRIC].mean(), abs=0.006
        )


def _moved(rows: pl.DataFrame) -> pl.DataFrame:
    vector = (pl.col("family") == "norm") | pl.col("module_type").str.ends_with(".bias")
    return rows.filter(~vector & (pl.col(METRIC).max().over("module_type") > 0))


def what_is_untrained_or_broken(tables: Tables, page: PageText) -> None:
    """3: no weight of norm zero and none that is not finite, or else a warning."""
    norms = tables["norms"]
    still = (norms["unscaled_frobenius_norm"] == 0).any()
    broken = norms["status"].str.starts_with("non-finite").any()
    assert ("‖ΔW‖_F is above 0 in all" in page.text) is not still
    assert ("Every value is finite." in page.text) is not broken


def which_models_share_directions(tables: Tables, page: PageText) -> None:
    """4: the pair and side of the largest mean overlap above chance, with φ and chance in words."""
    sides = ("input", "output")
    keys = ["model_a", "model_b"]
    means = [t.group_by(keys).agg(pl.col(f"excess_{s}").mean() for s in sides).sort(keys)
             for t in (tables["subspace_summary"], page.table("pairs"))]  # fmt: skip
    tops = [
        max((row[f"excess_{s}"], row["model_a"], row["model_b"], s) for row in mean.to_dicts() for s in sides)
        for mean in means
    ]
    assert tops[0][1:] == tops[1][1:]
    assert tops[0][0] == pytest.approx(tops[1][0], rel=1e-3)
    _, a, b, side = tops[0]
    rows = tables["subspace_summary"].filter(pl.col("model_a") == a, pl.col("model_b") == b)
    said = re.search(
        rf"{re.escape(a)} and {re.escape(b)}: .*?{side} φ ([\d.]+) \(chance ([\d.]+)\)", page.text
    )
    assert said is not None
    phi, chance = (rows[f"overlap_{side}{end}"].mean() for end in ("", "_chance"))
    assert [float(said[1]), float(said[2])] == pytest.approx([phi, chance], abs=0.0006)


def how_many_directions_of_a_weight_are_shared(tables: Tables, page: PageText) -> None:
    """5: of every weight and pair, its directions in common; and φ beside chance for the same weights."""
    keys = ["model_a", "model_b", "component_name"]
    right = tables["subspace_summary"].select(*keys, "dimensions_shared").sort(keys)
    shown = page.table("pairs").select(*keys, "dimensions_shared").sort(keys)
    assert shown["dimensions_shared"].cast(pl.Float64).equals(right["dimensions_shared"].cast(pl.Float64))
    grids = page.table("phi")
    assert set(right["component_name"]) == set(grids["component_name"])
    assert grids["phi_chance"].is_not_null().all()


def when_half_was_reached(tables: Tables, page: PageText) -> None:
    """6: the first capture with half of the last ‖ΔW‖ in every run; how each loss ended, where known."""
    said = re.search(r"at least half of its last value at step ([^.]*)\.", page.text)
    assert said is not None
    groups = re.findall(r"([\d,]+) \(([^)]*)\)", said[1])
    shown = {m: int(step.replace(",", "")) for step, models in groups for m in re.split(r", | and ", models)}
    steps = tables["motion_by_step"].sort("step")
    for (model,), run in steps.partition_by("model_id", as_dict=True).items():
        reached = run.filter(pl.col(SIZE) >= pl.col(SIZE).last() / 2)["step"]
        assert shown[str(model)] == reached[0]
    if steps.group_by("model_id").len()["len"].min() >= 8:
        assert "last quarter against the quarter before" in page.text


def which_layers_moved_most(tables: Tables, page: PageText) -> None:
    """7: the layer that had moved most at the first and at the last step of every run."""
    keys = ["model_id", "step", "layer"]
    right, shown = (t.filter(pl.col("layer").is_not_null()).select(*keys, SIZE)
                    for t in (tables["norms_by_layer"], page.table("layers")))  # fmt: skip
    for (model,), run in right.partition_by("model_id", as_dict=True).items():
        own = shown.filter(pl.col("model_id") == model)
        for step in (run["step"].min(), run["step"].max()):
            there, here = (t.filter(pl.col("step") == step).sort("layer")[SIZE] for t in (run, own))
            # The page keeps eleven binary digits of these.
            assert here.to_list() == pytest.approx(there.to_list(), rel=2**-11)


def what_was_gained(tables: Tables, page: PageText) -> None:
    """8: the gain is what the parts add up to, with an error; the weight that bought most of it."""
    parts = tables["attribution"]
    gain = page.table("gain")
    for (data,), cells in parts.partition_by("data", as_dict=True).items():
        row = gain.filter(pl.col("data") == data).row(0, named=True)
        assert row["gain"] == pytest.approx(row["base_loss"] - row["tuned_loss"], abs=1e-5)
        assert row["gain"] == pytest.approx(-cells["attribution"].sum(), abs=1e-3)
        assert row["gain_stderr"] > 0
        most = cells.sort("attribution").row(0, named=True)
        shown = (
            page.table("attribution").filter(pl.col("data") == data).sort("attribution").row(0, named=True)
        )
        assert shown["component_name"] == most["component_name"]
        assert shown["attribution"] == pytest.approx(most["attribution"], rel=1e-6)


def is_a_large_change_important(tables: Tables, page: PageText) -> None:
    """9: size and effect of the same weights; where the gain is clear, their rank correlation in words."""
    pair = [METRIC, "attribution"]
    right, shown = (
        t.sort("data", "component_name").select(pair)
        for t in (tables["attribution"], page.table("attribution"))
    )
    assert shown[METRIC].to_list() == pytest.approx(right[METRIC].to_list(), rel=1e-6)
    if said := re.search(r"alike: Spearman (-?[\d.]+)", page.text):
        rho = spearmanr(right[METRIC], right["attribution"].abs()).statistic
        assert float(said[1]) == pytest.approx(rho, abs=0.006)


def what_was_read(tables: Tables, page: PageText) -> None:
    """10: labels, versions and a command for every study."""
    for model in tables["norms"]["model_id"].unique():
        assert str(model) in page.text
    for verb in ("norms", "subspace", "trajectory", "importance", "attribute"):
        assert f"tunescope {verb} " in page.text
    assert re.search(r"This page was made with tunescope \d+\.\d+\.\d+, Python 3\.\d+", page.text)
    assert len(re.findall(r"sha256\S* [0-9a-f]{64}", page.text)) >= 5


ANSWERS: tuple[Callable[[Tables, PageText], None], ...] = (
    which_weight_changed_most, how_models_compare, what_is_untrained_or_broken,
    which_models_share_directions, how_many_directions_of_a_weight_are_shared, when_half_was_reached,
    which_layers_moved_most, what_was_gained, is_a_large_change_important, what_was_read,
)  # fmt: skip
