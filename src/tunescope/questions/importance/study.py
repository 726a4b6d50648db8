"""`tunescope.importance`: a model and texts loaded, every parameter scored, read out as one study."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import polars as pl

from tunescope.corpus.reading import check_local
from tunescope.errors import Notice, UsageError, concerning
from tunescope.extras import needed_by
from tunescope.lm.place import check_named
from tunescope.questions.importance.description import where_it_lies
from tunescope.questions.importance.findings import importance_findings
from tunescope.questions.importance.question import QUESTION
from tunescope.questions.importance.sight import visible_effects, why_unseen
from tunescope.questions.importance.views import MEANING, ORDERS, SCALES
from tunescope.source import digest
from tunescope.source.spec import default_label, location_of, parse_spec, spelled
from tunescope.study.finding import noticed_together, ordered
from tunescope.study.progress import Tell, silent, speaks
from tunescope.study.study import Study, asked
from tunescope.table import SCHEMA_VERSION, Column, Schema, Table, described
from tunescope.words import counted, word_tuple
from tunescope.writing import held

DEFAULT_METHODS = ("taylor", "curvature")
_TOP = 8
_KEYS: Schema = {
    "model_id": Column(pl.String, "label of the model"),
    "step": Column(pl.Int64, "optimizer step, where the model is a checkpoint of a run"),
}


def importance(
    model: Any,
    data: Any,
    *,
    method: str | Iterable[str] = DEFAULT_METHODS,
    sequences: int = 128,
    max_length: int = 512,
    batch_size: int = 1,
    dtype: str = "auto",
    device: str = "auto",
    seed: int = 0,
    precision: float | None = None,
    noise_scale: float = 0.05,
    layer_importance: bool = True,
    order: str = "score",
    colour: str = "linear",
    state: str | Path | None = None,
    tell: Tell = silent,
) -> Study:
    """Score every parameter of a model by how much its predictions on the data depend on it.

    `model` is a folder, a hub id or a live model; `data` a file or hub data set of texts, or batches
    (mappings `input_ids`, `attention_mask`, `labels`, −100 ignored). `study.table` has one row per method
    and tensor or expert: the score, summed over its weights, with a standard error over `n` independent
    samples. `precision` stops once every error is below that part of the largest score; with the folder
    `state` a killed run goes on where it stopped. Under `torchrun` every process takes its part and gets
    the same study. `order` and `colour` are the map's. Raises `UsageError` for unknown methods, and
    `Missing`, `BadInput` or `Exhausted` for a model, data or device that cannot be used.
    """
    given = asked(locals())
    methods = word_tuple(method, "unknown-method", "method")
    check_view(order, colour)
    (label, place), told = _named(model), location_of(data)
    loaded = _loaded(model, data, methods, given)
    table, notices = _scored(loaded, methods, given, None if state is None else Path(state), tell)
    document = _document(table, label, told, [*loaded.notices, *notices])
    kept = {"model": spelled(model, label), "data": spelled(data, "data"), "method": methods, "state": None}
    read = digest.texts("data", told, table.meta["summary"]["data_hash"])
    sources = [digest.checkpoint(label, place), read]
    return Study(QUESTION, _tables(table, label), document, given | kept, sources)


def check_view(order: str, colour: str) -> None:
    """Refuse an unknown order of columns or colour scale."""
    for name, value, known in (("order", order, ORDERS), ("colour", colour, SCALES)):
        if value not in known:
            raise UsageError("unknown-view", f"there is no {name} {value!r}", expected=", ".join(known))


class _Loaded:
    """A model, the batches it is scored on, how many sequences they hold, and what was noticed."""

    def __init__(self, model: Any, batches: Any, total: int | None, notices: Sequence[Notice]) -> None:
        self.model, self.batches, self.total, self.notices = model, batches, total, list(notices)


def _loaded(model: Any, data: Any, methods: tuple[str, ...], given: Mapping[str, Any]) -> _Loaded:
    # Deferred: loading torch takes seconds, and a refused argument should not wait for it.
    with needed_by("importance"):
        from tunescope.lm.device import chosen_device
        from tunescope.lm.pretrained import load_model, load_tokenizer
        from tunescope.lm.processes import join_group
        from tunescope.lm.texts import read_batches
        from tunescope.lm.verification import said_of
        from tunescope.questions.importance.measurement import check_methods
        from tunescope.questions.importance.warming import warming

    check_methods(methods)
    texts = isinstance(data, str | Path)
    if texts:
        check_local(data)
    notices: list[Notice] = []
    live = not isinstance(model, str | Path)
    if not live:
        join_group()
        device, notices = chosen_device(given["device"])
    network, place = model, "" if live else parse_spec(str(model))[1]
    if not live:
        with warming(device, given["dtype"]):
            network = load_model(place, given["dtype"], device)
        notices = [*notices, *said_of(network, place)]
    if not texts:
        return _Loaded(network, data, None, notices)
    if live:
        raise UsageError(
            "no-tokenizer",
            "texts need a tokenizer, which a live model does not bring",
            fix="name the model by its folder or id, or give batches of token ids",
        )
    names = ("sequences", "max_length", "batch_size", "seed")
    limits = {name: given[name] for name in names}
    with concerning(data):
        batches, noticed = read_batches(str(data), load_tokenizer(place), network, **limits)
    total = sum(len(batch["input_ids"]) for batch in batches)
    return _Loaded(network, batches, total, [*notices, *noticed, *_few(given, total)])


def _scored(
    loaded: _Loaded, methods: tuple[str, ...], given: Mapping[str, Any], state: Path | None, tell: Tell
) -> tuple[Table, list[Notice]]:
    from tunescope.lm.device import named_memory
    from tunescope.questions.importance.scores import score_parameters

    total = loaded.total
    names = ("layer_importance", "seed", "noise_scale", "precision")
    alone = nullcontext() if state is None or not speaks() else held(state)
    data = given["data"] if isinstance(given["data"], str | Path) else None
    with alone, named_memory(), concerning(data):
        table = score_parameters(
            loaded.model,
            loaded.batches,
            methods,
            state=state,
            progress=None if total is None else lambda done: tell("scoring sequences", done, total),
            **{name: given[name] for name in names},
        )
    said = [Notice(entry["slug"], entry["text"]) for entry in table.meta["summary"]["notices"]]
    scored = table.meta["summary"]["sequences"]
    if total is not None and scored < total:
        text = f"every error was below the precision asked for after {scored} of {counted(total, 'sequence')}"
        said.append(Notice("stopped-early", text))
    return table, said


def _few(given: Mapping[str, Any], total: int) -> list[Notice]:
    found = []
    if total < given["sequences"]:
        text = f"{counted(total, 'sequence')} could be scored, {given['sequences']} were asked for"
        found.append(Notice("few-sequences", text))
    if total < given["batch_size"]:
        text = f"a batch was to hold {given['batch_size']} sequences; all {total} make one batch"
        found.append(Notice("batch-larger-than-data", text))
    return found


def _named(model: Any) -> tuple[str, str]:
    """The model's label and place; what is there and is no model is refused."""
    if not isinstance(model, str | Path):
        return type(model).__name__, location_of(model)
    label, place = parse_spec(str(model))
    check_named(place, "importance")
    return label or default_label(place), place


