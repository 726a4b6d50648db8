"""Which sources a subspace study can compare, and what was noticed about them and their base."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from tunescope.address import Address, as_loaded
from tunescope.delta import Delta
from tunescope.errors import BadInput, Notice, UsageError, printable
from tunescope.measure.refinement import cut_apart, refined
from tunescope.source.checkpoint import BaseCheckpoint
from tunescope.source.ledger import notices
from tunescope.source.opened import Source
from tunescope.study.finding import Finding, noticed, noticed_together


def with_directions(sources: Sequence[Source]) -> list[Source]:
    """The sources with what has directions: of whole models matrices, beside adapters theirs alone.

    What adapters name in parts is cut into these, experts have the names of a loaded model.
    """
    adapted = [d for s in sources for d in s.deltas if d.pair is None]
    return [replace(source, deltas=tuple(_beside(source.deltas, adapted))) for source in sources]


def _beside(deltas: Sequence[Delta], adapted: Sequence[Delta]) -> Iterator[Delta]:
    known = {delta.address for delta in adapted}
    whole = [d for d in deltas if d.pair is not None and min(d.d_out, d.d_in) > 1]
    cut = cut_apart(whole, adapted)
    parts = {part.address for _, part in refined(adapted, cut)}
    yield from (d for d in deltas if d.pair is None)
    for delta in cut:
        address = delta.address if delta.address in known else as_loaded(delta.address)
        if not known or address in known or delta.address in parts:
            yield replace(delta, address=address) if known else delta


def check_comparable(sources: Sequence[Source], against_self: bool) -> None:
    """Refuse sources without directions, a single one, and two that have no weight in common."""
    for source in sources:
        if not source.deltas:
            _refuse_empty(source)
    if len(sources) < 2 and not against_self:
        raise UsageError(
            "one-source",
            "there is nothing to compare with",
            expected="two sources or more",
            found=len(sources),
            fix="name a second one, or use --against-self",
        )
    for a, b in combinations(sources, 2):
        _check_pair(a, b)


def _refuse_empty(source: Source) -> None:
    if source.published is not None:
        raise BadInput(
            "no-directions",
            "a table of norms has no directions to compare",
            file=source.location,
            expected="an adapter, or a whole model with --base",
            fix="name the adapter itself",
        )
    reasons = dict.fromkeys(entry.reason for entry in source.coverage if entry.reason)
    raise BadInput(
        "no-directions",
        "the source gives no update to compare",
        file=source.location,
        expected="weights of which there is a ΔW",
        found="; ".join(list(reasons)[:3]) or "no tensor of a ΔW, or none that was selected",
        fix="see docs/formats.md for what each method needs",
    )


def _check_pair(a: Source, b: Source) -> None:
    if refined(a.deltas, b.deltas):
        return
    theirs = {d.address: (d.d_out, d.d_in) for d in b.deltas}
    common = [d for d in a.deltas if d.address in theirs]
    if not common:
        _refuse_pair(a, b)
    if all(theirs[d.address] != (d.d_out, d.d_in) for d in common):
        shapes = [(f"{d.d_out}×{d.d_in}", "{}×{}".format(*theirs[d.address])) for d in common[:3]]
        raise BadInput(
            "nothing-in-common",
            f"{a.label} and {b.label} belong to different bases: no weight has one shape in both",
            file=b.location,
            tensor=", ".join(d.component_name for d in common[:3]),
            expected=f"{a.label}: {', '.join(mine for mine, _ in shapes)}",
            found=f"{b.label}: {', '.join(other for _, other in shapes)}",
            fix="compare adapters of one base",
        )


def _refuse_pair(a: Source, b: Source) -> None:
    names = [", ".join(printable(_path(d.address)) for d in s.deltas[:3]) for s in (a, b)]
    raise BadInput(
        "nothing-in-common",
        f"{a.label} and {b.label} change no weight in common",
        file=b.location,
        expected=f"{a.label}: {names[0]}",
        found=f"{b.label}: {names[1]}",
        fix=_hint(a, b),
    )


def _path(address: Address) -> str:
    layer = "" if address.layer is None else f"layer {address.layer} "
    return f"{address.stack} {layer}{address.module_type}"


def _hint(a: Source, b: Source) -> str:
    kinds = [{(d.address.stack, d.address.module_type) for d in s.deltas} for s in (a, b)]
    if kinds[0] & kinds[1]:
        return "both change the same modules, but in other layers; name sources that share a layer"
    tails = [{module.rsplit(".", 1)[-1] for _, module in kind} for kind in kinds]
    common = ", ".join(sorted(tails[0] & tails[1])[:4])
    if common:
        return f"both end in {common}: the models lay their blocks out differently"
    return "compare adapters of one base"


def stored_transposed(sources: Sequence[Source]) -> bool:
    """Whether an adapter says that its layers hold their weights as `(d_in, d_out)`."""
    return any(bool(source.config.get("fan_in_fan_out")) for source in sources)


def source_findings(sources: Sequence[Source], base: BaseCheckpoint | None) -> list[Finding]:
    """Everything noticed while reading sources and base, bases of other names included."""
    found = noticed_together(notices(sources))
    bases = {s.label: name for s in sources if (name := _base_name(s))}
    if len({_last(name) for name in bases.values()}) > 1:
        listed = ", ".join(f"{label}: {name}" for label, name in bases.items())
        text = f"The sources name different bases ({listed}); only the shapes are known to fit."
        found.append(Finding("base_name", text, tuple(bases), evidence=bases, severity="warning"))
    if base is None:
        return found
    found += noticed_together(("base", notice) for notice in base.notices)
    for label, name in bases.items():
        if _last(name) != _last(base.spec):
            text = f"it says it was tuned from {name}, the base given is {base.spec}; the shapes fit."
            found.append(noticed(label, Notice("base-name", text)))
    return found


def _base_name(source: Source) -> str | None:
    name = source.config.get("base_model_name_or_path")
    return name if isinstance(name, str) and name else None


def _last(name: str) -> str:
    return Path(name.split("@")[0].rstrip("/")).name.lower()
