"""What was read of a merge, in sentences."""

import math
import re
from collections.abc import Sequence
from statistics import median

from tunescope.questions.verify.reading import NEAR, Reading, pooled_coefficient
from tunescope.questions.verify.summing import what_sums_are
from tunescope.questions.verify.verdict import CAUSES, UNTOLD, Verdict, left_out, module_verdict
from tunescope.study.coverage import coverage_lines
from tunescope.study.finding import Finding, Severity, listed, named, significant
from tunescope.study.markdown import escaped, finding_lines, read_line, table
from tunescope.study.study import Study
from tunescope.words import counted

METHODS = (
    "The coefficient c of an adapter solves ⟨W′ − W, ΔW⟩ = ⟨round(W + cΔW) − W, ΔW⟩ in every module, with W "
    "the base, W′ the model and the rounding of its numbers: 1 is merged once with the scale that the "
    "adapter states, 0 not at all. Coefficients of all modules are weighted by ‖ΔW‖²; the error is the "
    "largest of their own, of the spread between modules, and of what the merger's rounding may shift."
)

_TEXTS = {
    "as_expected": "{labels}: merged as expected, in {every}.",
    "not_merged": "{labels}: not merged; in {every} it is missing.",
    "merged_twice": "{labels}: merged twice, in {every}.",
    "other_scale": "{labels}: merged, but with another scale than expected.",
    "partly_merged": "{labels}: merged in some modules and not in others.",
    "other_change": "The model changed otherwise than by {labels}.",
    "mixture": "The model holds a mixture of {labels}, with other coefficients than expected.",
    "below_the_grid": (
        "Nothing can be told: a merge of {labels} would move no value, since ΔW is smaller than half a step "
        "between the numbers of the file."
    ),
    "cannot_tell": (
        "Nothing can be told of {labels}: no module could be replayed with a standard error of at most "
        f"{UNTOLD:g}."
    ),
}


def findings(
    verdict: Verdict, readings: Sequence[Reading], rows: int, of: Sequence[str] = ()
) -> list[Finding]:
    """The verdict on the adapters `of` as a finding."""
    every = tuple(dict.fromkeys(reading.label for reading in readings)) or tuple(of) or ("the adapter",)
    gone = [label for label in left_out(readings) if label in verdict.coefficients]
    labels = tuple(label for label in every if label not in gone) or every
    text = _opening(verdict, readings, labels, gone, rows)
    if verdict.coefficients and verdict.verdict != "partly_merged":
        text += " Coefficients: " + ", ".join(
            f"{label} {_with_error(value, error)}" for label, (value, error) in verdict.coefficients.items()
        )
        text += "."
        text += what_sums_are([r for r in readings if r.label in verdict.coefficients])
    text += _cause(verdict)
    if gone and len(gone) < len(every):
        text += f" {_are_not_in_it(gone)}."
    text += _where(verdict, readings)
    return [
        Finding(
            verdict.verdict, text, every, verdict.differing, severity=_severity(verdict.verdict),
            evidence={
                "coefficients": {label: value for label, (value, _) in verdict.coefficients.items()},
                "stderr": {label: error for label, (_, error) in verdict.coefficients.items()},
                "causes": list(verdict.causes), "n": len(readings),
            },
            strength=1.0,
        )
    ]  # fmt: skip


def _opening(
    verdict: Verdict, readings: Sequence[Reading], labels: Sequence[str], gone: Sequence[str], rows: int
) -> str:
    if verdict.verdict == "cannot_tell" and verdict.coefficients:
        return f"Whether all of it is as expected cannot be told: {_told(verdict, readings)}."
    if verdict.verdict == "as_expected" and set(labels) <= set(gone):
        return f"{_are_not_in_it(gone)}."
    if absent := [label for label in _absent(verdict) if label not in gone]:
        there = [label for label in labels if label not in absent]
        return (
            f"Of {listed(labels, 'and')}, the model holds {listed(there, 'and')}, not {listed(absent, 'or')}."
        )
    count = len({reading.component for reading in readings}) or rows
    return _TEXTS[verdict.verdict].format(labels=listed(labels, "and"), every=_every(count))


def _are_not_in_it(labels: Sequence[str]) -> str:
    return f"{listed(labels, 'and')} {'is' if len(labels) == 1 else 'are'} not in it, as expected"


def _told(verdict: Verdict, readings: Sequence[Reading]) -> str:
    """How far a merge is as expected of which a part tells nothing."""
    labels = list(verdict.coefficients)
    mine = [(r.component, module_verdict(r)) for r in readings if r.is_of(labels)]
    count = len({component for component, v in mine if v == "as_expected"})
    if not count:
        told = len({component for component, v in mine if v not in ("cannot_tell", "below_the_grid")})
        return f"of {counted(len(dict(mine)), 'module')} only {told} {'tells' if told == 1 else 'tell'}"
    are = "is" if len(labels) == 1 else "are"
    rest = (
        f", but not so {named(verdict.differing)}" if verdict.differing else ", but not every adapter tells"
    )
    return f"{listed(labels, 'and')} {are} so in {counted(count, 'module')}{rest}"


def _absent(verdict: Verdict) -> list[str]:
    """Which adapters of a mixture are not in it; none where none is."""
    if verdict.verdict != "mixture":
        return []
    known = verdict.coefficients.items()
    found = [label for label, (value, error) in known if abs(value) <= max(3 * error, NEAR)]
    return found if len(found) < len(verdict.coefficients) else []


