"""Tables, figures and readout of a subspace study, written into an open study folder."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import polars as pl

from tunescope.questions.subspace import amplification_views as base_view
from tunescope.questions.subspace import views as view
from tunescope.questions.subspace.study import GridSink, Settings, SubspaceStudy, square_tables
from tunescope.source.ledger import coverage
from tunescope.study.coverage import coverage_lines
from tunescope.study.folder import StudyFolder
from tunescope.study.names import file_stems
from tunescope.table import spreadsheet_safe, write_csv
from tunescope.writing import strict_json, write_text

# Pairs that get every figure; beyond these, every pair with the first model gets the main one.
_ALL_FIGURES = 3
_SIDE_OF = {"A": "input", "B": "output"}
Clean = Callable[[pl.DataFrame], pl.DataFrame]


def write_subspace(
    study: SubspaceStudy,
    folder: StudyFolder,
    sink: GridSink,
    settings: Settings,
    *,
    vmax: float | None = None,
    safe: bool = False,
) -> None:
    """Write everything a study measured; `sink` holds the φ grids, `vmax` caps the colour scale."""
    # Deferred: drawing needs matplotlib, measuring does not.
    from tunescope.questions.subspace.readout import subspace_markdown

    clean: Clean = spreadsheet_safe if safe else pl.DataFrame.clone
    sink.finish(folder.tables / "subspace.parquet", study.summary.meta)
    _write_tables(study, folder, clean)
    _write_pairs(study, folder, settings, vmax)
    _write_models(study, folder)
    _write_base(study, folder)
    write_text(folder.tables / "readout.json", strict_json(study.document) + "\n")
    lines = coverage_lines(coverage(study.sources).frame)
    write_text(folder.root / "readout.md", subspace_markdown(study.document, lines))


def _write_tables(study: SubspaceStudy, folder: StudyFolder, clean: Clean) -> None:
    write_csv(clean(study.summary.frame), folder.tables / "subspace_summary.csv")
    write_csv(clean(coverage(study.sources).frame), folder.tables / "coverage.csv")
    if len(study.sources) > 2:
        for name, frame in square_tables(study.summary.frame, study.labels):
            write_csv(clean(frame), folder.tables / f"{name}.csv")
    for table in (study.amplification, study.intruders):
        if table is not None:
            write_csv(clean(table.frame), folder.tables / f"{table.kind}.csv")


def pairs_drawn(labels: Sequence[str], against_self: bool) -> list[tuple[str, str]]:
    """The pairs that get figures."""
    own = [(label, label) for label in labels] if against_self else []
    every = list(combinations(labels, 2))
    return own + (every if len(labels) <= 5 else [(labels[0], label) for label in labels[1:]])


def _write_pairs(study: SubspaceStudy, folder: StudyFolder, settings: Settings, vmax: float | None) -> None:
    # Deferred: drawing needs matplotlib, measuring does not.
    from tunescope.picture import grid
    from tunescope.picture.style import save
    from tunescope.questions.subspace import figures as subspace

    stems = file_stems(study.labels)
    pairs = pairs_drawn(study.labels, settings.against_self)
    wanted = settings.selection.wanted()
    for a, b in pairs:
        stem = f"subspace_{stems[a]}_vs_{stems[b]}"
        drawn = 0
        for of, side in wanted:
            figure = phi_view(study, (a, b, of, side), settings, vmax)
            if figure is None or (drawn and len(pairs) > _ALL_FIGURES):
                continue
            suffix = "" if not drawn else f"_{of}_{side}"
            save(subspace.phi_figure(figure), folder.figures / f"{stem}{suffix}")
            drawn += 1
        maps = view.excess_maps(study.summary.frame, a, b)
        if maps and a != b:
            save(grid.heatmaps(maps), folder.figures / f"{stem}_excess")


def phi_view(
    study: SubspaceStudy, key: tuple[str, str, str, str], settings: Settings, vmax: float | None
) -> view.PhiFigure | None:
    """The φ figure of one pair, matrix and side; `None` where no shown weight has a grid."""
    grids = study.panels.get(key, {})
    shown = [address for address in study.shown if address in grids and grids[address].size]
    if not shown:
        return None
    a, b, of, side = key
    shapes = {d.address: (d.d_out, d.d_in) for s in study.sources if s.label == a for d in s.deltas}
    controls: dict[int, Any] = {}
    for address in shown:
        (d_out, d_in), (i, j) = shapes[address], grids[address].shape
        dimension = d_in if side == "input" else d_out
        if dimension not in controls:
            controls[dimension] = view.gaussian_control(d_out, d_in, (i, j), of, side)
    sides = "" if _SIDE_OF.get(of) else f", {side} side"
    note = " · ".join(filter(None, (f"i: {a}, j: {b}{sides}", study.note)))
    plain = settings.against_self
    return view.phi_figure(shown, grids, of, plain, vmax, controls, note)


def _write_models(study: SubspaceStudy, folder: StudyFolder) -> None:
    if len(study.sources) < 3:
        return
    from tunescope.picture.style import save
    from tunescope.questions.subspace import figures as subspace

    for side in view.SIDES:
        matrices = view.model_matrices(study.summary.frame, study.labels, side)
        figure = subspace.matrices(matrices, f"overlap above chance, {side} side")
        save(figure, folder.figures / f"subspace_models_{side}")


def _write_base(study: SubspaceStudy, folder: StudyFolder) -> None:
    if study.amplification is None or study.intruders is None:
        return
    from tunescope.picture import grid
    from tunescope.picture.style import IMPORTANCE, save
    from tunescope.questions.subspace import amplification_figures as amplification

    stems: Mapping[str, str] = file_stems(study.labels)
    for label in study.labels:
        lines = base_view.along(study.amplification.frame, label)
        if lines and base_view.shown_lines(lines):
            heading = f"{label}: how W acts along three kinds of directions"
            save(amplification.along_figure(lines, heading), folder.figures / f"amplification_{stems[label]}")
        if maps := base_view.amplification_maps(study.amplification.frame, label):
            save(grid.heatmaps(maps), folder.figures / f"amplification_map_{stems[label]}")
        if maps := base_view.intruder_maps(study.intruders.frame, label):
            save(grid.heatmaps(maps, cmap=IMPORTANCE), folder.figures / f"intruders_{stems[label]}")
