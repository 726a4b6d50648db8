"""Do two models change the same weights in the same direction?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.delta import Factored, Update
from tunescope.linalg import gram
from tunescope.linalg.ranks import ranks

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


# Two layers are in one order or the other, which says nothing.
_FEWEST_LAYERS = 3


def norm_map_ranks(norms: pl.DataFrame, labels: Sequence[str], metric: str) -> Float64:
    """Spearman's correlation of the models' maps of `metric` within kinds of weight, `(N, N)` in [−1, 1].

    Σ over kinds of ⟨r − r̄, r' − r̄'⟩ over √(Σ‖r − r̄‖² Σ‖r' − r̄'‖²), r the ranks of a kind's weights inside
    the layers, over those that both models have. Sizes that differ by kind, and how flat a map is, do not
    count. NaN where no kind has three such weights, or none of a model's differ.
    """
    inside = norms.filter(pl.col("layer").is_not_null())
    values = _maps(inside, labels, metric)
    number: dict[Any, int] = {}
    kinds = np.array([
        number.setdefault((stack, kind), len(number)) for stack, _, kind, _ in _places(inside, metric)
    ])  # fmt: skip
    masks, group = np.unique(np.isfinite(values), axis=0, return_inverse=True)
    found = np.full((len(labels), len(labels)), np.nan)
    for a in range(len(masks)):
        for b in range(a, len(masks)):
            both = masks[a] & masks[b]
            first, second = np.flatnonzero(group == a), np.flatnonzero(group == b)
            one, other = (_centred_ranks(values[np.ix_(rows, both)], kinds[both]) for rows in (first, second))
            with np.errstate(invalid="ignore", divide="ignore"):
                sizes = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(other, axis=1)
                part = np.clip((one @ other.T) / sizes, -1.0, 1.0)
            found[np.ix_(first, second)] = part
            found[np.ix_(second, first)] = part.T
    return found


def _centred_ranks(values: Float64, kinds: np.ndarray[Any, Any]) -> Float64:
    """Of each row the ranks within every kind of enough weights, less their mean."""
    found = np.zeros_like(values)
    for kind in np.unique(kinds):
        own = np.flatnonzero(kinds == kind)
        if len(own) >= _FEWEST_LAYERS:
            for row in range(len(values)):
                found[row, own] = ranks(values[row, own]) - (len(own) + 1) / 2
    return found


def _places(norms: pl.DataFrame, metric: str) -> dict[Any, int]:
    """Every place of which a model has a finite value, with its number."""
    usable = norms.filter(pl.col(metric).is_finite())
    found: dict[Any, int] = {}
    for key in usable.select("stack", "layer", "module_type", "expert").iter_rows():
        found.setdefault(key, len(found))
    return found


def _maps(norms: pl.DataFrame, labels: Sequence[str], metric: str) -> Float64:
    """The finite values of a metric, models by places; NaN where a model has none."""
    usable = norms.filter(pl.col(metric).is_finite())
    place = _places(norms, metric)
    row = {label: i for i, label in enumerate(labels)}
    keys = usable.select("stack", "layer", "module_type", "expert").iter_rows()
    found = np.full((len(labels), len(place)), np.nan)
    where = [row[model] for model in usable["model_id"].to_list()], [place[key] for key in keys]
    found[where] = usable[metric].to_numpy()
    return found
