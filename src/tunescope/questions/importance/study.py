"""The study of `tunescope importance`: model and data in, tables, maps and readout out."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tunescope.corpus.reading import SUFFIXES, read_rows
from tunescope.errors import Exhausted, Notice, UsageError
from tunescope.questions.importance.findings import importance_findings
from tunescope.questions.importance.views import MEANING, ORDERS, SCALES, ImportanceMap, importance_maps
from tunescope.study.finding import Finding, ordered
from tunescope.study.folder import StudyFolder, locked
from tunescope.table import SCHEMA_VERSION, Table, write_csv
from tunescope.writing import strict_json, write_json, write_text

DEFAULT_METHODS = ("taylor", "curvature")
_TOP = 8


@dataclass(frozen=True)
class Request:
    """What is to be scored, on what and how; the names are those of the command's options."""

    model: str
    data: str
    methods: tuple[str, ...] = DEFAULT_METHODS
    sequences: int = 128
    max_length: int = 512
    batch_size: int = 1
    dtype: str = "auto"
    device: str = "auto"
    seed: int = 0
    layer_importance: bool = True
    precision: float | None = None
    noise_scale: float = 0.05


@dataclass(frozen=True, eq=False)
class ImportanceStudy:
    """What was measured, before anything is drawn or written."""

    table: Table
    findings: Sequence[Finding]
    document: Mapping[str, Any]


