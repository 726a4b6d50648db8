"""Does a LoRA run change the same layers as full fine-tuning? Rank correlation of their layer profiles."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from tunescope.questions.trajectory.layers import matrices, updates
from tunescope.statistics.series import agreement

# With fewer layers a rank correlation says nothing of smooth profiles.
LEAST_LAYERS = 8
_WEIGHT = ["stack", "layer", "module_type", "expert"]


@dataclass(frozen=True, slots=True)
class Proxy:
    """Spearman's ρ of two runs' layer profiles over one module family, with its 95 % interval.

    Interval and `p` count that neighbouring layers are alike, see `agreement`; `worth` is how many
    independent layers they are worth.
    """

    family: str
    correlation: float
    low: float
    high: float
    n_layers: int
    n_modules: int
    p: float
    worth: float


def compare_profiles(lora: pl.DataFrame, full: pl.DataFrame) -> list[Proxy]:
    """Per family (`attention`, `mlp`, … and `all`), over the weights that both runs train.

    A layer's value is `√Σ‖ΔW‖_F²` over those weights at the run's last capture. Families with
    fewer than eight common layers are left out.
    """
    a, b = _last(lora), _last(full)
    joined = a.join(b, on=_WEIGHT, how="inner", suffix="_full", nulls_equal=True)
    families = joined["family"].unique(maintain_order=True).to_list()
    parts = [(family, joined.filter(pl.col("family") == family)) for family in families]
    if len(families) > 1:
        parts.append(("all", joined))
    return [found for family, part in parts if (found := _correlate(family, part)) is not None]


def _last(motion: pl.DataFrame) -> pl.DataFrame:
    rows = updates(matrices(motion)).filter(
        (pl.col("step") == pl.col("step").max()) & pl.col("layer").is_not_null()
    )
    return rows.select(*_WEIGHT, "family", (pl.col("delta_frobenius_norm") ** 2).alias("square"))


def _correlate(family: str, part: pl.DataFrame) -> Proxy | None:
    layers = (
        part.group_by("stack", "layer").agg(pl.col("square", "square_full").sum()).sort("stack", "layer")
    ).filter(pl.col("square").is_finite() & pl.col("square_full").is_finite())
    if layers.height < LEAST_LAYERS:
        return None
    x, y = np.sqrt(layers["square"].to_numpy()), np.sqrt(layers["square_full"].to_numpy())
    found = agreement(x, y)
    return Proxy(
        family, found.correlation, found.low, found.high, layers.height, part.height, found.p, found.freedom
    )
