"""`tunescope.verify`: a merged model, its base and the adapters that should be in it, as one study."""

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tunescope.address import Address
from tunescope.errors import BadInput, UsageError
from tunescope.questions.verify import measure
from tunescope.questions.verify.amiss import Amiss, amiss_findings
from tunescope.questions.verify.elsewhere import elsewhere
from tunescope.questions.verify.measure import Replayed, finite
from tunescope.questions.verify.meeting import Unread
from tunescope.questions.verify.question import QUESTION
from tunescope.questions.verify.reading import Reading
from tunescope.questions.verify.summing import sums_of_readings
from tunescope.questions.verify.verdict import judge, module_verdict
from tunescope.questions.verify.words import findings
from tunescope.source.against import FORMAT as WHOLE_MODEL
from tunescope.source.against import open_difference, opener
from tunescope.source.base_weights import replicated_base
from tunescope.source.ledger import coverage, notices, provenance
from tunescope.source.opened import Source
from tunescope.source.selection import flattened, open_labelled, spelled_sources
from tunescope.source.spec import default_label
from tunescope.source.whole import WholeModel, open_whole
from tunescope.study.finding import noticed, ordered
from tunescope.study.progress import Tell, silent
from tunescope.study.study import Study, asked
from tunescope.table import SCHEMA_VERSION, Column, Schema, Table, described, dtypes

MERGE: Schema = {
    "model_id": Column(pl.String, "label of the adapter, or of adapters given as a sum"),
    "stack": Column(pl.String, "stack of blocks or tower"),
    "layer": Column(pl.Int64, "index of the block in its stack"),
    "module_type": Column(pl.String, "name of the module inside its block"),
    "expert": Column(pl.Int64, "number of the expert"),
    "component_name": Column(pl.String, "short name of layer and module"),
    "coefficient": Column(pl.Float64, "c in W' = round(W + Σ c ΔW), by replay"),
    "stderr": Column(pl.Float64, "its standard error"),
    "expected": Column(pl.Float64, "the coefficient that was expected"),
    "kept": Column(pl.Float64, "⟨W' − W, ΔW⟩/‖ΔW‖²: what rounding left of it"),
    "equal_fraction": Column(pl.Float64, "share within one step of the grid, of values that moved", "[0, 1]"),
    "exact_fraction": Column(
        pl.Float64, "share that comes out equal, of values that moved; null where none did", "[0, 1]"
    ),
    "residual_ratio": Column(pl.Float64, "‖W' − replay‖ over the norm of the steps there", "steps"),
    "verdict": Column(pl.String, "what this module says of this adapter"),
    "status": Column(pl.String, "ok, or why nothing was read"),
}


def verify(
    merged: Any,
    *adapters: Any,
    base: Any,
    expect: Mapping[str, float] | None = None,
    scale: Mapping[str, float] | None = None,
    hash_all: bool = False,
    tell: Tell = silent,
) -> Study:
    """Is each adapter in a merged model, once, with its scale?

    `merged` and `base` are whole models, `adapters` sources with a ΔW; `expect` maps labels to the
    coefficient that is right for them (1 where nothing is said). The readout's `verdict` is `as_expected`
    or says what is the matter. Raises as `open_source` and `open_whole`, and `UsageError` for a label that
    no adapter has.
    """
    arguments = asked(locals()) | {"base": os.fspath(base), "merged": os.fspath(merged)}
    model = open_whole(base)
    opened = open_labelled(flattened(adapters), scale, opener(model))
    arguments["adapters"] = spelled_sources(adapters, opened)
    expected = _expected(opened, expect or {})
    laid = next((s.config for s in opened if s.config.get("layer_replication")), {})
    difference = _difference(merged, replicated_base(model, laid), opened)
    difference = measure.in_parts(difference, opened)
    touched, unread = measure.touched(difference, opened)
    modules = measure.summed(touched, expected)
    readings, rows, replayed = [], [_unread_row(gone) for gone in unread], []
    for found in measure.replays(modules, tell):
        replayed.append(found)
        mine = _readings(found, opened)
        readings += mine
        rows += _rows(found, mine)
    rest = elsewhere(difference, modules, unread)
    for source in (*opened, difference):
        source.verify_unchanged()
    sources = [difference, *opened]
    document = _document(readings, sources, rows, Amiss(unread, replayed, rest))
    table = Table(pl.DataFrame(rows, schema=dtypes(MERGE)), "merge", {"columns": described(MERGE)})
    tables = {"merge": table, "coverage": coverage(sources)}
    return Study(QUESTION, tables, document, arguments, provenance(sources, hash_all))


