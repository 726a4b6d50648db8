"""Do two models change the same weights in the same direction?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.delta import Factored, Update
from tunescope.linalg import gram

Float64 = NDArray[np.float64]


def inner(a: Update, b: Update) -> float:
    """⟨ΔW, ΔW'⟩ with both scales (an unknown scale counts as one); low rank is never multiplied out."""
    scale = scale_of(a) * scale_of(b)
    if isinstance(a, Factored) and isinstance(b, Factored):
        return scale * gram.inner(a.B, a.A, b.B, b.A)
    if isinstance(a, Factored):
        a, b = b, a
    matrix = gram.wide(a.matrix).astype(np.float64)  # type: ignore[union-attr]
    if isinstance(b, Factored):
        left = gram.wide(b.B).astype(np.float64).T @ matrix
        return scale * float((left * gram.wide(b.A).astype(np.float64)).sum())
    return scale * float((matrix * gram.wide(b.matrix).astype(np.float64)).sum())


def norm(update: Update) -> float:
    """‖ΔW‖_F with its scale (an unknown scale counts as one)."""
    if isinstance(update, Factored):
        return abs(scale_of(update)) * gram.product_frobenius(update.B, update.A, exact=True)[0]
    return abs(scale_of(update)) * gram.frobenius(update.matrix)


def scale_of(update: Update) -> float:
    """The factor of an update; an unknown one counts as one."""
    return 1.0 if update.scale is None else update.scale


def norm_maps(norms: pl.DataFrame, labels: Sequence[str], metric: str) -> tuple[Float64, Float64]:
    """Cosine and Euclidean distance of the models' maps of `metric`, over the components both have.

    `(N, N)` each; NaN where two models have no component in common, or a map of zeros has no cosine.
    """
    values = _maps(norms, labels, metric)
    seen = np.isfinite(values)
    values = np.where(seen, values, 0.0)
    cosine, distance = np.eye(len(labels)), np.zeros((len(labels), len(labels)))
    for i in range(len(labels)):
        both = seen[i] & seen
        mine, theirs = np.where(both, values[i], 0.0), np.where(both, values, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            # Two roots, as the product of two small squares can be 0.
            roots = np.sqrt((mine**2).sum(axis=1)) * np.sqrt((theirs**2).sum(axis=1))
            cosine[i] = np.clip((mine * theirs).sum(axis=1) / roots, -1.0, 1.0)
        distance[i] = np.where(both.any(axis=1), np.sqrt(((mine - theirs) ** 2).sum(axis=1)), np.nan)
    return cosine, distance


def _maps(norms: pl.DataFrame, labels: Sequence[str], metric: str) -> Float64:
    """The finite values of a metric, models by places; NaN where a model has none."""
    usable = norms.filter(pl.col(metric).is_finite())
    place: dict[Any, int] = {}
    row = {label: i for i, label in enumerate(labels)}
    keys = usable.select("stack", "layer", "module_type", "expert").iter_rows()
    columns = [place.setdefault(key, len(place)) for key in keys]
    found = np.full((len(labels), len(place)), np.nan)
    found[[row[model] for model in usable["model_id"].to_list()], columns] = usable[metric].to_numpy()
    return found
