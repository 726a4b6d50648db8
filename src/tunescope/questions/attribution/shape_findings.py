"""Where in a model the effect of fine-tuning lies: depth, families, and whether size explains it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.address import Address
from tunescope.linalg.ranks import spearman
from tunescope.questions.attribution.case import ALPHA, Case, percent
from tunescope.statistics.groups import parts_differ, smooth_p
from tunescope.statistics.location import Shift, groups_differ, mean_differs
from tunescope.statistics.neighbours import cuts
from tunescope.statistics.two_way import common_block
from tunescope.study.finding import Finding
from tunescope.words import counted

Floats = NDArray[np.float64]
# A third of the layers stands out when its layers do this many times what the others do.
LEAD = 1.25
# The families differ when their shares of a layer do by this factor.
TILT, TILT_SHARE = 1.5, 0.35
# Size explains a map from this rank correlation on.
EXPLAINS = 0.8
FEWEST_LAYERS = 6
# One kind of a family says nothing of how such kinds differ anyway.
FEWEST_KINDS = 2
_DRAWS = 2000


def grid(frame: pl.DataFrame, stack: str) -> tuple[list[int], list[str], Floats]:
    """Layers, modules and their attributions `(layers, modules)`, NaN where there is none; experts summed."""
    part = frame.filter((pl.col("stack") == stack) & pl.col("layer").is_not_null())
    cells = part.group_by("layer", "module_type", maintain_order=True).agg(pl.col("attribution").sum())
    layers = sorted(cells["layer"].unique().to_list())
    modules = cells["module_type"].unique(maintain_order=True).to_list()
    values = np.full((len(layers), len(modules)), np.nan)
    row, column = {v: i for i, v in enumerate(layers)}, {v: i for i, v in enumerate(modules)}
    for layer, module, value in cells.iter_rows():
        values[row[layer], column[module]] = value
    return layers, modules, values


def stacks_of(frame: pl.DataFrame) -> list[str]:
    """The stacks of numbered layers."""
    return frame.filter(pl.col("layer").is_not_null())["stack"].unique(maintain_order=True).to_list()


@dataclass(frozen=True, slots=True)
class Third:
    """Which third of some layers leads, `inside` it, by which factor over the others, and p."""

    leading: int
    inside: NDArray[np.bool_]
    lead: float
    p: float


def third_of(frame: pl.DataFrame, stack: str) -> Floats | None:
    """What each layer moved in either direction, of the kinds of weight that all have; `None` for too few."""
    _, _, values = grid(frame, stack)
    kept, kinds = common_block(np.isfinite(values))
    return None if len(kept) < FEWEST_LAYERS else np.abs(values[np.ix_(kept, kinds)]).sum(axis=1)


def leading_third(gross: Floats, alpha: float, gate: float = ALPHA) -> Third | None:
    """The third of the layers that does more than the others, layers exchanged as wholes.

    They are exchanged only where the F test is below `gate`.
    """
    parts = parts_differ(gross, gate=gate)
    edges = cuts(len(gross))
    leading = int(np.argmax(parts.means))
    inside = np.zeros(len(gross), dtype=bool)
    inside[edges[leading] : edges[leading + 1]] = True
    lead = float(gross[inside].mean() / max(gross[~inside].mean(), 1e-300))
    p = max(*smooth_p([parts], gate), parts.p_exchanged)
    return Third(leading, inside, lead, p) if p <= alpha and lead >= LEAD else None


def depth(case: Case) -> Iterable[Finding]:
    """A third of the layers that does more than the others."""
    stacks = stacks_of(case.frame)
    for stack in stacks:
        gross = third_of(case.frame, stack)
        found = None if gross is None else leading_third(gross, case.alpha / len(stacks))
        if found is not None:
            layers, _, values = grid(case.frame, stack)
            kept, _ = common_block(np.isfinite(values))
            yield _third(case, stack, [layers[i] for i in kept], values[kept], found, len(stacks))


def _third(case: Case, stack: str, layers: list[int], values: Floats, found: Third, stacks: int) -> Finding:
    inside, lead = found.inside, found.lead
    whole, gross = float(case.frame["attribution"].sum()), float(case.frame["attribution"].abs().sum())
    net = float(np.nansum(values[inside])) / whole if whole else 0.0
    share = float(np.nansum(np.abs(values[inside]))) / gross
    span = [layer for layer, chosen in zip(layers, inside, strict=True) if chosen]
    name = ("early", "middle", "late")[found.leading]
    text = (
        f"The {name} layers, {span[0]} to {span[-1]}, hold {percent(share)} of all change of "
        f"the loss on {case.data}, up or down, and {percent(net)} of the {case.whole} net: "
        f"{lead:.1f} times as much per layer as the others (one run)."
    )
    evidence = case.evidence(
        "mean |attribution| per layer, leading third / the others", lead, p=min(found.p * stacks, 1.0),
        null="layers exchanged as wholes; neighbours alike as they are",
        threshold={"ratio": LEAD, "p": case.alpha}, stack=stack, gross=share, net=net, layers=len(layers),
    )  # fmt: skip
    return Finding(f"{name}_layers", text, (case.model,), evidence=evidence, strength=lead)


@dataclass(frozen=True, slots=True)
class Families:
    """Mean logs of MLP over attention weights: `within` layers, and between the `kinds` of weight.

    `rows` are the layers that have both, `(layers, kinds)`, `columns` those of MLP and of attention.
    """

    within: Shift
    kinds: Shift
    rows: Floats
    columns: tuple[NDArray[np.intp], NDArray[np.intp]]


def family_shift(frame: pl.DataFrame, stack: str) -> Families | None:
    """MLP against attention weights of a stack; `None` where there are too few to compare."""
    _, modules, values = grid(frame, stack)
    families = np.array([Address("", 0, module).family for module in modules])
    mlp, attention = (np.flatnonzero(families == name) for name in ("mlp", "attention"))
    if min(len(mlp), len(attention)) < FEWEST_KINDS:
        return None
    seen = [np.isfinite(values[:, index]).any(axis=1) for index in (mlp, attention)]
    rows = values[seen[0] & seen[1]]
    sums = [np.nansum(np.abs(rows[:, index]), axis=1) for index in (mlp, attention)]
    if len(rows) < 3 or not (np.all(sums[0] > 0) and np.all(sums[1] > 0)):
        return None
    # Per weight, so that a family of more kinds does not lead by their number.
    means = [np.log(np.nanmean(np.abs(rows[:, index]), axis=1)) for index in (mlp, attention)]
    kinds = [np.log(np.nanmean(np.abs(rows[:, index]), axis=0)) for index in (mlp, attention)]
    return Families(mean_differs(means[0] - means[1]), groups_differ(*kinds), rows, (mlp, attention))


def tilt(case: Case) -> Iterable[Finding]:
    """MLP against attention weights within the same layers, beyond how kinds of weight differ anyway."""
    stacks = stacks_of(case.frame)
    for stack in stacks:
        found = family_shift(case.frame, stack)
        if found is None:
            continue
        p = max(found.within.p, found.kinds.p) * len(stacks)
        ratio = float(np.exp(found.within.difference))
        # A part of the level: few kinds of weight make a lead of one family by chance a common one.
        if p <= case.alpha * TILT_SHARE and max(ratio, 1 / ratio) >= TILT:
            yield _tilted(case, stack, (ratio, p), found)


def _tilted(case: Case, stack: str, found: tuple[float, float], parts: Families) -> Finding:
    (ratio, p), rows, both = found, parts.rows, parts.columns
    gross = [float(np.nansum(np.abs(rows[:, index]))) for index in both]
    net = [float(np.nansum(rows[:, index])) for index in both]
    most = 0 if ratio > 1 else 1
    first, second = (("MLP", "attention"), ("attention", "MLP"))[most]
    total, of_all = float(case.frame["attribution"].sum()), float(case.frame["attribution"].abs().sum())
    share, of_net = gross[most] / of_all, net[most] / total if total else 0.0
    text = (
        f"An {first} weight moved the loss on {case.data} {max(ratio, 1 / ratio):.1f} times as much as "
        f"an {second} weight of its layer: all of them did "
        f"{percent(share)} of all change, up or down, and {percent(of_net)} of the {case.whole} "
        "net (one run)."
    )
    evidence = case.evidence(
        "|attribution| of MLP / attention weights within layers", ratio, p=p,
        null="kinds of weight exchanged between the families, and no difference within layers",
        threshold={"ratio": TILT, "p": case.alpha * TILT_SHARE}, stack=stack, gross=share, net=of_net,
        layers=len(rows),
    )  # fmt: skip
    return Finding("family_tilt", text, (case.model,), evidence=evidence, strength=max(ratio, 1 / ratio))


def explained(case: Case) -> Iterable[Finding]:
    """Whether motion or size alone orders the cells as their effects do."""
    said = {
        "spearman_change_effect": ("How far a weight moved", "frobenius_norm_normalized"),
        "spearman_numel": ("How many numbers a weight has", None),
    }
    for key, (what, column) in said.items():
        rho = case.summary[key]
        if rho is None or rho < EXPLAINS:
            continue
        top = _among_largest(case.frame, column)
        p = _by_kind(case.frame, column, rho)
        if p is not None and p > ALPHA / 2:
            continue
        hidden = f"; among the quarter with the largest effects it is {top:.2f}" if top is not None else ""
        text = (
            f"{what} orders most of the map on {case.data}: Spearman {rho:.2f} with the size of the effect "
            f"over {counted(case.frame.height, 'weight')}{hidden}."
        )
        evidence = case.evidence("Spearman with |attribution|", rho, null="kinds of weight exchanged", p=p,
                                 threshold=EXPLAINS, among_largest_quarter=top, **{key: rho})  # fmt: skip
        yield Finding("size_explains_map", text, (case.model,), evidence=evidence, strength=rho)


def _among_largest(frame: pl.DataFrame, column: str | None) -> float | None:
    """The same correlation among the quarter of the cells that moved the loss most."""
    if column is None or frame.height < 4 * 5:
        return None
    size = pl.col("attribution").abs()
    top = frame.filter(size >= size.quantile(0.75))
    rho = spearman(top[column].to_numpy(), top["attribution"].abs().to_numpy())
    return rho if np.isfinite(rho) else None


def _by_kind(frame: pl.DataFrame, column: str | None, rho: float) -> float | None:
    """How often kinds of weight, exchanged as wholes, correlate as much; `None` for fewer than five kinds.

    Cells of one kind are no independent draws: their levels are one number each.
    """
    if column is None:
        return None
    part = frame.filter(pl.col("layer").is_not_null())
    cells = part.pivot(on="module_type", index=["stack", "layer", "expert"], values=[column, "attribution"],
                       aggregate_function="first")  # fmt: skip
    modules = part["module_type"].unique(maintain_order=True).to_list()
    if len(modules) < 5:
        return None
    moved = cells.select([f"{column}_{m}" for m in modules]).to_numpy()
    effect = np.abs(cells.select([f"attribution_{m}" for m in modules]).to_numpy())
    both = np.isfinite(moved) & np.isfinite(effect)
    random, least = np.random.default_rng(0), 0
    whole = both.all(axis=1)
    if whole.sum() < 2:
        return None
    for _ in range(200):
        order = random.permutation(len(modules))
        least += spearman(moved[whole][:, order].ravel(), effect[whole].ravel()) >= rho
    return (1 + least) / 201