def _to_the_digit(value: float, error: float) -> str:
    """A coefficient no finer than its error's first digit."""
    if not error > 0:
        return significant(value)
    return significant(round(value, max(-math.floor(math.log10(error)), 0)) + 0.0, 4)


def _severity(verdict: str) -> Severity:
    return "note" if verdict == "as_expected" else "warning"


def _cause(verdict: Verdict) -> str:
    if verdict.verdict == "merged_twice" or not verdict.causes:
        return ""
    if len(verdict.causes) == 1:
        return f" That is the coefficient of one known mistake: {CAUSES[verdict.causes[0]]}."
    known = listed([CAUSES[cause] for cause in verdict.causes], "or")
    return f" Mistakes that would leave it: {known}; the weights do not tell which."


def _where(verdict: Verdict, readings: Sequence[Reading]) -> str:
    """In which modules an adapter is, or in which the whole does not hold."""
    told = [(r, v) for r in readings if (v := module_verdict(r)) not in ("below_the_grid", "cannot_tell")]
    if verdict.verdict == "partly_merged":
        return "".join(_held(label, told) for label in dict.fromkeys(r.label for r, _ in told))
    if verdict.verdict == "other_change":
        return _otherwise([r.component for r, v in told if v == "other_change"], told)
    if verdict.verdict == "mixture" and not _absent(verdict):
        usual = {
            label: median(r.coefficient for r, _ in told if r.label == label)
            for label in dict.fromkeys(r.label for r, _ in told)
        }
        apart = [r.component for r, _ in told if abs(r.coefficient - usual[r.label]) > r.tolerance]
        return _otherwise(apart, told) or f" So it is in {_every(_count(told))}."
    return ""


_Told = Sequence[tuple[Reading, str]]


def _count(told: _Told) -> int:
    return len({r.component for r, _ in told})


def _every(count: int) -> str:
    return "the one module that tells" if count == 1 else f"all {counted(count, 'module')} that tell"


def _held(label: str, told: _Told) -> str:
    """In which modules one adapter is, with which coefficient, and in which it is not."""
    its = [(r, v) for r, v in told if r.label == label]
    held, absent = ([r for r, v in its if (v == "not_merged") is gone] for gone in (False, True))
    if not held:
        return f" {label} is in none of {len(its)} modules."
    where = f"all {len(its)}" if not absent else f"{len(held)} of {len(its)}"
    pooled = pooled_coefficient(held)
    size = f" with coefficient {_with_error(*pooled)}" if pooled else ""
    names = [[r.component for r in part] for part in (held, absent)]
    which = f" ({_those(*names)})" if absent else ""
    rest = f", not in {len(absent)} ({_those(names[1], names[0])})" if absent else ""
    return f" {label} is in {where} modules{which}{size}{rest}."


def _otherwise(names: Sequence[str], told: _Told) -> str:
    unique = list(dict.fromkeys(names))
    if not unique:
        return ""
    rest = [r.component for r, _ in told if r.component not in set(unique)]
    which = f" ({_those(unique, rest)})" if rest else ""
    return f" Otherwise than so in {len(unique)} of {_count(told)} modules{which}."


def _those(names: Sequence[str], others: Sequence[str]) -> str:
    """Modules by their kinds, where all of these kinds are meant and none of them is among the others."""
    kinds, rest = ([re.sub(r"L[0-9]+_", "", name) for name in part] for part in (names, others))
    unique = list(dict.fromkeys(kinds))
    if len(names) > _FEW and len(unique) <= _FEW and not set(unique) & set(rest):
        return f"all {listed(unique, 'and')}"
    return named(names)


# As many names as a sentence takes.
_FEW = 4
# As many rows as a readout shows of a table.
_SHOWN = 12


def _with_error(value: float, error: float) -> str:
    return f"{_to_the_digit(value, error)} ± {significant(error, 1)}"


def verify_markdown(study: Study) -> str:
    """The whole readout: the verdict, the coefficients, the modules that differ, coverage."""
    document, rows = study.readout, study.table.frame
    lines = [f"# Is it merged: {document['verdict'].replace('_', ' ')}", ""]
    if document["coefficients"]:
        cells = [
            [escaped(label), _to_the_digit(c["value"], c["stderr"]), significant(c["stderr"], 1)]
            for label, c in document["coefficients"].items()
        ]
        lines += [*table(["adapter", "coefficient over all modules", "standard error"], cells), ""]
    lines += ["## Findings", "", *finding_lines(document["findings"], nothing="")]
    columns = ["model_id", "component_name", "coefficient", "stderr", "kept", "exact_fraction", "verdict"]
    other = rows.filter(rows["verdict"] != "as_expected").select(columns)
    if other.height:
        cells = [
            [escaped(str(v)) if isinstance(v, str) else significant(v, 4) for v in row]
            for row in other.head(_SHOWN).iter_rows()
        ]
        lines += ["", "## Modules that say otherwise", "", *table(columns, cells)]
        if other.height > _SHOWN:
            lines.append(f"… {counted(other.height - _SHOWN, 'more row')}")
    if coverage := coverage_lines(study.tables["coverage"].frame):
        lines += ["", "## Coverage", "", *coverage]
    lines += ["", "## Methods", "", escaped(f"{METHODS} {read_line(study.sources)}")]
    return "\n".join(lines) + "\n"