def _document(table: Table, label: str, data: str, notices: Sequence[Notice]) -> dict[str, Any]:
    """The readout document of a measured table."""
    summary = table.meta["summary"]
    findings = [
        *importance_findings(table.frame, label, summary),
        *noticed_together((label, n) for n in notices),
    ]
    visible = visible_effects(table.frame)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "importance",
        "model": label,
        "data": Path(data).name if os.path.lexists(data) else data,
        "summary": {key: value for key, value in summary.items() if key != "notices"},
        "methods": [_method(table.frame, method, summary) for method in summary["methods"]],
        "layers": summary["layers"],
        "visible": visible,
        "unseen": why_unseen(table.frame, visible),
        "findings": [finding.record() for finding in ordered(findings)],
    }


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
        "where": where_it_lies(frame, method),
        "top": by_parameter.head(_TOP).to_dicts(),
    }


def _tables(table: Table, label: str) -> dict[str, Table]:
    tables = {"importance": _keyed(table, label)}
    if layers := table.meta["summary"]["layers"]:
        tables["importance_layers"] = _layers(layers, label)
    return tables


def _keyed(table: Table, label: str) -> Table:
    """The table with the key columns of every study in front."""
    keys = (pl.lit(label).alias("model_id"), pl.lit(None, pl.Int64).alias("step"))
    meta = {"columns": described(_KEYS) | dict(table.meta["columns"])}
    return Table(table.frame.select(*keys, pl.all()), "importance", meta)


def _layers(layers: Sequence[Mapping[str, Any]], label: str) -> Table:
    """Layer Importance with its standard error beside the sum of every method, layer by layer."""
    known: Schema = {
        **_KEYS,
        "stack": Column(pl.String, "stack of blocks or tower that the layer is counted in"),
        "layer": Column(pl.Int64, "index of the block in its stack, from 0"),
        "layer_importance": Column(pl.Float64, "rise of the loss without the block", "nats/token"),
        "layer_importance_stderr": Column(pl.Float64, "its standard error", "nats/token"),
        "layer_importance_behind_stderr": Column(
            pl.Float64, "standard error of its distance to the largest, over the same sequences", "nats/token"
        ),
    }
    sums = {
        name: Column(pl.Float64, f"sum of {name} over the layer's parameters", "the method's")
        for name in layers[0]
        if name not in known
    }
    schema = {name: column for name, column in {**known, **sums}.items() if name in {*_KEYS, *layers[0]}}
    types = {name: column.dtype for name, column in schema.items()}
    rows = [{"model_id": label, "step": None, **row} for row in layers]
    return Table(pl.DataFrame(rows, schema=types), "importance_layers", {"columns": described(schema)})
