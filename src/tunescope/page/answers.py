"""The answer card and the trust row: findings as sentences with what they rest on, checks as chips."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunescope.page.markup import Markup, element, joined, minus, name, safe
from tunescope.page.naming import bases_of
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
_LEGEND = (
    "At most five: the strongest of each question, then of all, the strongest first. ",
    Markup('<span class="dots" aria-hidden="true">●●<i>●●●</i></span>'),
    " Two dots: an effect twice the smallest worth saying, which is set beforehand for each kind of sentence "
    "(the threshold under why). Plain facts and changes of the loss have no such size and no dots; a loss is "
    "placed by its size over its error.",
)


def findings_of(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """All findings, warnings first, then the strongest; a text that several studies say stands once."""
    every = {f["text"]: {**f, "tab": part.content.tab} for part in parts for f in part.findings}
    return sorted(every.values(), key=lambda f: (f["severity"] != "warning", -_size(f)))


def _size(finding: Mapping[str, Any]) -> float:
    """The effect in multiples of the smallest worth saying, or else the strength that its question gives."""
    times = _times(finding["evidence"])
    return float(finding["strength"]) if times is None else times


def answer_card(parts: Sequence[Part], findings: Sequence[Mapping[str, Any]]) -> Markup:
    """At most five sentences, the others folded; where nothing was found, what was looked for.

    The strongest of every question is among the five; the rest of them are the strongest of all.
    """
    shown = _first(findings)
    items = [_answer(i, findings[i]) for i in shown]
    legend = element("p", *_LEGEND, class_="legend") if len(items) > 1 else Markup("")
    body = joined(legend, element("ol", *items, class_="answers")) if items else Markup("")
    rest = [i for i in range(len(findings)) if i not in shown]
    quiet = [*(_silence(part) for part in _silent(parts)), *(_others(part) for part in parts)]
    return joined(body, _more(findings, rest, len(shown)), *quiet)


def own_answers(tab: str, parts: Sequence[Part], findings: Sequence[Mapping[str, Any]]) -> Markup:
    """What was found of one question, to stand in its tab; the rest of more than five is folded."""
    mine = [i for i, finding in enumerate(findings) if finding["tab"] == tab]
    items = [_answer(i, findings[i]) for i in mine[:MOST]]
    listed = element("ol", *items, class_="answers") if items else Markup("")
    quiet = [_silence(part) for part in _silent(parts) if part.content.tab == tab]
    quiet += [_others(part) for part in parts if part.content.tab == tab]
    body = joined(listed, _more(findings, mine[MOST:], MOST), *dict.fromkeys(quiet))
    return element("div", body, class_="own") if body else Markup("")


def _first(findings: Sequence[Mapping[str, Any]]) -> list[int]:
    """The places of the sentences shown first, in order: the first of each tab, then the first of all."""
    tabs: dict[str, int] = {}
    for i, finding in enumerate(findings):
        tabs.setdefault(finding["tab"], i)
    leading = list(tabs.values())[:MOST]
    others = [i for i in range(len(findings)) if i not in leading]
    return sorted([*leading, *others[: MOST - len(leading)]])


def _more(findings: Sequence[Mapping[str, Any]], rest: Sequence[int], after: int) -> Markup:
    if not rest:
        return Markup("")
    items = [_answer(i, findings[i]) for i in rest]
    listed = element("ol", *items, class_="answers", start=after + 1)
    return element("details", element("summary", f"{len(rest)} more"), listed, class_="more")


def _silent(parts: Sequence[Part]) -> list[Part]:
    """One part for each study that found nothing and says what it looked for; equal words of two once."""
    quiet = [p for p in parts if p.content.nothing and not any(f["severity"] == "note" for f in p.findings)]
    return list({(part.kind, part.content.nothing): part for part in quiet}.values())


def _silence(part: Part) -> Markup:
    return _quiet(part, part.content.nothing)


def _others(part: Part) -> Markup:
    """What was looked for in the models of which no sentence speaks; nothing where there are none."""
    return _quiet(part, part.content.others) if part.content.others else Markup("")


def _quiet(part: Part, text: str) -> Markup:
    # What stands on no tab of its own (whether to trust a study) has no title there.
    title = next((f"{tab.title} ({part.kind}): " for tab in TABS if tab.key == part.content.tab), None)
    return element("p", element("b", title or f"{part.kind}: "), text, class_="nothing")


def _answer(index: int, finding: Mapping[str, Any]) -> Markup:
    warned = finding["severity"] == "warning"
    lead = element("strong", "Check first: ", class_="lead") if warned else Markup("")
    text = element("p", lead, element("bdi", minus(safe(finding["text"]))), class_="answer")
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
    times = _times(evidence)
    if times is None:
        return Markup("")
    words = f" {times:.1f}× the smallest worth saying"
    return element("span", _dots(times), words, class_="strength")


def _dots(times: float) -> Markup:
    dots = max(1, min(5, math.floor(times)))
    return element("span", "●" * dots, element("i", "●" * (5 - dots)), class_="dots", aria_hidden="true")


def _times(evidence: Mapping[str, Any]) -> float | None:
    """The effect over the smallest worth saying; `None` where it does not reach it or there is none."""
    value, threshold = _positive(evidence.get("value")), _positive(evidence.get("threshold"))
    return None if value is None or threshold is None or value < threshold else value / threshold


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
    pairs = [joined(element("dt", key), element("dd", element("bdi", minus(value)))) for key, value in rows]
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
    p = evidence.get("p")
    if isinstance(p, float):
        yield "p, corrected for all places looked at", f"{p:.2g}"
    if n := known("n"):
        yield "n, independent values tested", n


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
    groups = _grouped(parts, further)
    return element("ul", *(_chip(key, checks) for key, checks in groups.items()), class_="checks")


def _grouped(parts: Sequence[Part], further: Sequence[Check]) -> dict[str, list[Check]]:
    bases = bases_of(parts)
    named = [
        Check(
            "base", "note",
            f"The base is {base}. That adapters were trained on it is tested by `tunescope check`, not here.",
        )
        for base in bases
    ]  # fmt: skip
    groups = {"base": named or [Check("base", "unknown", "No source names its base model.")]}
    for check in (*further, *(c for part in parts for c in (*part.checks, *part.content.checks))):
        groups.setdefault(check.name, []).append(check)
    return groups


def _chip(key: str, checks: Sequence[Check]) -> Markup:
    state = next(s for s in _WORST if any(check.state == s for check in checks))
    sign, words = _STATES[state]
    texts = dict.fromkeys(check.text for check in checks)
    mark = element("span", sign, class_="sign", aria_hidden="true")
    summary = element("summary", mark, element("span", key), element("span", f": {words}", class_="unseen"))
    body = [element("p", element("bdi", minus(text))) for text in texts]
    return element("li", element("details", summary, *body, class_=f"check {state}"))


def told_in_short(parts: Sequence[Part], findings: Sequence[Any], further: Sequence[Check] = ()) -> str:
    """The answers and the checks in one line: how many there are of each state."""
    groups = _grouped(parts, further).values()
    states = [next(s for s in _WORST if any(check.state == s for check in checks)) for checks in groups]
    words = {state: said for state, (_, said) in _STATES.items()} | {"warning": "to check first"}
    counts = [f"{states.count(state)} {words[state]}" for state in _WORST if state in states]
    count = f"{len(findings) or 'no'} sentence{'' if len(findings) == 1 else 's'}"
    return f"The answer: {count}. Can I trust it? {', '.join(counts)}"


def models_line(parts: Sequence[Part], labels: Sequence[str]) -> Markup:
    """A button for every model with its colour and the tabs that have it; pressed means shown."""
    chips = []
    for i, label in enumerate(labels):
        tabs = [tab for tab in TABS if any(p.content.tab == tab.key and label in p.labels for p in parts)]
        chips.append(element(
            "button", element("span", class_=_swatch(i), aria_hidden="true"), name(label, 32),
            type="button", class_="chip", aria_pressed="true", data_model=i,
            data_tabs=" ".join(tab.key for tab in tabs),
            title=f"In {', '.join(tab.title for tab in tabs)}. A press hides it." if tabs else None,
        ))  # fmt: skip
    note = element("span", "dashed: not in this tab", id="absent", class_="small", hidden=True)
    return element("div", *chips, note, class_="chips", role="group", aria_label="Models shown")


def _swatch(place: int) -> str:
    return f"swatch c{place % MODELS}{_ROUNDS[place // MODELS % len(_ROUNDS)]}"
