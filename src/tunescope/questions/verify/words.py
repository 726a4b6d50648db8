"""What was read of a merge, in sentences."""

import math
import re
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import polars as pl

from tunescope.linalg.replay import RESOLUTION
from tunescope.questions.verify.presence import (
    absent,
    beside_another_change,
    expectations,
    expected_of,
    heading,
)
from tunescope.questions.verify.reading import Reading, pooled_coefficient
from tunescope.questions.verify.summing import what_sums_are
from tunescope.questions.verify.verdict import CAUSES, UNTOLD, Verdict, left_out, module_verdict
from tunescope.study.coverage import coverage_lines
from tunescope.study.finding import Finding, Severity, listed, significant
from tunescope.study.markdown import escaped, finding_lines, read_line, table
from tunescope.study.study import Study
from tunescope.words import counted, named

METHODS = (
    "The coefficient c of an adapter solves ⟨W′ − W, ΔW⟩ = ⟨round(W + cΔW) − W, ΔW⟩ in every module, with W "
    "the base, W′ the model and the rounding of its numbers: 1 is merged once with the scale that the "
    "adapter states, 0 not at all. Coefficients of all modules are weighted by ‖ΔW‖²; the error is the "
    "largest of their own, of the spread between modules, and of what the merger's rounding may shift, which "
    f"makes it {RESOLUTION:g} at least."
)
_COLUMNS = (
    "coefficient is c in W′ = round(W + c·ΔW), no finer than its standard error; kept is "
    "⟨W′ − W, ΔW⟩/‖ΔW‖², what rounding left of it; exact_fraction is the share of the values that moved "
    "which merging again gives to the bit, n/a where none moved."
)

