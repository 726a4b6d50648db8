"""The answer card and the trust row: findings as sentences with what they rest on, checks as chips."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunescope.page.markup import Markup, element, joined, name, safe
from tunescope.page.panels import Check, Part
from tunescope.page.tabs import TABS

# More sentences than this are folded below the first ones.
MOST = 5
# Colours of the style sheet that tell models apart; after as many, lines are dashed and swatches square, then
# dotted and on their tips.
MODELS, _ROUNDS = 24, ("", " again1", " again2")
_STATES = {"good": ("✓", "fine"), "note": ("i", "worth knowing"), "warning": ("!", "check first"),
           "unknown": ("?", "not known")}  # fmt: skip
_WORST = ("warning", "unknown", "note", "good")


def findings_of(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """All findings, warnings first, then the strongest; a text that several studies say stands once."""
    every = {f["text"]: {**f, "tab": part.content.tab} for part in parts for f in part.findings}
    return sorted(every.values(), key=lambda f: (f["severity"] != "warning", -f["strength"]))


def answer_card(parts: Sequence[Part], findings: Sequence[Mapping[str, Any]]) -> Markup:
    """At most five sentences, the others folded; where nothing was found, what was looked for."""
    items = [_answer(i, finding) for i, finding in enumerate(findings)]
    told = {part.content.tab for part in parts if any(f["severity"] == "note" for f in part.findings)}
    titles = {tab.key: tab.title for tab in TABS}
    contents = [(part.kind, part.content) for part in parts]
    quiet = [
        # What stands on no tab of its own (whether to trust a study) has no title there.
        (f"{titles[c.tab]} ({kind}): " if c.tab in titles else f"{kind}: ", c.nothing)
        for kind, c in contents
        if c.nothing and c.tab not in told
    ]
    body = element("ol", *items[:MOST], class_="answers") if items else Markup("")
    if len(items) > MOST:
        summary = element("summary", f"{len(items) - MOST} more")
        more = element("ol", *items[MOST:], class_="answers", start=MOST + 1)
        body = joined(body, element("details", summary, more, class_="more"))
    lines = (element("p", element("b", lead), text, class_="nothing") for lead, text in dict.fromkeys(quiet))
    silent = joined(*lines)
    return joined(body, silent)


def _answer(index: int, finding: Mapping[str, Any]) -> Markup:
    warned = finding["severity"] == "warning"
    lead = element("strong", "Check first: ", class_="lead") if warned else Markup("")
    text = element("p", lead, element("bdi", safe(finding["text"])), class_="answer")
    extras = [Markup("") if warned else _strength(finding["evidence"])]
    if finding["components"] or finding["models"]:
        count = len(finding["components"])
        words = f"show {count} cell{'s' if count > 1 else ''}" if count else "show"
        extras.append(element("a", words, href=f"#tab={finding['tab']}&mark={index}", class_="show"))
    why = element("details", element("summary", "why"), _why(finding), class_="why")
    line = element("div", *extras, why, class_="beside")
    return element("li", text, line, class_="warned" if warned else None, data_finding=index)


def _strength(evidence: Mapping[str, Any]) -> Markup:
    """How many times the smallest effect worth saying a finding's effect is, as dots and a number.

    Nothing where there is no such effect: a fact, an equivalence, a threshold that must not be reached.
    """
    value, threshold = _positive(evidence.get("value")), _positive(evidence.get("threshold"))
    if value is None or threshold is None or value < threshold:
        return Markup("")
    times = value / threshold
    dots = max(1, min(5, math.floor(times)))
    meter = element("span", "●" * dots, element("i", "●" * (5 - dots)), class_="dots", aria_hidden="true")
    return element("span", meter, f" {times:.1f}× the threshold", class_="strength",
                   title="how many times the smallest effect worth saying")  # fmt: skip


def _positive(number: object) -> float | None:
    known = isinstance(number, int | float) and math.isfinite(number) and number > 0
    return float(number) if known else None  # type: ignore[arg-type]


def _why(finding: Mapping[str, Any]) -> Markup:
    rows = list(_tested(finding["evidence"]))
    if finding["models"]:
        rows.append(("models", ", ".join(finding["models"])))
    if finding["components"]:
        rows.append(("cells", _few(finding["components"])))
    if finding["step"] is not None:
        rows.append(("step", f"{finding['step']:,}"))
    pairs = [joined(element("dt", key), element("dd", element("bdi", value))) for key, value in rows]
    return element("dl", *pairs)


def _tested(evidence: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a finding rests on, in words; every further number of it stands in the study's readout."""

    def known(key: str) -> str | None:
        value = evidence.get(key)
        return value_text(value) if isinstance(value, str | int | float) else None

    statistic, value = known("statistic"), known("value")
    if statistic and value:
        yield "measured", f"{statistic}: {value}"
    elif statistic or value:
        yield "measured", str(statistic or value)
    if threshold := known("threshold"):
        yield "threshold", threshold
    if null := known("null"):
        yield "tested against", null
    if p := known("p"):
        yield "p, corrected for all places looked at", p
    if n := known("n"):
        yield "n", n


def _few(names: Sequence[str], most: int = 24) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def value_text(value: Any) -> str:
    """A value of the evidence: a number with four digits, a text as it is.

    >>> value_text(0.00012346), value_text(12), value_text("F test")
    ('0.0001235', '12', 'F test')
    """
    if isinstance(value, bool) or not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return f"{value:.4g}"


def trust_row(parts: Sequence[Part], further: Sequence[Check] = ()) -> Markup:
    """One chip for each check, the worst state of all studies, with the words of each in a fold.

    `further` are checks of the page as a whole.
    """
    bases = dict.fromkeys(part.base for part in parts if part.base)
    named = [Check("base", "good", f"The base is {base}.") for base in bases]
    groups = {"base": named or [Check("base", "unknown", "No source names its base model.")]}
    for check in (*further, *(c for part in parts for c in (*part.checks, *part.content.checks))):
        groups.setdefault(check.name, []).append(check)
    return element("ul", *(_chip(key, checks) for key, checks in groups.items()), class_="checks")


def _chip(key: str, checks: Sequence[Check]) -> Markup:
    state = next(s for s in _WORST if any(check.state == s for check in checks))
    sign, words = _STATES[state]
    texts = dict.fromkeys(check.text for check in checks)
    mark = element("span", sign, class_="sign", aria_hidden="true")
    summary = element("summary", mark, element("span", key), element("span", f": {words}", class_="unseen"))
    body = [element("p", element("bdi", text)) for text in texts]
    return element("li", element("details", summary, *body, class_=f"check {state}"))


def models_line(parts: Sequence[Part], labels: Sequence[str]) -> Markup:
    """A button for every model with its colour; pressed means shown."""
    del parts
    chips = [
        element(
            "button", element("span", class_=_swatch(i), aria_hidden="true"), name(label, 32),
            type="button", class_="chip", aria_pressed="true", data_model=i,
        )
        for i, label in enumerate(labels)
    ]  # fmt: skip
    return element("div", *chips, class_="chips", role="group", aria_label="Models shown")


def _swatch(place: int) -> str:
    return f"swatch c{place % MODELS}{_ROUNDS[place // MODELS % len(_ROUNDS)]}"
