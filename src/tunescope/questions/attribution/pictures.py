"""The pictures of an attribution, made from its tables alone."""

from collections.abc import Iterator
from functools import partial

import polars as pl

from tunescope.picture.drawing import Drawn, Panel
from tunescope.picture.style import figure_of
from tunescope.questions.attribution import figures
from tunescope.questions.attribution import views as view
from tunescope.questions.attribution.description import within_kinds
from tunescope.study.names import file_stems
from tunescope.study.study import Study


def pictures(study: Study) -> list[Drawn]:
    """Maps with sums, change against effect and measured effects of each data set, and their differences."""
    frame = study.table.frame
    # Equal models have no cell, and nothing to draw.
    if not frame.height:
        return []
    stems = file_stems(list(study.readout["data_sets"]))
    return [*(d for data in stems for d in _of_data(study, data, stems)), *_differences(study, stems)]


def _of_data(study: Study, data: str, stems: dict[str, str]) -> Iterator[Drawn]:
    summary, label = study.readout["data_sets"][data], study.readout["label"]
    rows = study.table.frame.filter(pl.col("data") == data)
    title, tail = f"{label} on {data}", f"_{stems[data]}" if len(stems) > 1 else ""
    maps = view.maps(rows, title)
    yield Drawn(
        f"attribution{tail}", view.caption(summary, title, maps), partial(figures.attribution_maps, maps)
    )
    points = view.scatter(rows, title, summary["spearman_change_effect"])
    caption = f"How much each weight changed against its part of the change of the loss, {title}"
    caption += f": {view.of_change(points)}{within_kinds(rows)}."
    panels: dict[str, Panel] = {title: partial(figures.change_effect, points)}
    yield Drawn(f"change_effect{tail}", caption, lambda: figure_of(figures.change_effect(points)), panels)
    if "put_back" in study.tables:
        yield from _put_back(study, data, title, tail)


def _put_back(study: Study, data: str, title: str, tail: str) -> Iterator[Drawn]:
    rows = study.tables["put_back"].frame.filter(pl.col("data") == data)
    if not rows.height:
        return
    summary = study.readout["data_sets"][data]
    checks = view.checks(rows, title)
    caption = f"Measured effect of putting single weights back against what was attributed, {title}: "
    caption += f"{view.agreement(summary['verification'])}."
    panels: dict[str, Panel] = {title: partial(figures.verification, checks)}
    yield Drawn(f"put_back{tail}", caption, lambda: figure_of(figures.verification(checks)), panels)


def _differences(study: Study, stems: dict[str, str]) -> Iterator[Drawn]:
    if "attribution_difference" not in study.tables:
        return
    frame, label = study.tables["attribution_difference"].frame, study.readout["label"]
    for a, b in frame.select("data_a", "data_b").unique(maintain_order=True).iter_rows():
        rows = frame.filter((pl.col("data_a") == a) & (pl.col("data_b") == b))
        maps = view.difference_maps(rows, f"{label}: {b} − {a}", a, b)
        name = f"attribution_difference_{stems[b]}_minus_{stems[a]}"
        yield Drawn(name, view.difference_caption(a, b), partial(figures.attribution_maps, maps))