_TEXTS = {
    "as_expected": "{labels}: merged as expected, in {every}.",
    "not_merged": "{labels}: not merged; in {every} it is missing.",
    "merged_twice": "{labels}: merged twice, in {every}.",
    "other_scale": "{labels}: merged, but with another scale than expected.",
    "partly_merged": "{labels}: merged in some modules and not in others.",
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
    if verdict.verdict == "other_change":
        text = _changed(verdict, readings, labels)
    else:
        text = _opening(verdict, readings, labels, gone, rows)
    if verdict.coefficients and verdict.verdict != "partly_merged":
        text += _coefficients(verdict, expectations(readings))
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


def _coefficients(verdict: Verdict, expected: Mapping[str, float]) -> str:
    """What was read of every adapter, beside what is expected where that is not once."""
    said = any(value != 1 for value in expected.values())
    parts = [
        f"{label} {_with_error(*read)}"
        + (f" ({significant(expected[label])} expected)" if said and label in expected else "")
        for label, read in verdict.coefficients.items()
    ]
    return f" Coefficients: {', '.join(parts)}."


def _changed(verdict: Verdict, readings: Sequence[Reading], labels: Sequence[str]) -> str:
    """Which adapters are in a model that changed otherwise too, and in which modules it did."""
    told = _telling(readings)
    changed = [r.component for r, v in told if v == "other_change"]
    known = beside_another_change(verdict.coefficients, expectations(readings))
    where = _in_modules(changed, told)
    if known:
        return f"{known}something else changed {where}."
    return f"The model changed otherwise than by {listed(labels, 'and')}, in {where}."


def _opening(
    verdict: Verdict, readings: Sequence[Reading], labels: Sequence[str], gone: Sequence[str], rows: int
) -> str:
    if verdict.verdict == "cannot_tell" and verdict.coefficients:
        return f"Whether all of it is as expected cannot be told: {_told(verdict, readings)}."
    if verdict.verdict == "as_expected" and set(labels) <= set(gone):
        return f"{_are_not_in_it(gone)}."
    if lacking := [label for label in _absent(verdict) if label not in gone]:
        there = [label for label in labels if label not in lacking]
        held = f"the model holds {listed(there, 'and')}, not {listed(lacking, 'or')}"
        return f"Of {listed(labels, 'and')}, {held}."
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
    found = absent(verdict.coefficients) if verdict.verdict == "mixture" else []
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
    told = _telling(readings)
    if verdict.verdict == "partly_merged":
        return "".join(_held(label, told) for label in dict.fromkeys(r.label for r, _ in told))
    if verdict.verdict == "mixture" and not _absent(verdict):
        usual = {
            label: median(r.coefficient for r, _ in told if r.label == label)
            for label in dict.fromkeys(r.label for r, _ in told)
        }
        apart = [r.component for r, _ in told if abs(r.coefficient - usual[r.label]) > r.tolerance]
        return _otherwise(apart, told) or f" So it is in {_every(_count(told))}."
    return ""


_Told = Sequence[tuple[Reading, str]]


def _telling(readings: Sequence[Reading]) -> _Told:
    """The readings that tell something, each with its module's verdict."""
    return [(r, v) for r in readings if (v := module_verdict(r)) not in ("below_the_grid", "cannot_tell")]


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
    return f" Otherwise than so in {_in_modules(names, told)}." if names else ""


def _in_modules(names: Sequence[str], told: _Told) -> str:
    """How many modules of those that tell, and which where it is not all."""
    unique = list(dict.fromkeys(names))
    rest = [r.component for r, _ in told if r.component not in set(unique)]
    which = f" ({_those(unique, rest)})" if rest else ""
    return f"{len(unique)} of {_count(told)} modules{which}"


def _those(names: Sequence[str], others: Sequence[str]) -> str:
    """Modules by their kinds, where all of these kinds are meant and none of them is among the others."""
    kinds, rest = ([re.sub(r"L[0-9]+_", "", name) for name in part] for part in (names, others))
    unique = list(dict.fromkeys(kinds))
    if len(names) > _FEW and len(unique) <= _FEW and not set(unique) & set(rest):
        return f"all {listed(unique, 'and')}"
    return named(names)


# As many names as a sentence takes.
_FEW = 4
# As many rows as a readout shows of a table, those that say most against the merge first.
_SHOWN = 12
_FIRST = {"other_change": 0, "merged_twice": 1, "other_scale": 1, "not_merged": 2}


def _with_error(value: float, error: float) -> str:
    return f"{_to_the_digit(value, error)} ± {significant(error, 1)}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    """What the table of modules says of an adapter in one of them."""
    read, error = row["coefficient"], row["stderr"]
    numbers = {name: significant(row[name], 4) for name in ("stderr", "kept", "exact_fraction")}
    numbers["coefficient"] = significant(read) if None in (read, error) else _to_the_digit(read, error)
    return [escaped(str(value)) for value in {**row, **numbers}.values()]


def verify_markdown(study: Study) -> str:
    """The whole readout: the verdict, the coefficients, the modules that differ, coverage."""
    document, rows = study.readout, study.table.frame
    lines = [f"# Is it merged: {escaped(heading(study))}", ""]
    if document["coefficients"]:
        wanted = expected_of(study)
        cells = [
            [
                escaped(label),
                _to_the_digit(c["value"], c["stderr"]),
                significant(c["stderr"], 1),
                significant(wanted.get(label)),
            ]
            for label, c in document["coefficients"].items()
        ]
        header = [
            "adapter",
            "coefficient over all modules",
            f"standard error ({RESOLUTION:g} at least)",
            "expected",
        ]
        lines += [*table(header, cells), ""]
    lines += ["## Findings", "", *finding_lines(document["findings"], nothing="")]
    columns = ["model_id", "component_name", "coefficient", "stderr", "kept", "exact_fraction", "verdict"]
    other = (
        rows.filter(rows["verdict"] != "as_expected")
        .sort(pl.col("verdict").replace_strict(_FIRST, default=len(_FIRST)), maintain_order=True)
        .select(columns)
    )
    if other.height:
        cells = [_cells(row) for row in other.head(_SHOWN).iter_rows(named=True)]
        lines += ["", "## Modules that say otherwise", "", _COLUMNS, "", *table(columns, cells)]
        if other.height > _SHOWN:
            lines.append(f"… {counted(other.height - _SHOWN, 'more row')}")
    if coverage := coverage_lines(study.tables["coverage"].frame):
        lines += ["", "## Coverage", "", *coverage]
    lines += ["", "## Methods", "", escaped(f"{METHODS} {read_line(study.sources)}")]
    return "\n".join(lines) + "\n"
