"""The pictures of a norms study: maps, profiles, heads, experts, ranks, models by models, differences."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tunescope.picture import grid as draw
from tunescope.picture import profiles as lines
from tunescope.picture.drawing import Drawn, Panel
from tunescope.picture.grid import ends_text
from tunescope.picture.sheet import aligned, sheet
from tunescope.picture.style import CHANGE, DIFFERENCE
from tunescope.picture.views import Grid, shared
from tunescope.questions.norms import parts
from tunescope.questions.norms import views as view
from tunescope.questions.norms.alike import models, same_values
from tunescope.questions.norms.metrics import drawable, has_values, label_of, measured, name_of
from tunescope.study.names import file_stems
from tunescope.study.study import Study

# Up to so many models every one has a map of its own beside the sheet, and every pair a difference.
FEW = 3
# Difference maps on request are of all pairs up to this many models, else against the first.
ALL_PAIRS = 5
# Models up to which a layer profile is a line, and rankings stand side by side.
LINES, RANKINGS = 8, 4


def pictures(study: Study) -> list[Drawn]:
    """Every picture of a study, the map of the metric that was asked for first."""
    labels = list(study.readout["models"])
    stems = file_stems(labels)
    drawn = [*_maps(study, stems), *_profiles(study), *_inside(study, stems), *_low_rank(study)]
    drawn += [*models(study, labels), *same_values(study, labels)]
    return [*drawn, *_rankings(study), *_differences(study, stems)]


def _begin(study: Study) -> str:
    return str(study.written.get("limits", "zero"))


def _maps(study: Study, stems: dict[str, str]) -> Iterator[Drawn]:
    for k, (metric, suffix) in enumerate(_pictured(study.readout["metric"])):
        if k > 0 and len(stems) > 1:
            yield from _further_maps(study, stems, metric, suffix)
            continue
        grids = _grids(study, stems, metric)
        if len(stems) > 1 and grids:
            caption = f"{grids[0].label} of {len(stems)} models, by layer and module"
            yield _sheet(f"norm_heatmaps_{suffix}", caption, grids)
        for label, stem in stems.items():
            if mine := [g for g in grids if g.model == label]:
                mine = _scaled(mine, _begin(study)) if not study.arguments.get("shared_scale", True) else mine
                caption = f"{mine[0].label} of {label}, by layer and module; {ends_text(*mine)}."
                yield _side_by_side(f"norm_heatmap_{stem}_{suffix}", caption, mine, len(stems) > FEW)


def _grids(study: Study, labels: Iterable[str], metric: str) -> list[Grid]:
    """The maps of a metric that hold anything, all on one scale."""
    grids = [g for label in labels for g in view.heatmaps(study.table.frame, label, metric)]
    grids = [g for g in grids if np.isfinite(g.values).any() or g.broken.any()]
    return _scaled(grids, _begin(study)) if grids else []


def _further_maps(study: Study, stems: dict[str, str], metric: str, suffix: str) -> Iterator[Drawn]:
    """Maps of a metric that was not asked for, which are not even made before someone asks."""
    if not has_values(study.table.frame, drawable(study.table.frame, metric)):
        return
    name = name_of(metric)

    def whole() -> Figure:
        grids = _grids(study, stems, metric)
        return sheet(_blocks(grids), _colours(grids))

    def alone(label: str) -> Figure:
        mine = [grid for grid in _grids(study, stems, metric) if grid.model == label]
        return draw.heatmaps(mine, _colours(mine))

    caption = f"{name} of {len(stems)} models, by layer and module, all on one scale."
    yield Drawn(f"norm_heatmaps_{suffix}", caption, whole, on_request=True)
    frame = study.table.frame
    for label, stem in stems.items():
        part = frame.filter(frame["model_id"] == label)
        if has_values(part, drawable(part, metric)):
            caption = f"{name} of {label}, by layer and module, on the scale of all models."
            yield Drawn(f"norm_heatmap_{stem}_{suffix}", caption, partial(alone, label), on_request=True)


def _scaled(grids: Sequence[Grid], begin: str) -> list[Grid]:
    """Maps on the scale of all; from minus to plus where a metric has both signs."""
    scaled = shared(grids, begin)
    return [replace(g, limits=_centred(g.limits)) if _signed(g) else g for g in scaled]


def _signed(grid: Grid) -> bool:
    return grid.limits[0] < 0 < grid.limits[1]


def _centred(limits: tuple[float, float]) -> tuple[float, float]:
    top = max(abs(limit) for limit in limits)
    return -top, top


def _colours(grids: Sequence[Grid]) -> str:
    return DIFFERENCE if any(_signed(grid) for grid in grids) else CHANGE


def _blocks(grids: Sequence[Grid]) -> list[list[Grid]]:
    """A block for each tower, one for what lies outside blocks."""
    blocks: dict[str, list[Grid]] = {}
    for grid in grids:
        blocks.setdefault(grid.title.removeprefix(grid.model), []).append(grid)
    return [aligned(block) for block in blocks.values()]


def _sheet(name: str, caption: str, grids: Sequence[Grid]) -> Drawn:
    """Small multiples on one sheet."""
    apart = any(grid.limits != grids[0].limits for grid in grids)
    blocks = _blocks(grids)
    shown = [grid for block in blocks for grid in block]
    text = f"{caption}, all {'layers ' * apart}on one scale; {ends_text(*shown)}."
    panels: dict[str, Panel] = {grid.title: partial(_on_axes, grid, _colours(grids)) for grid in grids}
    return Drawn(name, text, partial(sheet, blocks, _colours(grids)), panels)


def _side_by_side(name: str, caption: str, group: Sequence[Grid], rare: bool = False) -> Drawn:
    panels: dict[str, Panel] = {grid.title: partial(_on_axes, grid, _colours(group)) for grid in group}
    return Drawn(name, caption, partial(draw.heatmaps, group, _colours(group)), panels, rare)


def _on_axes(grid: Grid, cmap: str, ax: Axes) -> Axes:
    return draw.heatmap(grid, ax=ax, cmap=cmap)


def _profiles(study: Study) -> Iterator[Drawn]:
    metric, frame = study.readout["metric"], study.table.frame
    found = view.profiles(frame, metric)
    if not found:
        return
    name = name_of(metric)
    if len(study.readout["models"]) > LINES:
        maps = shared(view.profile_maps(found), _begin(study))
        blocks = [[grid] for grid in maps]
        caption = f"Mean of {name} over the modules of each layer, a row per model; {ends_text(*maps)}."
        panels: dict[str, Panel] = {grid.title: partial(_on_axes, grid, CHANGE) for grid in maps}
        yield Drawn("layer_profiles", caption, partial(sheet, blocks), panels)
        return
    caption = f"Mean of {name} over the modules of each layer, a line per model."
    panels = {profile.title: partial(lines.profile, profile) for profile in found}
    yield Drawn("layer_profiles", caption, partial(lines.profiles, found), panels)


def _inside(study: Study, stems: dict[str, str]) -> Iterator[Drawn]:
    """Maps of heads and of experts, where there are any."""
    frame, begin, metric = study.table.frame, _begin(study), study.readout["metric"]
    if "heads" not in study.tables and frame["expert"].null_count() == frame.height:
        return
    groups: dict[str, tuple[str, list[Grid]]] = {}
    for label in stems:
        column = drawable(frame.filter(frame["model_id"] == label), metric)
        name = label_of(column)
        if "heads" in study.tables:
            found = parts.head_maps(study.tables["heads"].frame, label, begin)
            groups.setdefault("head_maps", (f"{parts.HEAD_LABEL} by layer and head", []))[1].extend(found)
        found = parts.expert_maps(frame, label, column, name, begin)
        groups.setdefault("expert_maps", (f"{name} by layer and expert", []))[1].extend(found)
        moved = parts.moved_experts(frame, label)
        groups.setdefault("moved_experts", ("Share of experts with any change, by layer", []))[1].extend(
            moved
        )
    for name, (caption, found) in groups.items():
        if not found or (name == "moved_experts" and all((grid.values == 1).all() for grid in found)):
            continue
        if len(stems) > 1:
            yield _sheet(name, caption, shared(found, begin) if name != "moved_experts" else found)
        else:
            yield _side_by_side(name, f"{caption}; {ends_text(*found)}.", found)


def _low_rank(study: Study) -> Iterator[Drawn]:
    if "low_rank" not in study.tables:
        return
    models = list(study.readout["models"])
    if curves := parts.low_rank_curves(study.tables["low_rank"].frame, models):
        share = f"the middle {parts.BAND[1] - parts.BAND[0]:.0%} of weights"
        band = f"; band: {share}" if len(curves) <= lines.BANDS else ""
        caption = f"Share of ‖ΔW‖_F² in the k leading directions, median over the weights of a model{band}."
        label = "share of ‖ΔW‖_F² in k directions"
        panel: Panel = partial(lines.curves, curves, "How low is the rank of ΔW", label, "directions k")
        yield Drawn("low_rank", caption, partial(lines.alone, panel), {"low_rank": panel})


def _rankings(study: Study) -> Iterator[Drawn]:
    metric, frame = study.readout["metric"], study.table.frame
    caption = f"The components with the largest {name_of(metric)} of each model that changed."
    if len(study.readout["models"]) > RANKINGS:
        if has_values(frame, metric):
            yield Drawn(
                "top_components",
                caption,
                lambda: lines.rankings(view.rankings(frame, metric)),
                on_request=True,
            )
    elif found := view.rankings(frame, metric):
        panels: dict[str, Panel] = {ranking.title: partial(lines.ranking, ranking) for ranking in found}
        yield Drawn("top_components", caption, partial(lines.rankings, found), panels)


def _differences(study: Study, stems: dict[str, str]) -> Iterator[Drawn]:
    labels, metric = list(stems), study.readout["metric"]
    every = list(combinations(labels, 2))
    pairs = every if len(labels) <= ALL_PAIRS else [(labels[0], label) for label in labels[1:]]
    there = measured(study.table.frame, metric)
    moved = set(study.table.frame.filter(pl.col(metric) != 0)["model_id"])
    for a, b in pairs:
        # What one model that did not change leaves is the map of the other.
        if not there.get(a, set()) & there.get(b, set()) or not {a, b} <= moved:
            continue
        name = f"difference_{stems[b]}_minus_{stems[a]}"
        caption = f"{name_of(metric)} of {b} minus that of {a}; white is no difference"
        if len(labels) > FEW:
            yield Drawn(name, f"{caption}.", partial(_late_difference, study, a, b), on_request=True)
        elif found := view.differences(study.table.frame, a, b, metric):
            still = all(not np.nan_to_num(grid.values).any() for grid in found)
            said = "no weight differs" if still else ends_text(found[0])
            yield _side_by_side(name, f"{caption}, {said}.", found)


def _late_difference(study: Study, a: str, b: str) -> Figure:
    return draw.heatmaps(view.differences(study.table.frame, a, b, study.readout["metric"]), DIFFERENCE)


def _pictured(metric: str) -> list[tuple[str, str]]:
    """The metrics that get a map, with the names of their pictures: the one asked for, then the usual two.

    Norms without the scale are asked for, or all that is known where no source says its scale: both maps are
    of them, under the usual names.
    """
    known = "unscaled_" if metric.startswith("unscaled_") else ""
    names = {f"{known}frobenius_norm_normalized": "normalized", f"{known}frobenius_norm": "raw"}
    first = {metric: names.get(metric, metric)}
    return list((first | names).items())
