"""φ grids as panels, overlap above chance as maps, models by models as ordered matrices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.address import Address
from tunescope.linalg.overlap import cosines, phi_grid, product_bases
from tunescope.picture.lettering import names
from tunescope.picture.matrix_views import Matrix, clustered
from tunescope.picture.views import Grid, grids, limits_of, short

Float64 = NDArray[np.float64]
SIDES = ("input", "output")
# Panels of one row of the figure; layers that are shown unless asked for otherwise.
PANELS_PER_ROW, LAYERS_SHOWN = 4, 4
_SUBSCRIPT = {"ATTN_Q": "q", "ATTN_K": "k", "ATTN_V": "v", "ATTN_O": "o"}


@dataclass(frozen=True, eq=False)
class Panel:
    """One φ grid: `values (r, r')` in [0, 1], i down and j across, both counted from 1."""

    title: str
    values: Float64


@dataclass(frozen=True, eq=False)
class PhiFigure:
    """Panels in rows, a control with random Gaussian matrices per dimension, one colour scale up to `vmax`.

    `formula` is the title; `clipped` the share of cells above `vmax`.
    """

    formula: str
    rows: tuple[tuple[Panel, ...], ...]
    controls: tuple[Panel, ...]
    vmax: float
    clipped: float
    note: str = ""


def panels_shown(addresses: Sequence[Address], layers: bool, modules: bool) -> tuple[list[Address], bool]:
    """The addresses that the figure shows, and whether others are left out.

    All of them where both layers and modules were chosen; else up to four layers spread over the depth
    and the query and value (or the first two) modules.
    """
    inside = [a for a in addresses if a.layer is not None] or list(addresses)
    depths = sorted({a.layer for a in inside if a.layer is not None})
    kinds = list(dict.fromkeys((a.stack, a.module_type) for a in sorted(inside, key=_network_order)))
    kept_depths = depths if layers else _spread(depths, LAYERS_SHOWN)
    kept_kinds = kinds if modules else _query_and_value(kinds)
    shown = [
        a
        for a in sorted(inside, key=_network_order)
        if (a.stack, a.module_type) in kept_kinds
        and (a.layer is None or a.layer in kept_depths)
        and a.expert in (None, 0)
    ]
    return shown, len(shown) < len(addresses)


def _network_order(address: Address) -> tuple[Any, ...]:
    order = ("ATTN_Q", "ATTN_K", "ATTN_V", "ATTN_O", "MLP_GATE", "MLP_UP", "MLP_DOWN")
    rank = order.index(address.component) if address.component in order else len(order)
    return (address.stack, address.layer or 0, rank, address.module_type, address.expert or 0)


def _spread(depths: Sequence[int], count: int) -> list[int]:
    if len(depths) <= count:
        return list(depths)
    return [depths[round(k * (len(depths) - 1) / (count - 1))] for k in range(count)]


def _query_and_value(kinds: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    wanted = [k for k in kinds if Address("", 0, k[1]).component in ("ATTN_Q", "ATTN_V")]
    return wanted[:2] if wanted else list(kinds[:2])


def phi_figure(
    shown: Sequence[Address], values: Mapping[Address, Float64], of: str, plain: bool,
    vmax: float | None, controls: Mapping[int, Float64], note: str = "",
) -> PhiFigure:  # fmt: skip
    """The figure of one pair, matrix and side; `plain` leaves out the primes (ranks of one model).

    `controls` holds the grid of random matrices for every dimension d of the panels' spaces.
    """
    panels = [(a, Panel(_panel_title(a, of), values[a])) for a in shown]
    every = [p.values for _, p in panels]
    # One scale for every figure of every study: φ is a share, and 1 is the same direction.
    top = 1.0 if vmax is None else vmax
    cells = np.concatenate([v.ravel() for v in every])
    formula = _formula(of, [v.shape for v in every], plain)
    return PhiFigure(formula, _arranged(panels), _controls(controls), top, float((cells > top).mean()), note)


def _controls(grids: Mapping[int, Float64]) -> tuple[Panel, ...]:
    if len(grids) == 1:
        return tuple(Panel("Random Gaussian", grid) for grid in grids.values())
    return tuple(Panel(f"Random Gaussian, $d={d}$", grid) for d, grid in grids.items())


def _panel_title(address: Address, of: str) -> str:
    """`Layer 0: A_q`, of the update `Layer 0: ΔW_q`: layers are counted from 0, as everywhere."""
    name = _SUBSCRIPT.get(address.component) or short(address.component)
    symbol = "\\Delta W" if of == "delta" else of
    matrix = f"${symbol}_{{{name}}}$" if len(name) == 1 else f"${symbol}$ {name}"
    if address.expert is not None:
        matrix += f", expert {address.expert}"
    return matrix if address.layer is None else f"Layer {address.layer}: {matrix}"


def _formula(of: str, shapes: Sequence[tuple[int, ...]], plain: bool) -> str:
    name = "\\Delta W" if of == "delta" else of
    ranks = [{shape[axis] for shape in shapes} for axis in (0, 1)]
    subscripts = [f"_{{r={r.pop()}}}" if len(r) == 1 else "" for r in ranks]
    prime = "" if plain else "'"
    return f"$\\phi({name}{subscripts[0]},\\ {name}{prime}{subscripts[1]},\\ i,\\ j)$"


def _arranged(panels: Sequence[tuple[Address, Panel]]) -> tuple[tuple[Panel, ...], ...]:
    """Rows of whole layers, about four panels wide: for four layers of q and v, two above two."""
    layers: dict[tuple[str, int | None], list[Panel]] = {}
    for address, panel in panels:
        layers.setdefault((address.stack, address.layer), []).append(panel)
    widest = max(map(len, layers.values()))
    per_row = max(1, PANELS_PER_ROW // widest)
    groups = list(layers.values())
    rows = [list(chain(*groups[k : k + per_row])) for k in range(0, len(groups), per_row)]
    most = PANELS_PER_ROW if len(groups) == 1 else 2 * PANELS_PER_ROW
    if widest > most:
        flat = [panel for _, panel in panels]
        rows = [flat[k : k + most] for k in range(0, len(flat), most)]
    return tuple(map(tuple, rows))


def gaussian_control(
    d_out: int, d_in: int, ranks: tuple[int, int], of: str, side: str, seed: int = 0
) -> Float64:
    """φ between two random Gaussian factor pairs of the given shapes: what chance looks like."""
    random = np.random.default_rng(seed)
    sides = []
    for r in ranks:
        bases = product_bases(random.standard_normal((d_out, r)), random.standard_normal((r, d_in)))
        sides.append(bases[0 if side == "input" else 1])
    return phi_grid(cosines(sides[0], sides[1], of, of))


def excess_maps(summary: pl.DataFrame, model_a: str, model_b: str, begin: str = "zero") -> list[Grid]:
    """Layer × module maps of the overlap above chance, input then output side, on one scale for all pairs."""
    rows = summary.filter((pl.col("model_a") == model_a) & (pl.col("model_b") == model_b))
    found: list[Grid] = []
    both = " · ".join(names([model_a, model_b], 24))
    for side in SIDES:
        label = "(φ − chance)/(1 − chance)"
        found += grids(rows, f"excess_{side}", f"{both}, {side} side", label)
    limits = _excess_limits(summary, begin)
    return [replace(grid, limits=limits) for grid in found]


def _excess_limits(summary: pl.DataFrame, begin: str) -> tuple[float, float]:
    """The ends of the scale of all pairs of two models, whose upper one is a multiple of 0.05 or 1."""
    pairs = summary.filter(pl.col("model_a") != pl.col("model_b"))
    values = pairs.select(f"excess_{side}" for side in SIDES).to_numpy()
    low, high = limits_of([values], begin)
    if begin == "data":
        return low, high
    return 0.0, 1.0 if high > 0.5 else max(0.05, float(np.ceil(high * 20) / 20))


def model_matrices(summary: pl.DataFrame, labels: Sequence[str], side: str) -> list[Matrix]:
    """Models by models: mean overlap above chance, over all weights and then per layer.

    All are in one order, that of an average-linkage clustering of the overall matrix.
    """
    overall = _matrix(summary, labels, side)
    order = clustered(overall)
    named = tuple(labels[k] for k in order)
    label = "(φ − chance)/(1 − chance), mean over weights"
    out = [Matrix("all weights", named, overall[np.ix_(order, order)], label)]
    for layer in summary["layer"].drop_nulls().unique().sort().to_list():
        values = _matrix(summary.filter(pl.col("layer") == layer), labels, side)
        out.append(Matrix(f"L{layer}", named, values[np.ix_(order, order)]))
    return out


def _matrix(summary: pl.DataFrame, labels: Sequence[str], side: str) -> Float64:
    at = {label: k for k, label in enumerate(labels)}
    out = np.full((len(labels), len(labels)), np.nan)
    np.fill_diagonal(out, 1.0)
    means = summary.group_by("model_a", "model_b", maintain_order=True).agg(pl.col(f"excess_{side}").mean())
    for a, b, value in means.iter_rows():
        if value is not None and a != b:
            out[at[a], at[b]] = out[at[b], at[a]] = value
    return out