def importance_study(
    request: Request,
    *,
    state: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportanceStudy:
    """Load, score and read out; under `torchrun` every process takes its part and gets the same study.

    With `state`, a killed run goes on where it stopped. Raises as `tunescope.importance`, and `Missing`,
    `BadInput` or `Exhausted` for a model, data or device that cannot be used.
    """
    # Deferred: loading torch takes seconds, and a refused argument should not wait for it.
    from tunescope.lm.pretrained import load_model
    from tunescope.questions.importance.measurement import check_methods
    from tunescope.questions.importance.scores import importance

    check_methods(request.methods)
    _check_data(request.data)
    device, notices = _device(request.device)
    model = load_model(request.model, request.dtype, device)
    batches, noticed = _batches(model, request)
    total = sum(len(batch["input_ids"]) for batch in batches)
    with _alone(state), _memory_errors():
        table = importance(
            model,
            batches,
            request.methods,
            layer_importance=request.layer_importance,
            seed=request.seed,
            noise_scale=request.noise_scale,
            precision=request.precision,
            state=state,
            progress=None if progress is None else lambda done: progress(done, total),
        )
    scored = table.meta["summary"]["sequences"]
    if progress is not None and scored < total:
        progress(scored, scored)
    return read_out(table, request, [*notices, *noticed, *_few(request, total), *_early(scored, total)])


def _check_data(data: str) -> None:
    """Refuse a data file that is missing or unusable before a large model is loaded; hub ids wait."""
    if os.path.lexists(data) or data.lower().endswith(SUFFIXES):
        read_rows(data)


@contextmanager
def _alone(state: Path | None) -> Iterator[None]:
    """Keep a second run off the same state; processes of one run share it, and the first holds it."""
    if state is None or not writes():
        yield
        return
    with locked(state):
        yield


@contextmanager
def _memory_errors() -> Iterator[None]:
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise Exhausted(
            "out-of-memory",
            "the memory of the device ran out while scoring",
            found=str(error).split(".")[0],
            fix="a smaller --batch-size or --max-length, or --dtype bfloat16",
        ) from error


def _batches(model: Any, request: Request) -> tuple[list[dict[str, Any]], list[Notice]]:
    from tunescope.lm.pretrained import load_tokenizer
    from tunescope.lm.texts import read_batches

    return read_batches(
        request.data,
        load_tokenizer(request.model),
        model,
        sequences=request.sequences,
        max_length=request.max_length,
        batch_size=request.batch_size,
        seed=request.seed,
    )


def _device(wanted: str) -> tuple[str, list[Notice]]:
    from tunescope.lm.device import chosen_device
    from tunescope.lm.processes import join_group

    join_group()
    return chosen_device(wanted)


def _few(request: Request, total: int) -> list[Notice]:
    found = []
    if total < request.sequences:
        text = f"{total} sequences could be scored, {request.sequences} were asked for"
        found.append(Notice("few-sequences", text))
    if total < request.batch_size:
        text = f"a batch was to hold {request.batch_size} sequences; all {total} make one batch"
        found.append(Notice("batch-larger-than-data", text))
    return found


def _early(scored: int, total: int) -> list[Notice]:
    text = f"every error was below the precision asked for after {scored} of {total} sequences"
    return [Notice("stopped-early", text)] if scored < total else []


def read_out(table: Table, request: Request, notices: Sequence[Notice] = ()) -> ImportanceStudy:
    """Findings and document of a measured table."""
    summary = table.meta["summary"]
    findings = importance_findings(table.frame, request.model, summary)
    document = {
        "schema_version": SCHEMA_VERSION,
        "model": request.model,
        "data": request.data,
        "summary": {key: value for key, value in summary.items() if key != "notices"},
        "methods": [_method(table.frame, method, summary) for method in summary["methods"]],
        "layers": summary["layers"],
        "findings": [finding.record() for finding in ordered(findings)],
        "notices": [*map(str, notices), *summary["notices"]],
    }
    return ImportanceStudy(table, findings, document)


def _method(frame: pl.DataFrame, method: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    rows = frame.filter((pl.col("method") == method) & pl.col("score").is_not_null())
    by_parameter = (
        rows.group_by("parameter", maintain_order=True)
        .agg(pl.col("score").sum(), pl.col("share").sum(), pl.col("numel").sum())
        .sort("score", descending=True)
    )
    return {
        "method": method,
        "meaning": MEANING[method],
        "unit": rows["unit"].first(),
        **summary["methods"][method],
        "top": by_parameter.head(_TOP).to_dicts(),
    }


def check_view(order: str, scale: str) -> None:
    """Refuse an unknown order or scale."""
    for name, value, known in (("order", order, ORDERS), ("scale", scale, SCALES)):
        if value not in known:
            raise UsageError("unknown-view", f"there is no {name} {value!r}", expected=", ".join(known))


def write_importance(
    study: ImportanceStudy, folder: StudyFolder, *, order: str = "score", scale: str = "linear"
) -> None:
    """Write tables, maps and readout of a study into an open folder."""
    # Deferred: drawing needs matplotlib, measuring does not.
    from tunescope.picture.style import save
    from tunescope.questions.importance.figures import importance_figure
    from tunescope.questions.importance.readout import importance_markdown

    check_view(order, scale)
    summary, frame = study.table.meta["summary"], study.table.frame
    write_csv(frame, folder.tables / "importance.csv")
    study.table.write_parquet(folder.tables / "importance.parquet")
    write_json(folder.tables / "importance_summary.json", summary)
    if summary["layers"]:
        write_csv(pl.DataFrame(summary["layers"]), folder.tables / "importance_layers.csv")
    beside: list[ImportanceMap] = []
    for method in summary["methods"]:
        views = importance_maps(frame, method, order=order, scale=scale, summary=summary)
        if views:
            save(importance_figure(views), folder.figures / f"importance_{method}")
        beside += views if method in DEFAULT_METHODS else []
    if len({view.method for view in beside}) > 1:
        save(importance_figure(beside), folder.figures / "importance")
    write_text(folder.tables / "readout.json", strict_json(study.document) + "\n")
    write_text(folder.root / "readout.md", importance_markdown(study.document))


def state_folder(out: Path) -> Path:
    """Where a run keeps what it has measured so far: a hidden folder beside its output."""
    place = out.resolve()
    return place.parent / f".{place.name}.importance-state"


def forget_state(out: Path) -> None:
    """Remove what a finished run had kept."""
    folder = state_folder(out)
    for path in folder.glob("process-*-of-*.npz"):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        shutil.rmtree(folder)


def writes() -> bool:
    """Whether this process is the one that writes: the first, where there are several."""
    from tunescope.lm.processes import world

    return world()[0] == 0


def provenance(request: Request, study: ImportanceStudy) -> list[dict[str, Any]]:
    """Model and data for the study's record."""
    return [
        {"label": "model", "location": request.model},
        {"label": "data", "location": request.data, "sha256": study.table.meta["summary"]["data_hash"]},
    ]