def _difference(merged: Any, base: WholeModel, opened: Sequence[Source]) -> Source:
    """The merged model against its base; where adapter and model were exchanged, that is said."""
    try:
        return open_difference(merged, base, default_label(os.fspath(merged)))
    except BadInput as error:
        whole = [source for source in opened if source.format == WHOLE_MODEL]
        if error.slug != "adapter-not-model" or not whole:
            raise
        raise BadInput(
            error.slug,
            "the model comes first and its adapters after it, and here it is the other way round",
            file=error.file,
            expected=error.expected,
            found=error.found,
            fix=f"exchange them: tunescope verify {shlex.quote(whole[0].location)} "
            f"{shlex.quote(os.fspath(merged))} --base {shlex.quote(base.location)}",
        ) from error


def _expected(opened: Sequence[Source], expect: Mapping[str, float]) -> dict[str, float]:
    labels = [source.label for source in opened]
    if unknown := [label for label in expect if label not in labels]:
        raise UsageError(
            "unknown-label",
            f"--expect names {unknown[0]!r}, which no adapter has",
            expected=", ".join(labels),
        )
    return {label: float(expect.get(label, 1.0)) for label in labels}


def _readings(found: Replayed, opened: Sequence[Source]) -> list[Reading]:
    if found.found is None:
        return []
    configs, expected = {source.label: source.config for source in opened}, found.module.expected
    readings = []
    for i, label in enumerate(found.labels):
        members = found.members.get(label, {})
        # Of a sum no scale is known, so no mistake in one either.
        delta = None if members else found.module.deltas[label]
        readings.append(
            Reading(
                label=label,
                component=found.module.component,
                coefficient=float(found.found.values[i]),
                error=float(found.found.errors[i]),
                exact=found.found.exact,
                unexplained=found.found.unexplained,
                below_grid=found.found.below_grid,
                moved=found.moved,
                weight=float(found.weights[i]),
                expected=sum(w * expected[a] for a, w in members.items()) if members else expected[label],
                alpha=delta.alpha if delta else None,
                rank=delta.rank if delta else None,
                scale=delta.scale if delta else None,
                rank_stabilised=bool(configs.get(label, {}).get("use_rslora")),
                members=members,
            )
        )
    return readings


def _rows(found: Replayed, readings: Sequence[Reading]) -> list[dict[str, Any]]:
    keys = _keys(found.module.address, found.module.component)
    silent = found.labels if found.found is None else found.zero
    status = found.status if found.found is None else measure.ZERO
    rows = [keys | {"model_id": label, "verdict": "cannot_tell", "status": status} for label in silent]
    if found.found is None:
        return rows
    return rows + [
        keys
        | {
            "model_id": reading.label,
            "coefficient": finite(reading.coefficient),
            "stderr": finite(reading.error),
            "expected": reading.expected,
            "kept": finite(float(found.found.kept[i])),
            "equal_fraction": finite(found.found.equal_fraction),
            "exact_fraction": finite(found.found.exact) if reading.moved else None,
            "residual_ratio": finite(found.found.residual_ratio),
            "verdict": module_verdict(reading),
            "status": "ok",
        }
        for i, reading in enumerate(readings)
    ]


def _unread_row(gone: Unread) -> dict[str, Any]:
    keys = _keys(gone.address, gone.component)
    return keys | {"model_id": gone.label, "verdict": "cannot_tell", "status": gone.status}


def _keys(address: Address, component: str) -> dict[str, Any]:
    return {
        "stack": address.stack,
        "layer": address.layer,
        "module_type": address.module_type,
        "expert": address.expert,
        "component_name": component,
    }


def _document(
    readings: Sequence[Reading],
    sources: Sequence[Source],
    rows: Sequence[Mapping[str, Any]],
    amiss: Amiss,
) -> dict[str, Any]:
    sums = sums_of_readings(readings)
    summed = {label for reading in sums.values() for label in reading.members}
    # An update of zero tells nothing by itself where its adapter is in a sum elsewhere.
    labels = dict.fromkeys(
        row["model_id"] for row in rows if row["status"] != measure.ZERO or row["model_id"] not in summed
    )
    verdict = judge(readings, tuple(labels), amiss.unread_components)
    said = [*findings(verdict, readings, len(rows), tuple(labels)), *amiss_findings(amiss)]
    said += [noticed(label, notice) for label, notice in notices(sources)]
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict.verdict,
        "coefficients": {
            label: {"value": value, "stderr": error} for label, (value, error) in verdict.coefficients.items()
        },
        "sums": {
            label: dict(reading.members) for label, reading in sums.items() if label in verdict.coefficients
        },
        "causes": list(verdict.causes),
        "differing": list(verdict.differing),
        "changed_elsewhere": list(amiss.elsewhere.changed),
        "modules": len({row["component_name"] for row in rows}),
        "findings": [finding.record() for finding in ordered(said)],
    }
