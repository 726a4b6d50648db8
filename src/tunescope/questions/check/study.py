"""`tunescope.check`: adapters opened, described, and held against a base."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from typing import Any

import polars as pl

from tunescope.delta import Delta, Pending
from tunescope.questions.check.attach import against, places, spelled
from tunescope.questions.check.base import BaseNames, base_names, header_bytes
from tunescope.questions.check.findings import attach_findings, config_findings, deep_findings, rank_findings
from tunescope.questions.check.names import STORED, scale_rule
from tunescope.questions.check.place import Place
from tunescope.questions.check.question import QUESTION
from tunescope.questions.check.targets import target_findings
from tunescope.questions.check.twins import same_updates
from tunescope.questions.check.values import value_findings
from tunescope.reader import describing
from tunescope.source.base_shapes import BaseHeaders
from tunescope.source.digest import provenance
from tunescope.source.ledger import coverage, notices
from tunescope.source.open import open_headers, open_sources
from tunescope.source.opened import Source
from tunescope.source.selection import chosen_sources, spelled_sources
from tunescope.source.with_base import without_magnitudes
from tunescope.study.finding import Finding, noticed_together, ordered
from tunescope.study.study import Study, asked
from tunescope.table import SCHEMA_VERSION, Column, Schema, Table, described, dtypes

_EXPECTED = (
    "d_out × d_in of the layer that the module changes; a factor's by the config where its rank differs"
)
ATTACH: Schema = {
    "model_id": Column(pl.String, "label of the adapter"),
    "stack": Column(pl.String, "tower of the model"),
    "layer": Column(pl.Int64, "index of the block, null outside blocks"),
    "module_type": Column(pl.String, "module path within the block"),
    "expert": Column(pl.Int64, "index of the expert, null where there is none"),
    "component_name": Column(pl.String, "short name, unique within the model"),
    "weight": Column(
        pl.String, "the weight that the module changes, as the base calls it where it was found"
    ),
    "status": Column(pl.String, "attached, missing or shape_differs; null without a base"),
    "expected_shape": Column(pl.String, _EXPECTED),
    "found_shape": Column(
        pl.String, "shape that the base stores; that of the file's factor where its rank differs"
    ),
    "scale": Column(pl.Float64, "s in ΔW = s·BA, null where unknown"),
    "scale_rule": Column(pl.String, "what the scale follows from"),
    "remedy": Column(pl.String, "what would make the module attach"),
}


def check(
    *sources: Any,
    base: Any = None,
    scale: Mapping[str, float] | None = None,
    deep: bool = False,
) -> Study:
    """Say what adapter files are, and with a `base` whether every module meets a weight that it fits.

    Headers alone are read, of the sources and of the base (a folder, a file or a hub id); `deep` reads the
    values too and adds what is untrained, not finite or doubled. `study.table` has one row per module.
    Raises as `open_source`.
    """
    arguments = asked(locals()) | {"base": None if base is None else str(base)}
    named = None if base is None else cache(partial(base_names, base))
    with describing():
        opened = chosen_sources(sources, scale, None, None, _opener(deep, named))
    arguments["sources"] = spelled_sources(sources, opened)
    held = None if named is None else named()
    met = {} if held is None else {source.label: against(source, held) for source in opened}
    found = {s.label: met[s.label][0] if s.label in met else places(s, None) for s in opened}
    table = Table(_frame(opened, found, scale or {}), "attach", {"columns": described(ATTACH)})
    findings = _noticed(opened, found, beside_base=held is not None)
    for source in opened:
        findings += rank_findings(source.label, found[source.label])
        findings += config_findings(source.label, found[source.label])
        if source.label in met:
            findings += attach_findings(
                source.label, *met[source.label], source.config.get("base_model_name_or_path")
            )
            findings += target_findings(source, *met[source.label])
        if deep:
            findings += deep_findings(source)
            findings += value_findings(source, [p.wanted for p in found[source.label] if p.fault != "half"])
    findings += same_updates(opened) if deep else ()
    document = _readout(opened, found, held, findings, deep)
    header = None if deep else header_bytes
    origins = [
        provenance(s.label, s.location, s.format, s.files, header=header, ranged=s.ranged) for s in opened
    ]
    return Study(QUESTION, {"attach": table, "coverage": coverage(opened)}, document, arguments, origins)


def _noticed(
    opened: Sequence[Source], found: Mapping[str, Sequence[Place]], *, beside_base: bool
) -> list[Finding]:
    """What was noticed while reading; ranks that differ have a finding of their own, and a base that is
    there is not asked for.
    """
    lacking = ((source.label, notice) for source in opened for notice in without_magnitudes(source))
    told = {label for label, of in found.items() if any(place.fault == "rank" for place in of)}
    return noticed_together(
        (label, notice)
        for label, notice in chain(notices(opened), lacking)
        if not (notice.slug == "rank-mismatch" and label in told)
        and not (notice.slug == "needs-base" and beside_base)
    )


def _opener(deep: bool, named: Callable[[], BaseNames] | None) -> Callable[..., list[Source]]:
    base = None if named is None else lambda: BaseHeaders(named().shapes, named().config)
    return partial(open_sources, base=base, pending=True) if deep else partial(open_headers, base=base)


def _frame(
    opened: Sequence[Source], found: Mapping[str, Sequence[Place]], scales: Mapping[str, float]
) -> pl.DataFrame:
    rows = []
    for source in opened:
        for place in found[source.label]:
            one, address = place.wanted, place.wanted.address
            scale = None if one.delta is None else one.delta.scale
            rule = STORED if one.whole else scale_rule(one.delta, source, scales.get(source.label))
            rule = "none: half saved" if place.fault == "half" else rule
            rows.append((
                source.label, address.stack, address.layer, address.module_type, address.expert,
                one.component_name, place.weight, place.status,
                spelled(place.expected or one.shape), spelled(place.found), scale, rule, place.remedy or None,
            ))  # fmt: skip
    return pl.DataFrame(rows, schema=dtypes(ATTACH), orient="row")


def _readout(
    opened: Sequence[Source],
    found: Mapping[str, Sequence[Place]],
    held: BaseNames | None,
    findings: Sequence[Finding],
    deep: bool,
) -> dict[str, Any]:
    models = {source.label: _model(source, found[source.label], held is not None, deep) for source in opened}
    return {
        "schema_version": SCHEMA_VERSION,
        "base": None
        if held is None
        else {"location": held.location, "weights": len(held.shapes), "bytes_read": held.bytes_read},
        "attaches": held is None or all(m["attached"] == m["modules"] for m in models.values()),
        "models": models,
        "findings": [finding.record() for finding in ordered(findings)],
    }


def _model(source: Source, found: Sequence[Place], against_base: bool, deep: bool) -> dict[str, Any]:
    """What one file is, and how much of it attaches."""
    deltas, config = source.deltas, source.config
    made: list[Delta | Pending] = [*deltas, *source.pending]
    counts = Counter(place.status for place in found)
    size = sum(path.stat().st_size for path in source.files)
    used = [entry for entry in source.coverage if entry.status == "used"]
    return {
        "format": source.format,
        "methods": sorted({one.method for one in made} or _stated_method(config)),
        "ranks": sorted({one.rank for one in made if one.rank is not None}),
        "targets": sorted({place.wanted.address.module_type for place in found}),
        "targets_named": config.get("target_modules"),
        "dtypes": sorted({entry.dtype for entry in (used or source.coverage)}),
        "scales": sorted({delta.scale for delta in deltas if delta.scale is not None}),
        "scale_unknown": sum(delta.scale is None for delta in deltas),
        "tuner_version": config.get("peft_version"),
        "base_named": config.get("base_model_name_or_path"),
        "tensors": len(source.coverage),
        "left_over": dict(Counter(e.reason for e in source.coverage if e.status != "used")),
        "modules": len(found),
        "attached": counts["attached"] if against_base else None,
        "missing": counts["missing"] if against_base else None,
        "shape_differs": counts["shape_differs"] if against_base else None,
        "bytes": size + sum(f.size for f in source.ranged),
        "bytes_read": (size if deep else sum(map(header_bytes, source.files)))
        + sum(f.bytes_read for f in source.ranged),
    }


def _stated_method(config: Mapping[str, Any]) -> set[str]:
    """The method by its config, where the file alone has no update of a weight."""
    return {str(config["peft_type"]).lower()} if "peft_type" in config else set()
