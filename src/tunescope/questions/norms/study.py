"""The study of `tunescope norms`: everything measured, and everything written."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import polars as pl

from tunescope.errors import UsageError
from tunescope.measure import similarity
from tunescope.questions.norms import measure
from tunescope.questions.norms import views as view
from tunescope.questions.norms.findings import norm_findings
from tunescope.questions.norms.summary import readout
from tunescope.questions.norms.table import measure_norms
from tunescope.questions.norms.table import pairs as all_pairs
from tunescope.source import selection
from tunescope.source.ledger import coverage, notices
from tunescope.source.opened import Source
from tunescope.source.selection import EVERYTHING, Selection
from tunescope.study.coverage import coverage_lines
from tunescope.study.folder import StudyFolder, file_stems
from tunescope.table import Table, spreadsheet_safe, square, strict_json, write_csv, write_text

DEFAULT_METRIC = "frobenius_norm_normalized"
# Difference maps are drawn for all pairs up to this many models, else against the first.
ALL_PAIRS = 5


@dataclass(frozen=True, eq=False)
class NormsStudy:
    """What was measured, before anything is drawn or written."""

    sources: tuple[Source, ...]
    table: Table
    metric: str
    document: Mapping[str, Any]
    pairs: pl.DataFrame | None
    coverage: pl.DataFrame

    @property
    def labels(self) -> list[str]:
        """The models, in the order they were given."""
        return [source.label for source in self.sources]


def norms_study(
    specs: Sequence[Any],
    *,
    metric: str | None = None,
    focus: int | None = None,
    scales: Mapping[str, float] | None = None,
    chosen: Selection = EVERYTHING,
    spectra: bool = True,
) -> NormsStudy:
    """Open, measure and compare sources; raises as `open_source`, and `UsageError` for an unknown metric."""
    check_metric(metric, spectra)
    opened = selection.open_labelled(specs, scales)
    sources = selection.select(opened, chosen)
    table = measure_norms(sources, spectra=spectra)
    metric = metric or _default_metric(table.frame)
    pairs = all_pairs(sources) if len(sources) > 1 else None
    findings = norm_findings(table.frame, metric, pairs, notices(sources))
    labels = [source.label for source in sources]
    document = readout(table.frame, labels, metric, findings, focus)
    return NormsStudy(tuple(sources), table, metric, document, pairs, coverage(sources))


def check_metric(metric: str | None, spectra: bool = True) -> None:
    """Refuse a metric that is no numeric column, or one that `spectra=False` leaves empty."""
    if metric is None:
        return
    if metric not in measure.METRICS:
        raise UsageError(
            "unknown-metric",
            f"there is no metric {metric!r}",
            expected=", ".join(measure.METRICS),
        )
    spectral = metric in measure.METRICS[measure.METRICS.index("spectral_norm") :]
    if spectral and not spectra:
        raise UsageError("metric-not-measured", f"{metric} needs the spectra", fix="leave out --no-spectra")


def _default_metric(frame: pl.DataFrame) -> str:
    """The scaled norm per output, or the unscaled one where no source says its scale."""
    return view.drawable(frame, DEFAULT_METRIC)


def write_norms(
    study: NormsStudy, folder: StudyFolder, *, shared_scale: bool = False, safe: bool = False
) -> None:
    """Write tables, figures and readout of a study into an open folder."""
    # Deferred: drawing needs matplotlib, measuring does not.
    from tunescope.questions.norms.readout import readout_markdown

    stems = file_stems(study.labels)
    _write_tables(study, folder, stems, spreadsheet_safe if safe else pl.DataFrame.clone)
    _write_figures(study, folder, stems, shared_scale)
    write_text(folder.tables / "readout.json", strict_json(study.document) + "\n")
    write_text(folder.root / "readout.md", readout_markdown(study.document, coverage_lines(study.coverage)))


def _write_tables(
    study: NormsStudy,
    folder: StudyFolder,
    stems: Mapping[str, str],
    clean: Callable[[pl.DataFrame], pl.DataFrame],
) -> None:
    frame, tables = study.table.frame, folder.tables
    for label in study.labels:
        write_csv(
            clean(frame.filter(pl.col("model_id") == label)), tables / f"weight_norms_{stems[label]}.csv"
        )
    write_csv(clean(frame), tables / "weight_norms_all_models.csv")
    study.table.write_parquet(tables / "norms.parquet")
    write_csv(clean(study.coverage), tables / "coverage.csv")
    for name, matrix in matrices(study).items():
        write_csv(clean(matrix), tables / f"{name}.csv")


def matrices(study: NormsStudy) -> dict[str, pl.DataFrame]:
    """The square tables between models: cosine of ΔW, cosine and distance of the norm maps."""
    if study.pairs is None:
        return {}
    cosine, distance = similarity.norm_maps(study.table.frame, study.labels, study.metric)
    found = {
        "similarity_delta_cosine": similarity.delta_cosine(study.pairs, study.labels),
        "similarity_norm_map_cosine": cosine,
        "distance_norm_map_l2": distance,
    }
    return {name: square(study.labels, values) for name, values in found.items()}


def _write_figures(
    study: NormsStudy, folder: StudyFolder, stems: Mapping[str, str], shared_scale: bool
) -> None:
    # Deferred: drawing needs matplotlib, measuring does not.
    from tunescope.picture import grid as render
    from tunescope.picture.style import DIFFERENCE, save

    frame = study.table.frame
    for metric, suffix in _pictured(study.metric):
        groups = [view.heatmaps(frame, label, metric) for label in study.labels]
        for label, group in zip(
            study.labels, view.share_limits(groups) if shared_scale else groups, strict=True
        ):
            if group:
                save(render.heatmaps(group), folder.figures / f"norm_heatmap_{stems[label]}_{suffix}")
    if profiles := view.profiles(frame, study.metric):
        save(render.profiles(profiles), folder.figures / "layer_profiles")
    if rankings := view.rankings(frame, study.metric):
        save(render.rankings(rankings), folder.figures / "top_components")
    for a, b in _compared(study.labels):
        if found := view.differences(frame, a, b, study.metric):
            save(
                render.heatmaps(found, cmap=DIFFERENCE),
                folder.figures / f"difference_{stems[b]}_minus_{stems[a]}",
            )


def _pictured(metric: str) -> list[tuple[str, str]]:
    usual = [("frobenius_norm_normalized", "normalized"), ("frobenius_norm", "raw")]
    known = {name for usual_name, _ in usual for name in (usual_name, f"unscaled_{usual_name}")}
    return usual if metric in known else [*usual, (metric, metric)]


def _compared(labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    if len(labels) <= ALL_PAIRS:
        yield from combinations(labels, 2)
    else:
        yield from ((labels[0], label) for label in labels[1:])
