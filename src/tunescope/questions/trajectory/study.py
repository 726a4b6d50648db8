"""`tunescope.trajectory`: training runs measured, layer by layer and step by step, and told in sentences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from tunescope.errors import Notice
from tunescope.questions.trajectory import layers
from tunescope.questions.trajectory.comparison import comparisons
from tunescope.questions.trajectory.ending import loss_ending
from tunescope.questions.trajectory.findings import motion_findings, together
from tunescope.questions.trajectory.loss import known_losses
from tunescope.questions.trajectory.proxy import compare_profiles
from tunescope.questions.trajectory.question import QUESTION
from tunescope.questions.trajectory.reading import motion_of
from tunescope.questions.trajectory.seams import SavedState, untested_turns
from tunescope.questions.trajectory.sight import visible_effects
from tunescope.questions.trajectory.summary import (
    leading_layers,
    proxy_finding,
    proxy_record,
    run_summary,
)
from tunescope.questions.trajectory.unseen import why_unseen
from tunescope.source import digest
from tunescope.source.checkpoints import weight_files
from tunescope.source.runs import find_runs
from tunescope.source.selection import check_scaled, flattened
from tunescope.source.spec import parse_spec
from tunescope.source.training_run import Run
from tunescope.statistics.multiplicity import holm
from tunescope.study.finding import Finding, noticed_together, ordered
from tunescope.study.progress import Tell, silent
from tunescope.study.study import Study, asked
from tunescope.table import SCHEMA_VERSION


def trajectory(
    *runs: Any,
    start: str | Path | None = None,
    scale: Mapping[str, float] | None = None,
    align_vocab: bool = False,
    fps: float | None = None,
    hold: float = 2.0,
    hash_all: bool = False,
    tell: Tell = silent,
) -> Study:
    """Follow how every layer moved during training runs, step by step.

    `runs` are folders that `finetune` or `TrainingCapture` wrote, folders of such runs, any folder of
    checkpoints, each optionally `LABEL=…`, or what `finetune` returned; checkpoints count from `start`
    where it is given, `scale` maps labels to the scale of adapters that do not say theirs, and `align_vocab`
    follows tables whose vocabulary was resized over the rows that all have.
    `study.table` has a row per run, step, weight and factor with the statistics of Δ. Animations show `fps`
    frames a second (four) and hold the last one for `hold` seconds. Raises
    `Missing` and `BadInput` as `find_runs` does, and for captures and checkpoints that cannot be read.
    """
    arguments = asked(locals()) | {"runs": [_place(run) for run in flattened(runs)]}
    found = find_runs([parse_spec(spec) for spec in arguments["runs"]])
    scales = dict(scale or {})
    check_scaled(scales, [run.label for run in found])
    motion, notices = _motion(found, None if start is None else Path(start), scales, align_vocab, tell)
    towers = layers.by_tower(motion)
    by_step, norms, by_layer = layers.by_step(motion), layers.norms_by_layer(towers), layers.by_layer(towers)
    frames = {
        "motion": motion,
        "motion_by_layer": by_layer,
        "motion_by_step": by_step,
        "norms_by_layer": norms,
    }
    return Study(
        QUESTION,
        {name: layers.published(frame, name) for name, frame in frames.items()},
        _document(found, motion, towers, by_step, norms, by_layer, notices),
        arguments,
        [_provenance(run, hash_all) for run in found],
    )


def _place(run: Any) -> str:
    """A run as a place on disk: text as it is, and what `finetune` returned by its folder."""
    return str(getattr(run, "folder", run))


def _motion(
    runs: Sequence[Run], start: Path | None, scales: Mapping[str, float], align_vocab: bool, tell: Tell
) -> tuple[pl.DataFrame, list[tuple[str, Notice]]]:
    parts: list[pl.DataFrame] = []
    notices: list[tuple[str, Notice]] = []
    for done, run in enumerate(runs):
        tell("reading runs", done, len(runs))
        frame, noticed = motion_of(run, start, scales.get(run.label), align_vocab)
        parts.append(frame)
        notices += [(run.label, notice) for notice in (*run.notices, *noticed)]
    return pl.concat(parts), notices


def _document(
    runs: Sequence[Run],
    motion: pl.DataFrame,
    towers: pl.DataFrame,
    by_step: pl.DataFrame,
    norms: pl.DataFrame,
    by_layer: pl.DataFrame,
    notices: Sequence[tuple[str, Notice]],
) -> dict[str, Any]:
    followed = list(_followed(runs, motion, towers, by_step))
    found = [
        f
        for one in followed
        for f in motion_findings(one.run.label, one.motion, one.updates, one.by_step, one.states, len(runs))
    ]
    untested = [(one.run.label, n) for one in followed for n in untested_turns(one.by_step, one.updates)]
    findings = [*together(found), *noticed_together([*notices, *untested])]
    proxies = _proxies(runs, motion)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "trajectory",
        "runs": {one.run.label: _summary(one, norms, by_layer, len(runs)) for one in followed},
        "comparisons": comparisons(by_step, norms, _low_rank(motion)),
        "lora_as_proxy": [record for record, _ in proxies],
        "findings": [f.record() for f in ordered([*findings, *(f for _, f in proxies if f is not None)])],
    }


def _summary(one: "_Followed", norms: pl.DataFrame, by_layer: pl.DataFrame, runs: int) -> dict[str, Any]:
    """What the readout says of one of so many runs."""
    seen = visible_effects(one.motion, one.updates, one.by_step, one.states, runs)
    return run_summary(one.by_step, one.motion, _of(by_layer, one.run)) | {
        "order": one.run.order,
        "leading_layers": leading_layers(_of(norms, one.run)),
        "losses": known_losses(one.by_step, one.states),
        "loss_ending": loss_ending(one.by_step, one.states, runs),
        "visible": seen,
        "unseen": why_unseen(seen, one.updates, one.by_step, one.states),
    }


def _of(frame: pl.DataFrame, run: Run) -> pl.DataFrame:
    return frame.filter(pl.col("run") == run.label)


@dataclass(frozen=True, eq=False, slots=True)
class _Followed:
    """A run with its motion, its updates (once for each tower), its steps, and what it had logged."""

    run: Run
    motion: pl.DataFrame
    updates: pl.DataFrame
    by_step: pl.DataFrame
    states: Sequence[SavedState]


def _followed(
    runs: Sequence[Run], motion: pl.DataFrame, towers: pl.DataFrame, by_step: pl.DataFrame
) -> Iterator[_Followed]:
    updates = layers.updates(layers.matrices(towers))
    for run in runs:
        mine = pl.col("run").is_in(
            [run.label, *(f"{run.label}/{s}" for s in _of(motion, run)["stack"].unique())]
        )
        states = [SavedState(c.step, c.max_steps, c.losses) for c in run.checkpoints]
        yield _Followed(run, _of(motion, run), updates.filter(mine), _of(by_step, run), states)


def _low_rank(motion: pl.DataFrame) -> list[str]:
    found: list[str] = motion.filter(pl.col("factor") == "A")["run"].unique(maintain_order=True).to_list()
    return found


def _proxies(runs: Sequence[Run], motion: pl.DataFrame) -> list[tuple[dict[str, Any], Finding | None]]:
    """Every low-rank run against every full run of the same data, and what can be said of it."""
    labels = _low_rank(motion)
    low_rank = [run for run in runs if run.label in labels]
    full = [run for run in runs if run.label not in labels]
    found = [
        (a, b, proxy)
        for a in low_rank
        for b in full
        if _same_data(a, b, lonely=len(low_rank) == len(full) == 1)
        for proxy in compare_profiles(_of(motion, a), _of(motion, b))
    ]
    adjusted = holm([proxy.p for *_, proxy in found]).tolist()
    records = [
        proxy_record(a.label, b.label, proxy, p) for (a, b, proxy), p in zip(found, adjusted, strict=True)
    ]
    return [(record, proxy_finding(record, len(records))) for record in records]


def _same_data(a: Run, b: Run, lonely: bool) -> bool:
    if a.domain is None or b.domain is None:
        return lonely
    return a.domain == b.domain and (a.seed == b.seed or lonely)


def _provenance(run: Run, hash_all: bool) -> dict[str, Any]:
    """Label, place, digest and checkpoints of a run, for the study's record."""
    kind = "capture" if run.capture else "checkpoints"
    files = [path for path in (run.folder / "run.json", run.folder / "capture.parquet") if path.is_file()]
    if not run.capture:
        files = list(chain.from_iterable(weight_files(one.weights) for one in run.checkpoints))
    place = str(run.folder)
    record = digest.provenance(run.label, place, kind, files, hash_all=hash_all, root=run.folder)
    return record | {"checkpoints": [checkpoint.path.name for checkpoint in run.checkpoints]}
