"""The study of `tunescope trajectory`: runs measured, told in sentences, written as tables and a gallery."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tunescope.errors import Notice
from tunescope.questions.trajectory import layers
from tunescope.questions.trajectory.comparison import comparisons
from tunescope.questions.trajectory.findings import motion_findings
from tunescope.questions.trajectory.gallery import Gallery, gallery
from tunescope.questions.trajectory.proxy import Proxy, compare_profiles
from tunescope.questions.trajectory.reading import motion_of
from tunescope.questions.trajectory.seams import SavedState
from tunescope.questions.trajectory.summary import proxy_finding, run_summary
from tunescope.source.runs import Run, find_runs
from tunescope.source.spec import parse_spec
from tunescope.study.finding import Finding, ordered
from tunescope.study.folder import StudyFolder
from tunescope.table import SCHEMA_VERSION, Table, strict_json, write_csv, write_text


@dataclass(frozen=True, eq=False)
class TrajectoryStudy:
    """What was measured of every run, before anything is drawn or written.

    `motion` has a row per run, step, weight and factor; `by_layer` is the published table; `by_step` has
    the whole ΔW of each run; `norms` ‖ΔW‖ per layer; `document` the readout.
    """

    runs: tuple[Run, ...]
    motion: Table
    by_layer: pl.DataFrame
    by_step: pl.DataFrame
    norms: pl.DataFrame
    document: Mapping[str, Any]
    notices: tuple[tuple[str, Notice], ...]


def trajectory_study(specs: Sequence[str], *, start: str | Path | None = None) -> TrajectoryStudy:
    """Find and measure training runs; checkpoints count from `start` where it is given.

    Raises `Missing` and `BadInput` as `find_runs` does, and for captures and checkpoints that cannot be read.
    """
    runs = find_runs([parse_spec(spec) for spec in specs])
    parts: list[pl.DataFrame] = []
    notices: list[tuple[str, Notice]] = []
    for run in runs:
        frame, noticed = motion_of(run, None if start is None else Path(start))
        parts.append(frame)
        notices += [(run.label, notice) for notice in (*run.notices, *noticed)]
    motion = pl.concat(parts)
    towers = layers.by_tower(motion)
    by_step, norms, by_layer = layers.by_step(motion), layers.norms_by_layer(towers), layers.by_layer(towers)
    findings = [*_findings(runs, motion, towers, by_step, norms), *map(_noticed, notices)]
    proxies = list(_proxies(runs, motion))
    document = {
        "schema_version": SCHEMA_VERSION,
        "runs": {
            run.label: run_summary(_of(by_step, run), _of(motion, run), _of(by_layer, run)) for run in runs
        },
        "comparisons": comparisons(by_step, norms, _low_rank(motion)),
        "lora_as_proxy": [record for record, _ in proxies],
        "findings": [f.record() for f in ordered([*findings, *(finding for _, finding in proxies)])],
    }
    table = Table(motion, "motion", {"units": layers.units(), "sources": provenance(runs)})
    return TrajectoryStudy(tuple(runs), table, by_layer, by_step, norms, document, tuple(notices))


def _of(frame: pl.DataFrame, run: Run) -> pl.DataFrame:
    return frame.filter(pl.col("run") == run.label)


def _findings(
    runs: Sequence[Run],
    motion: pl.DataFrame,
    towers: pl.DataFrame,
    by_step: pl.DataFrame,
    norms: pl.DataFrame,
) -> Iterator[Finding]:
    updates = layers.updates(layers.matrices(towers))
    for run in runs:
        mine = pl.col("run").is_in(
            [run.label, *(f"{run.label}/{s}" for s in _of(motion, run)["stack"].unique())]
        )
        states = [SavedState(c.step, c.max_steps, c.losses) for c in run.checkpoints]
        yield from motion_findings(
            run.label, _of(motion, run), updates.filter(mine), _of(by_step, run), norms.filter(mine), states
        )


def _noticed(pair: tuple[str, Notice]) -> Finding:
    label, notice = pair
    kind = notice.slug.replace("-", "_")
    evidence = {"tensor": notice.tensor} if notice.tensor else {}
    return Finding(kind, f"{label}: {notice.text}", (label,), evidence=evidence, severity="warning")


def _low_rank(motion: pl.DataFrame) -> list[str]:
    found: list[str] = motion.filter(pl.col("factor") == "A")["run"].unique(maintain_order=True).to_list()
    return found


def _proxies(runs: Sequence[Run], motion: pl.DataFrame) -> Iterator[tuple[dict[str, Any], Finding]]:
    """Every low-rank run against every full run of the same data."""
    labels = _low_rank(motion)
    low_rank = [run for run in runs if run.label in labels]
    full = [run for run in runs if run.label not in labels]
    for a in low_rank:
        for b in full:
            if _same_data(a, b, lonely=len(low_rank) == len(full) == 1):
                yield from _compared(a, b, compare_profiles(_of(motion, a), _of(motion, b)))


def _same_data(a: Run, b: Run, lonely: bool) -> bool:
    if a.domain is None or b.domain is None:
        return lonely
    return a.domain == b.domain and (a.seed == b.seed or lonely)


def _compared(a: Run, b: Run, found: Sequence[Proxy]) -> Iterator[tuple[dict[str, Any], Finding]]:
    for proxy in found:
        record = {
            "lora": a.label,
            "full": b.label,
            "family": proxy.family,
            "spearman": proxy.correlation,
            "interval_95": [proxy.low, proxy.high],
            "n_layers": proxy.n_layers,
            "n_modules": proxy.n_modules,
        }
        yield record, proxy_finding(record)


def write_trajectory(
    study: TrajectoryStudy,
    folder: StudyFolder,
    *,
    fps: float | None = None,
    hold: float = 2.0,
    tell: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Write tables, animations, heatmaps, `results.md` and the readout of a study into an open folder.

    Without `fps` four captures are shown a second, more where an animation would last over ten seconds.
    `tell(done, total)` counts the pictures.
    """
    # Deferred: drawing needs matplotlib, measuring does not.
    from tunescope.questions.trajectory.readout import readout_markdown, results_markdown

    study.motion.write_parquet(folder.tables / "motion.parquet")
    write_csv(study.by_layer, folder.tables / "motion_by_layer.csv")
    write_csv(study.by_step, folder.tables / "motion_by_step.csv")
    write_text(folder.tables / "readout.json", strict_json(study.document) + "\n")
    pictures = gallery(study.by_layer, study.norms)
    for done, total in _drawn(pictures, folder.figures, fps, hold):
        tell(done, total)
    write_text(folder.root / "results.md", results_markdown(pictures, study.document))
    write_text(folder.root / "readout.md", readout_markdown(study.document))


def _drawn(pictures: Gallery, figures: Path, fps: float | None, hold: float) -> Iterator[tuple[int, int]]:
    from tunescope.questions.trajectory import figures as render

    colours = render.colours_of(pictures.keys)
    total = sum(2 + (panel.norm is not None) for panel in pictures.panels())
    done = 0
    for panel in pictures.panels():
        for view in (panel.mean, panel.abs_mean):
            render.write_trajectory(view, figures, colours, fps=fps, hold=hold)
            yield (done := done + 1), total
        if panel.norm is not None:
            render.write_norm_heatmap(panel.norm[1], figures, panel.norm[0])
            yield (done := done + 1), total


def provenance(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Label, place, kind and steps of every run, for the study's record."""
    return [
        {
            "label": run.label,
            "location": str(run.folder),
            "format": "capture" if run.capture else "checkpoints",
            "checkpoints": [c.folder.name for c in run.checkpoints],
        }
        for run in runs
    ]
