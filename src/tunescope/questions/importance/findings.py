"""What an importance table says in sentences: depth, families, norms, size, and where two views disagree."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from tunescope.address import Address
from tunescope.linalg.ranks import ranks, spearman
from tunescope.questions.importance.views import size_spearman
from tunescope.study.finding import Finding, named, significant

GRADIENT = 0.6  # |Spearman| of a layer's sum with its depth from which a map has a direction
HALF = 0.5  # share of the sum that a band of layers must hold
EVEN = 0.45  # part of the layers that the band must stay below for it to be a place
UNIFORM = 0.25  # coefficient of variation over layers below which norms count as uniform
DISAGREE = 0.5  # Spearman between Layer Importance and the layers' sums below which they disagree
SIZE = 0.7  # |Spearman| with the number of weights from which size explains a map
_FEWEST = 4


def importance_findings(frame: pl.DataFrame, model_id: str, summary: Mapping[str, Any]) -> list[Finding]:
    """All findings of every method, with the numbers and thresholds behind them."""
    found: list[Finding] = []
    methods = [m for m in frame["method"].unique(maintain_order=True).to_list() if m != "bypass"]
    for method in methods:
        rows = frame.filter((pl.col("method") == method) & pl.col("score").is_not_null())
        inside = rows.filter(pl.col("layer").is_not_null())
        for stack in inside["stack"].unique(maintain_order=True).to_list():
            part = inside.filter(pl.col("stack") == stack)
            found += [*_depth(part, method, model_id), *_norms(part, method, model_id)]
            found += _disagreement(frame, part, method, model_id)
        found += [*_families(rows, method, model_id), *_size(frame, method, model_id)]
    found += _left_out(summary, model_id)
    return found


def _layer_sums(part: pl.DataFrame) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    sums = part.group_by("layer", maintain_order=True).agg(pl.col("score").sum()).sort("layer")
    return sums["layer"].to_numpy(), sums["score"].to_numpy()


def _depth(part: pl.DataFrame, method: str, model_id: str) -> Iterator[Finding]:
    layers, sums = _layer_sums(part)
    if len(layers) < _FEWEST or not sums.sum() > 0:
        return
    rho = spearman(layers.astype(float), sums)
    start, stop = densest_band(sums)
    share = float(sums[start:stop].sum() / sums.sum())
    expected = (stop - start) / len(layers)
    direction = ""
    if abs(rho) >= GRADIENT:
        direction = f", which {'rises' if rho > 0 else 'falls'} with depth (Spearman {rho:.2f})"
    one = stop - start == 1
    named_band = f"layer {layers[start]}" if one else f"layers {layers[start]} to {layers[stop - 1]}"
    band = f"{named_band}, {stop - start} of {len(layers)},"
    if expected < EVEN:
        kind, text = (
            _place(start, stop, len(layers)),
            f"{band} {'holds' if one else 'hold'} {share:.0%} of the layers' sum{direction}.",
        )
    else:
        kind, text = "evenly_spread", f"it takes {band} to hold half of the layers' sum{direction}."
    evidence = {
        "method": method, "first_layer": int(layers[start]), "last_layer": int(layers[stop - 1]),
        "share": share, "share_of_layers": expected, "threshold_share": HALF, "threshold_even": EVEN,
        "spearman_depth": rho, "threshold_spearman": GRADIENT,
    }  # fmt: skip
    yield Finding(kind, f"{method}: {text}", (model_id,), evidence=evidence)


def densest_band(sums: np.ndarray[Any, Any], share: float = HALF) -> tuple[int, int]:
    """The shortest run of layers (first, one past last) that holds `share` of the sum; the fullest of those.

    >>> densest_band(np.array([1.0, 1.0, 6.0, 2.0]))
    (2, 3)
    """
    total, count = sums.sum(), len(sums)
    edges = np.concatenate([[0.0], np.cumsum(sums)])
    for width in range(1, count + 1):
        held = edges[width:] - edges[:-width]
        best = int(np.argmax(held))
        if held[best] >= share * total:
            return best, best + width
    return 0, count


def _place(start: int, stop: int, count: int) -> str:
    centre = (start + stop) / (2 * count)
    return "early_layers" if centre < 0.4 else "late_layers" if centre > 0.6 else "middle_layers"


def _family(parameter: str) -> str:
    return Address("", 0, parameter).family


def _families(rows: pl.DataFrame, method: str, model_id: str) -> Iterator[Finding]:
    families = [_family(p) for p in rows["parameter"].to_list()]
    totals = (
        rows.with_columns(pl.Series("family", families))
        .group_by("family", maintain_order=True)
        .agg(pl.col("share").sum(), pl.col("numel").sum())
        .sort("share", descending=True)
    )
    if totals.height < 2:
        return
    weights = totals["numel"].sum()
    parts = [f"{f} {s:.0%}" for f, s, _ in totals.iter_rows()]
    dense = totals.with_columns((pl.col("share") / (pl.col("numel") / weights)).alias("density"))
    densest = dense.sort("density", descending=True).row(0, named=True)
    text = (
        f"{method}: {named(parts, 5)} of the sum; per weight the densest family is {densest['family']}, "
        f"{significant(densest['density'])} times the average weight."
    )
    evidence = {
        "method": method,
        "share": dict(totals.select("family", "share").iter_rows()),
        "density": dict(dense.select("family", "density").iter_rows()),
    }
    yield Finding("family_tilt", text, (model_id,), evidence=evidence)


def _norms(part: pl.DataFrame, method: str, model_id: str) -> Iterator[Finding]:
    variation = {}
    for parameter in part["parameter"].unique(maintain_order=True).to_list():
        scores = part.filter(pl.col("parameter") == parameter)["score"].to_numpy()
        if _family(parameter) == "norm" and len(scores) >= _FEWEST and scores.mean() > 0:
            variation[parameter] = float(scores.std() / scores.mean())
    uniform = [name for name, value in variation.items() if value < UNIFORM]
    if uniform:
        text = (
            f"{method}: {named(uniform)} {'scores' if len(uniform) == 1 else 'score'} alike in all layers "
            f"(standard deviation under {UNIFORM:.0%} of the mean)."
        )
        evidence = {"method": method, "variation": variation, "threshold": UNIFORM}
        yield Finding("uniform_norms", text, (model_id,), evidence=evidence)


def _disagreement(frame: pl.DataFrame, part: pl.DataFrame, method: str, model_id: str) -> Iterator[Finding]:
    stack = part["stack"][0]
    bypass = frame.filter((pl.col("method") == "bypass") & (pl.col("stack") == stack)).sort("layer")
    layers, sums = _layer_sums(part)
    if bypass.height != len(layers) or len(layers) < _FEWEST:
        return
    whole = bypass["score"].to_numpy()
    rho = spearman(whole, sums)
    if not rho < DISAGREE:
        return
    gaps = ranks(whole) - ranks(sums)
    more, less = int(layers[np.argmax(gaps)]), int(layers[np.argmin(gaps)])
    text = (
        f"{method}: the layers' sums do not follow Layer Importance (Spearman {rho:.2f}): layer {more} is "
        f"missed more than its sum says, layer {less} less."
    )
    evidence = {
        "method": method, "spearman": rho, "threshold": DISAGREE, "layer_underrated": more,
        "layer_overrated": less,
    }  # fmt: skip
    yield Finding("layer_importance_disagrees", text, (model_id,), evidence=evidence)


def _size(frame: pl.DataFrame, method: str, model_id: str) -> Iterator[Finding]:
    rho = size_spearman(frame, method)
    if rho is not None and abs(rho) >= SIZE:
        text = (
            f"{method}: the map mostly shows tensor size (Spearman {rho:.2f} with the number of weights, "
            f"{rho**2:.0%} of its order): compare layers within a column, not columns."
        )
        evidence = {"method": method, "spearman_numel": rho, "threshold": SIZE}
        yield Finding("size_explains_map", text, (model_id,), evidence=evidence)


def _left_out(summary: Mapping[str, Any], model_id: str) -> Iterator[Finding]:
    if left := summary.get("parameters_not_scored"):
        text = f"{len(left)} parameters could not be scored: {named(left)}."
        evidence = {"parameters": dict(left)}
        yield Finding("not_understood", text, (model_id,), evidence=evidence, severity="warning")
    if silent := summary.get("parameters_without_gradient"):
        text = f"{len(silent)} parameters play no part in the loss and score zero: {named(silent)}."
        yield Finding("without_gradient", text, (model_id,), evidence={"parameters": list(silent)})
