"""The pictures of a subspace study, made from its tables alone."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from tunescope.address import Address
from tunescope.picture import grid as draw
from tunescope.picture.drawing import Drawn
from tunescope.picture.grid import ends_text
from tunescope.picture.lettering import names
from tunescope.picture.matrix import matrices
from tunescope.picture.style import IMPORTANCE
from tunescope.picture.views import shared
from tunescope.questions.subspace import amplification_figures, figures
from tunescope.questions.subspace import amplification_views as base_view
from tunescope.questions.subspace import views as view
from tunescope.questions.subspace.directions import Selection
from tunescope.study.names import file_stems
from tunescope.study.study import Study

# Pairs whose figures are written; of more they are drawn on request, with many models only the first one's.
_WRITTEN, _ALL_PAIRS = 3, 5
_SIDE_OF = {"A": "input", "B": "output"}
_ADDRESS = ("stack", "layer", "module_type", "expert")
_HAS_OVERLAP = pl.col("overlap_output").is_not_null()
# Two models, a matrix and a side.
_Key = tuple[str, str, str, str]


def pictures(study: Study) -> list[Drawn]:
    """φ panels and maps of each pair, models by models, and what the base adds."""
    stems = file_stems(study.readout["models"])
    return [*_pairs(study, stems), *_models(study), *_base(study, stems)]


def pairs_drawn(labels: Sequence[str], against_self: bool) -> list[tuple[str, str]]:
    """The pairs that get figures."""
    own = [(label, label) for label in labels] if against_self else []
    every = list(combinations(labels, 2))
    return own + (every if len(labels) <= _ALL_PAIRS else [(labels[0], label) for label in labels[1:]])


def _pairs(study: Study, stems: Mapping[str, str]) -> Iterator[Drawn]:
    arguments = study.arguments
    pairs = pairs_drawn(list(stems), arguments["against_self"])
    wanted = Selection(tuple(arguments["of"]), tuple(arguments["sides"])).wanted()
    shown, note = _shown(study)
    rare, held = len(pairs) > _WRITTEN, _with_grids(study)
    for a, b in pairs:
        stem = f"subspace_{stems[a]}_vs_{stems[b]}"
        rows = study.table.frame.filter((pl.col("model_a") == a) & (pl.col("model_b") == b))
        usable = {Address(*r) for r in rows.filter(_HAS_OVERLAP).select(_ADDRESS).iter_rows()}
        for k, (of, side) in enumerate(wanted):
            there = held.get((a, b, of, side), set()) & usable
            if weights := [address for address in shown if address in there]:
                name = stem if not k else f"{stem}_{of}_{side}"
                make = partial(_phi, study, (a, b, of, side), weights)
                caption = _phi_caption((a, b, of, side), arguments["vmax"]) + note
                yield Drawn(name, caption, make, on_request=rare or (k > 0 and len(pairs) > 1))
        if a != b and (maps := view.excess_maps(study.table.frame, a, b, _begin(study))):
            caption = f"Overlap of {a} and {b} above chance, (φ − chance)/(1 − chance), by layer and module; "
            caption += "0 is chance or less, 1 is equal; "
            caption += f"{ends_text(*maps)}."
            yield Drawn(f"{stem}_excess", caption, partial(draw.heatmaps, maps), on_request=rare)


def _begin(study: Study) -> str:
    return str(study.written.get("limits", "zero"))


def _phi_caption(key: _Key, vmax: float | None) -> str:
    a, b, of, side = key
    matrix = "ΔW" if of == "delta" else of
    return (
        f"φ(i, j) of {matrix}, {side} side: i directions of {a} (down) and j of {b} (across); colours from 0 "
        f"to {1 if vmax is None else vmax:g}. Random Gaussian: two random matrices, what chance gives."
    )


def _shown(study: Study) -> tuple[list[Address], str]:
    """The weights that figures show, and what a caption says of the choice."""
    rows = study.table.frame.select(_ADDRESS).unique(maintain_order=True).iter_rows()
    addresses = [Address(*row) for row in rows]
    chosen = [study.arguments[name] is not None for name in ("layers", "modules")]
    shown, partly = view.panels_shown(addresses, *chosen)
    return shown, " A choice of weights: subspace.parquet holds all." if partly else ""


def _with_grids(study: Study) -> Mapping[_Key, set[Address]]:
    """The weights that have a grid, by pair, matrix and side; whole updates have none of A and B."""
    first = study.tables["subspace"].lazy.filter((pl.col("i") == 1) & (pl.col("j") == 1))
    rows = first.select("model_a", "model_b", "of", "side", *_ADDRESS).collect().iter_rows()
    held: defaultdict[_Key, set[Address]] = defaultdict(set)
    for a, b, of, side, *place in rows:
        held[a, b, of, side].add(Address(*place))
    return held


def _phi(study: Study, key: _Key, weights: Sequence[Address]) -> Any:
    """The φ figure of one pair, matrix and side."""
    a, b, of, side = key
    grids = _grids(study, key, weights)
    shapes = {
        Address(*row[:4]): row[4:]
        for row in study.table.frame.filter((pl.col("model_a") == a) & (pl.col("model_b") == b))
        .select(*_ADDRESS, "d_out", "d_in")
        .iter_rows()
    }
    shown = [address for address in weights if address in grids]
    controls: dict[int, Any] = {}
    for address in shown:
        (d_out, d_in), (i, j) = shapes[address], grids[address].shape
        dimension = d_in if side == "input" else d_out
        if dimension not in controls:
            controls[dimension] = view.gaussian_control(d_out, d_in, (i, j), of, side)
    sides = "" if _SIDE_OF.get(of) else f", {side} side"
    down, across = names([a, b], 60)
    note = f"i: {down}, j: {across}{sides}"
    arguments = study.arguments
    return figures.phi_figure(
        view.phi_figure(shown, grids, of, arguments["against_self"], arguments["vmax"], controls, note)
    )


def _grids(study: Study, key: _Key, weights: Sequence[Address]) -> dict[Address, np.ndarray[Any, Any]]:
    """φ of every weight shown, as matrices."""
    a, b, of, side = key
    chosen = (pl.col("model_a") == a) & (pl.col("model_b") == b) & (pl.col("of") == of)
    layers = [address.layer for address in weights if address.layer is not None]
    near = pl.col("layer").is_in(layers) | pl.col("layer").is_null()
    rows = study.tables["subspace"].lazy.filter(chosen & (pl.col("side") == side) & near).collect()
    found = {}
    for part in rows.partition_by(_ADDRESS, maintain_order=True):
        address = Address(*part.select(_ADDRESS).row(0))
        if address in weights:
            shape = (int(part["i"][-1]), int(part["j"][-1]))
            found[address] = part["phi"].to_numpy().reshape(shape)
    return found


def _models(study: Study) -> Iterator[Drawn]:
    labels = study.readout["models"]
    if len(labels) < 3:
        return
    for side in view.SIDES:
        found = view.model_matrices(study.table.frame, labels, side)
        caption = (
            f"Mean overlap above chance, (φ − chance)/(1 − chance), of every two models, {side} side: over "
            "all weights, and by layer in the same order; colours from 0 (chance or less) to 1 (equal)."
        )
        make = partial(matrices, found[:1], found[1:], f"overlap above chance, {side} side")
        yield Drawn(f"subspace_models_{side}", caption, make)


def _base(study: Study, stems: Mapping[str, str]) -> Iterator[Drawn]:
    if "amplification" not in study.tables:
        return
    amplification, intruders = study.tables["amplification"].frame, study.tables["intruders"].frame
    maps_of = [replace(g, model=m) for m in stems for g in base_view.amplification_maps(amplification, m)]
    amplified = shared(maps_of, _begin(study))
    for label, stem in stems.items():
        lines = base_view.along(amplification, label)
        if lines and base_view.shown_lines(lines):
            heading = f"{label}: how W acts along three kinds of directions"
            caption = "‖UᵀWV‖ along ΔW's, W's and random directions, beside ‖W‖ and ‖ΔW‖ (dashed), by "
            caption += f"layer, for {label}; logarithmic."
            make = partial(amplification_figures.along_figure, lines, heading)
            yield Drawn(f"amplification_{stem}", caption, make)
        if maps := [grid for grid in amplified if grid.model == label]:
            caption = f"Amplification ‖ΔW‖/‖UᵀWV‖ of {label}, by layer and module; {ends_text(*maps)}."
            yield Drawn(f"amplification_map_{stem}", caption, partial(draw.heatmaps, maps))
        if maps := base_view.intruder_maps(intruders, label):
            caption = f"Leading singular vectors of W + ΔW of {label} that are strangers to W, by layer and "
            caption += f"module; {ends_text(*maps)}."
            yield Drawn(f"intruders_{stem}", caption, partial(draw.heatmaps, maps, IMPORTANCE))
