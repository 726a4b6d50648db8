"""What was read of a merge, in sentences."""

import math
from collections.abc import Sequence

from tunescope.questions.verify.verdict import CAUSES, NEAR, UNTOLD, Reading, Verdict
from tunescope.study.coverage import coverage_lines
from tunescope.study.finding import Finding, Severity, listed, named, significant
from tunescope.study.markdown import escaped, finding_lines, read_line, table
from tunescope.study.study import Study

METHODS = (
    "The coefficient c of an adapter solves ⟨W′ − W, ΔW⟩ = ⟨round(W + cΔW) − W, ΔW⟩ in every module, with W "
    "the base, W′ the model and the rounding of its numbers: 1 is merged once with the scale that the "
    "adapter states, 0 not at all. Coefficients of all modules are weighted by ‖ΔW‖²; the error is the "
    "largest of their own, of the spread between modules, and of what the merger's rounding may shift."
)

_TEXTS = {
    "as_expected": "{labels}: merged as expected, in all {count} modules that tell.",
    "not_merged": "{labels}: not merged; none of the {count} modules that tell holds it.",
    "merged_twice": "{labels}: merged twice, as the {count} modules that tell have it.",
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
    verdict: Verdict, readings: Sequence[Reading], changed: tuple[str, ...], rows: int
) -> list[Finding]:
    """The verdict as a finding, and what changed in weights that no adapter touches."""
    labels = tuple(dict.fromkeys(reading.label for reading in readings)) or ("the adapter",)
    text = _TEXTS[verdict.verdict].format(labels=listed(labels, "and"), count=len(readings) or rows)
    if absent := _absent(verdict):
        there = [label for label in labels if label not in absent]
        text = (
            f"Of {listed(labels, 'and')}, the model holds {listed(there, 'and')}, not {listed(absent, 'or')}."
        )
    if verdict.coefficients:
        text += " Coefficients: " + ", ".join(
            f"{label} {_to_the_digit(value, error)} ± {significant(error, 1)}"
            for label, (value, error) in verdict.coefficients.items()
        )
        text += "."
    text += _cause(verdict) + _where(verdict)
    found = [
        Finding(
            verdict.verdict, text, labels, verdict.differing, severity=_severity(verdict.verdict),
            evidence={
                "coefficients": {label: value for label, (value, _) in verdict.coefficients.items()},
                "stderr": {label: error for label, (_, error) in verdict.coefficients.items()},
                "causes": list(verdict.causes), "n": len(readings),
            },
            strength=1.0,
        )
    ]  # fmt: skip
    if changed:
        text = f"{len(changed)} weights that no adapter touches differ from the base: {named(list(changed))}."
        found.append(Finding("changed_elsewhere", text, labels, changed, evidence={"n": len(changed)}))
    return found


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
    return (
        f" {len(verdict.causes)} known mistakes leave this coefficient; the weights do not tell them apart."
    )


def _where(verdict: Verdict) -> str:
    told = verdict.verdict in ("partly_merged", "other_change", "mixture") and not _absent(verdict)
    if not told or not verdict.differing:
        return ""
    return f" Otherwise than expected: {named(list(verdict.differing))}."


def verify_markdown(study: Study) -> str:
    """The whole readout: the verdict, the coefficients, the modules that differ, coverage."""
    document, rows = study.readout, study.table.frame
    lines = [f"# Is it merged: {document['verdict'].replace('_', ' ')}", ""]
    if document["coefficients"]:
        cells = [
            [escaped(label), significant(c["value"], 4), significant(c["stderr"], 2)]
            for label, c in document["coefficients"].items()
        ]
        lines += [*table(["adapter", "coefficient", "standard error"], cells), ""]
    lines += ["## Findings", "", *finding_lines(document["findings"], nothing="")]
    columns = ["model_id", "component_name", "coefficient", "stderr", "kept", "equal_fraction", "verdict"]
    other = rows.filter(rows["verdict"] != "as_expected").select(columns).head(12)
    if other.height:
        cells = [
            [escaped(str(v)) if isinstance(v, str) else significant(v, 4) for v in row]
            for row in other.iter_rows()
        ]
        lines += ["", "## Modules that say otherwise", "", *table(columns, cells)]
    if coverage := coverage_lines(study.tables["coverage"].frame):
        lines += ["", "## Coverage", "", *coverage]
    lines += ["", "## Methods", "", escaped(f"{METHODS} {read_line(study.sources)}")]
    return "\n".join(lines) + "\n"
