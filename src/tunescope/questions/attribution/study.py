"""`tunescope.attribute`: a tuned model, its base and texts loaded, the gain split into cells."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from tunescope.errors import Notice, UsageError, concerning
from tunescope.extras import needed_by
from tunescope.questions.attribution import views as view
from tunescope.questions.attribution.case import Case
from tunescope.questions.attribution.description import where_it_lies
from tunescope.questions.attribution.findings import attribution_findings, difference_findings
from tunescope.questions.attribution.inputs import check_there, data_sets
from tunescope.questions.attribution.question import QUESTION
from tunescope.questions.attribution.sight import looked_at, stands_out, visible_effects
from tunescope.questions.attribution.summary import DIFFERENCE, PUT_BACK, SCHEMA
from tunescope.questions.attribution.training_texts import seen_in_training
from tunescope.questions.attribution.unseen import why_unseen
from tunescope.source import digest
from tunescope.source.ledger import provenance
from tunescope.source.spec import default_label, location_of, parse_spec, spelled
from tunescope.study.finding import noticed_together, ordered
from tunescope.study.progress import Tell, silent
from tunescope.study.study import Study, asked
from tunescope.table import SCHEMA_VERSION, Column, Schema, Table, described

if TYPE_CHECKING:
    from tunescope.questions.attribution.attribution import Attribution
    from tunescope.questions.attribution.subject import Subject

# Differences are taken for all pairs up to this many data sets, else against the first.
ALL_PAIRS = 4
_KEYS: Schema = {
    "model_id": Column(pl.String, "label of the tuned model"),
    "data": Column(pl.String, "name of the data set"),
    "step": Column(pl.Int64, "optimizer step, where the tuned model is a checkpoint of a run"),
}


def attribute(
    tuned: Any,
    base: Any = None,
    data: Any = (),
    *,
    nodes: int = 9,
    put_back: int = 0,
    sequences: int = 128,
    max_length: int = 512,
    batch_size: int = 8,
    dtype: str = "auto",
    device: str = "auto",
    scale: Mapping[str, float] | None = None,
    seed: int = 0,
    state: str | Path | None = None,
    tell: Tell = silent,
) -> Study:
    """Say how much of L(tuned) − L(base) each changed weight accounts for, in nats per token.

    `tuned` is an adapter, a checkpoint, a module or a live `PeftModel` (then without `base`), `base` the
    model it was tuned from; `data` files or hub data sets of texts (`NAME=…`, several in a list), or batches
    (mappings `input_ids`, `attention_mask`, `labels`), also as a mapping by name. `study.table` has a row
    per data set and cell; negative lowered the loss, and the cells add up to its change [Sundararajan et
    al. 2017]. `put_back` puts the so many largest cells, and as many random ones, back to the base one at a
    time and measures. Raises `Missing`, `BadInput` or `Exhausted` for what cannot be used.
    """
    given = asked(locals())
    label, place = _label(tuned)
    sets = data_sets(data)
    texts = [value for value in sets.values() if isinstance(value, str)]
    check_there(place if isinstance(tuned, str | Path) else "org/live", base, texts)
    subject, found, notices = _measured(place, sets, given, _scale(label, scale), tell)
    seen = {name: seen_in_training(place, value) for name, value in sets.items()}
    document = _document(label, given, subject, found, seen, notices)
    arguments = given | {"tuned": spelled(tuned, label), "state": None}
    arguments["base"] = None if base is None else spelled(base, "base")
    arguments["data"] = {name: spelled(value, name) for name, value in sets.items()}
    sources = _provenance(subject, ((label, tuned), ("base", base)), sets, found)
    return Study(QUESTION, _tables(label, subject, found), document, arguments, sources)


def _label(tuned: Any) -> tuple[str, Any]:
    if not isinstance(tuned, str | Path):
        return type(tuned).__name__, tuned
    said, place = parse_spec(str(tuned))
    return said or default_label(place), place


def _scale(label: str, scale: Mapping[str, float] | None) -> float | None:
    """The scale given for this adapter; refused where it names another."""
    scales = dict(scale or {})
    value = scales.pop(label, None)
    if scales:
        raise UsageError(
            "unknown-label", f"--scale names {next(iter(scales))!r}, which no source has", expected=label
        )
    return value


def _measured(
    place: Any, sets: Mapping[str, Any], given: Mapping[str, Any], scale: float | None, tell: Tell
) -> tuple["Subject", dict[str, "Attribution"], list[Notice]]:
    # Deferred: loading torch takes seconds, and a refused argument should not wait for it.
    with needed_by("attribution"):
        from tunescope.lm.device import chosen_device
        from tunescope.lm.pretrained import load_model
        from tunescope.lm.processes import join_group
        from tunescope.lm.verification import said_of
        from tunescope.questions.attribution.attribution import attribute_data, path_of
        from tunescope.questions.attribution.subject import open_subject

    base, named = given["base"], isinstance(given["base"], str | Path)
    if named:
        join_group()
    device, notices = chosen_device(given["device"]) if named else ("cpu", [])
    model = load_model(str(base), given["dtype"], device) if named else base
    notices = [*notices, *(said_of(model, str(base)) if named else [])]
    read, said = _batches(sets, given, model)
    with concerning(place if isinstance(place, str) else None):
        subject = open_subject(place, model, dtype=given["dtype"], device=device, scale=scale)
    options: dict[str, Any] = {"nodes": given["nodes"], "verified": given["put_back"], "seed": given["seed"]}
    state = None if given["state"] is None else Path(given["state"])
    with path_of(subject, given["seed"]) as path:
        found = {}
        for name, batches in read.items():
            with concerning(sets[name] if isinstance(sets[name], str) else None):
                found[name] = attribute_data(
                    path, subject.changes, batches, progress=_named(tell, name), state=state, **options
                )
    return subject, found, [*notices, *subject.changes.notices, *said]


def _batches(
    sets: Mapping[str, Any], given: Mapping[str, Any], model: Any
) -> tuple[dict[str, Any], list[Notice]]:
    """The batches of every data set, and what was noticed on the way."""
    # Deferred, as above.
    from tunescope.lm.pretrained import load_tokenizer
    from tunescope.lm.texts import read_batches

    read: dict[str, Any] = {}
    notices: list[Notice] = []
    limits = {name: given[name] for name in ("sequences", "max_length", "batch_size", "seed")}
    for name, value in sets.items():
        if not isinstance(value, str):
            read[name] = value
            continue
        if not isinstance(given["base"], str | Path):
            raise UsageError(
                "no-tokenizer",
                "texts need a tokenizer, which a live model does not bring",
                fix="name the base by its folder or id, or give batches of token ids",
            )
        with concerning(value):
            read[name], said = read_batches(value, load_tokenizer(str(given["base"])), model, **limits)
        notices += said
    return read, notices


def _named(tell: Tell, label: str) -> Callable[[str, int, int], None]:
    return lambda what, done, total: tell(f"{label}: {what}", done, total)


def _document(
    label: str,
    given: Mapping[str, Any],
    subject: "Subject",
    found: Mapping[str, "Attribution"],
    seen: Mapping[str, str],
    notices: Sequence[Notice],
) -> dict[str, Any]:
    findings = [
        finding
        for data, one in found.items()
        for finding in attribution_findings(
            one.frame, one.summary, label, data, one.verification, data_sets=len(found)
        )
    ]
    cases = {data: Case(one.frame, one.summary, label, data, len(found)) for data, one in found.items()}
    summaries = {data: _summary(cases[data], seen[data]) for data in found}
    findings += difference_findings({d: one.frame for d, one in found.items()}, summaries, label)
    findings += noticed_together((label, notice) for notice in notices)
    told = stands_out(findings)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "attribution",
        "label": label,
        "tuned": location_of(given["tuned"]),
        "base": None if given["base"] is None else location_of(given["base"]),
        "change": subject.kind,
        **(next(iter(summaries.values())) if len(summaries) == 1 else {}),
        "data_sets": summaries,
        "description": {
            data: where_it_lies(case, summaries[data]["visible"]["against"], data not in told)
            for data, case in cases.items()
        },
        "findings": [finding.record() for finding in ordered(findings)],
    }


def _summary(case: Case, texts: str) -> dict[str, Any]:
    """The sums of one data set, and what could have been seen in them."""
    visible = visible_effects(case)
    seen = {"looked_at": looked_at(case), "visible": visible, "unseen": why_unseen(case, visible)}
    return {**case.summary, "texts": texts, **seen}


def _tables(label: str, subject: "Subject", found: Mapping[str, "Attribution"]) -> dict[str, Table]:
    step = None if subject.source is None else subject.source.step
    keys = {data: {"model_id": label, "data": data, "step": step} for data in found}
    cells = [_keyed(one.frame, keys[data]) for data, one in found.items()]
    tables = {"attribution": _table(pl.concat(cells), "attribution", {**_KEYS, **SCHEMA})}
    checks = [_keyed(o.verification, keys[d]) for d, o in found.items() if o.verification is not None]
    if checks:
        tables["put_back"] = _table(pl.concat(checks), "put_back", {**_KEYS, **PUT_BACK})
    if pairs := list(_differences({data: one.frame for data, one in found.items()})):
        frame = pl.concat(pairs).select(pl.lit(label).alias("model_id"), pl.all())
        tables["attribution_difference"] = _table(frame, "attribution_difference", DIFFERENCE)
    return tables


def _keyed(frame: pl.DataFrame, keys: Mapping[str, Any]) -> pl.DataFrame:
    first = [pl.lit(keys[name], column.dtype).alias(name) for name, column in _KEYS.items()]
    return frame.select(*first, pl.all())


def _table(frame: pl.DataFrame, kind: str, schema: Schema) -> Table:
    return Table(frame.select(list(schema)), kind, {"columns": described(schema)})


def _differences(frames: Mapping[str, pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Of two data sets, cell by cell, the second's attribution minus the first's."""
    names = list(frames)
    pairs = combinations(names, 2) if len(names) <= ALL_PAIRS else ((names[0], name) for name in names[1:])
    for a, b in pairs:
        frame = view.difference(frames[a], frames[b])
        yield frame.select(pl.lit(a).alias("data_a"), pl.lit(b).alias("data_b"), pl.all())


def _provenance(
    subject: "Subject",
    models: Sequence[tuple[str, Any]],
    sets: Mapping[str, Any],
    found: Mapping[str, "Attribution"],
) -> list[dict[str, Any]]:
    """Adapter or tuned model, base and data; large checkpoints by header and size."""
    first, base = (digest.checkpoint(name, "" if model is None else _place(model)) for name, model in models)
    data = [
        digest.texts(name, location_of(value), found[name].summary["data_sha256"])
        for name, value in sets.items()
    ]
    tuned = [first] if subject.source is None else provenance([subject.source])
    named = [{**record, "label": first["label"]} for record in tuned]
    return [*named, base, *data]


def _place(model: Any) -> str:
    return parse_spec(str(model))[1] if isinstance(model, str | Path) else location_of(model)
