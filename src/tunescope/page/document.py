"""The page: parts of studies become one HTML file, its script and style allowed by their hashes alone."""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import PurePath
from string import Template
from typing import Any

import polars as pl

from tunescope.address import kinds_in_order
from tunescope.page.answers import (
    answer_card,
    findings_of,
    models_line,
    own_answers,
    told_in_short,
    trust_row,
)
from tunescope.page.appendix import appendix
from tunescope.page.markup import Markup, element, joined, minus, name, shortened
from tunescope.page.merging import ambiguous, merged
from tunescope.page.naming import bases_of, told_apart
from tunescope.page.packing import packed
from tunescope.page.panels import Data, Part
from tunescope.page.tabs import TABS, TabText, invitation
from tunescope.version import __version__

# More describing sentences than this are folded.
_FEW = 6


def page(parts: Sequence[Part], *, title: str = "", about: str = "") -> str:
    """One HTML document that needs nothing from outside; equal parts give equal text."""
    labels = list(dict.fromkeys(label for part in parts for label in part.labels))
    parts = told_apart(sorted(parts, key=_place))
    findings = findings_of(parts)
    shown = merged(parts)
    data, panels = _collected(shown)
    document = {
        "version": __version__,
        "models": labels,
        "kinds": [part.kind for part in parts],
        "order": kinds_in_order(_kinds_of_weight(data)),
        "panels": panels,
        "findings": [_meant(finding) for finding in findings],
    }
    further = ambiguous(parts)
    script, style = built("page.js"), built("page.css")
    return Template(built("page.html")).substitute(
        policy=_policy(script, style),
        title=element("title", f"{title or shortened(', '.join(labels), 60)} · tunescope"),
        style=style,
        script=script,
        heading=_heading(parts, labels, title, about),
        header=_header(parts, labels),
        short=element("summary", told_in_short(parts, findings, further)),
        answers=answer_card(parts, findings),
        trust=trust_row(parts, further),
        tabs=joined(*(_tab(tab, panels) for tab in TABS)),
        panes=_panes(parts, panels, findings),
        checks=_figures("trust", panels),
        appendix=appendix(parts, data, [part.kind for part in shown]),
        data=packed(document, data),
    )


def _meant(finding: Mapping[str, Any]) -> dict[str, Any]:
    """What the script needs to lead to the cells of a finding: of which models, and on which measure."""
    keys = ("models", "components", "step", "tab", "text")
    each = {
        models: own["cells"]
        for models, own in (finding["evidence"].get("each") or {}).items()
        if isinstance(own, Mapping) and isinstance(own.get("cells"), list)
    }
    statistic = finding["evidence"].get("statistic")
    return {key: finding[key] for key in keys} | {"each": each or None, "statistic": statistic}


def _place(part: Part) -> tuple[int, bool]:
    """Parts stand in the order of the tabs; in one tab what was gained comes before what it consists of."""
    keys = [tab.key for tab in TABS]
    tab = part.content.tab
    gained = any(panel.name == "gain" for panel in part.content.panels)
    return keys.index(tab) if tab in keys else len(keys), not gained


def _kinds_of_weight(data: Mapping[str, Data]) -> Iterator[str]:
    """Every text of the columns that maps may have as an axis of kinds of weight."""
    for item in data.values():
        for column in {"module_type", "parameter"} & set(item.frame.columns):
            yield from item.frame[column].drop_nulls().cast(pl.String).unique()


def built(file: str) -> str:
    """A file of the page that was built from the sources in `web/` and ships with the package."""
    return (files("tunescope.page") / "built" / file).read_text(encoding="utf-8")


def _policy(script: str, style: str) -> str:
    """Nothing but this script and this style, pictures that the page itself makes, and no connection."""
    allowed = {"script-src": script, "style-src": style}
    hashed = "; ".join(f"{kind} 'sha256-{_digest(text)}'" for kind, text in allowed.items())
    return f"default-src 'none'; {hashed}; img-src data: blob:; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _collected(parts: Sequence[Part]) -> tuple[dict[str, Data], list[dict[str, Any]]]:
    """Data and panels of all parts under names of their own."""
    data: dict[str, Data] = {}
    panels: list[dict[str, Any]] = []
    kinds = [part.kind for part in parts]
    for i, part in enumerate(parts):
        data |= {f"{i}.{key}": item for key, item in part.content.data.items()}
        for panel in part.content.panels:
            taken = any(record["id"] == panel.name for record in panels)
            identity = f"{panel.name}-{i + 1}" if taken else panel.name
            record = asdict(panel) | {"id": identity, "data": f"{i}.{panel.data}"}
            if kinds.count(part.kind) > 1:
                record["title"] += f" ({shortened(', '.join(part.labels), 40)})"
            panels.append(record)
    return data, panels


def _heading(parts: Sequence[Part], labels: Sequence[str], title: str, about: str) -> Markup:
    """What the page is about: as it was given, or else the base and the number of models."""
    bases = bases_of(parts)
    base = f" {PurePath(bases[0]).name}" if len(bases) == 1 else ""
    told = title or (
        f"Where did fine-tuning change{base}?" if base else f"What changed in {_count(len(labels))}"
    )
    lines = element("p", element("bdi", about), class_="about") if about else Markup("")
    return joined(element("h1", element("bdi", told)), lines)


def _header(parts: Sequence[Part], labels: Sequence[str]) -> Markup:
    bases = bases_of(parts)
    facts = [_models(len(labels), parts), *(joined("base ", name(base)) for base in bases), *_facts(parts)]
    shown = [element("span", fact, class_="fact") for fact in facts]
    return joined(element("div", *shown, class_="facts"), models_line(parts, labels))


def _models(count: int, parts: Sequence[Part]) -> str:
    apart = len({tuple(sorted(set(part.labels))) for part in parts}) > 1
    return f"{_count(count)}{' in all' if apart else ''}"


def _count(models: int) -> str:
    return f"{models} model{'s' * (models != 1)}"


def _facts(parts: Sequence[Part]) -> Iterator[Markup]:
    """Of each tab how many models it has, where tabs have others, and what was measured of them."""
    labels = {part.content.tab: dict[str, None]() for part in parts}
    for part in parts:
        labels[part.content.tab] |= dict.fromkeys(part.labels)
    apart = len({frozenset(own) for own in labels.values()}) > 1
    for tab in TABS:
        mine = [part for part in parts if part.content.tab == tab.key and part.content.about]
        about = Counter(", ".join(part.content.about) for part in mine)
        each = "; ".join(text if n == 1 else f"{n} studies of {text}" for text, n in about.items())
        said = [_count(len(labels[tab.key]))] if apart and tab.key in labels else []
        if text := ", ".join([*said, *([each] if each else [])]):
            yield joined(element("b", f"{tab.title}: "), element("span", text))


def _tab(tab: TabText, panels: Sequence[Mapping[str, Any]]) -> Markup:
    run = any(panel["tab"] == tab.key for panel in panels)
    return element(
        "button", tab.title, type="button", role="tab", id=f"tab-{tab.key}", aria_controls=f"pane-{tab.key}",
        aria_selected="false", class_=None if run else "unrun", data_tab=tab.key,
    )  # fmt: skip


def _panes(
    parts: Sequence[Part], panels: Sequence[Mapping[str, Any]], findings: Sequence[Mapping[str, Any]]
) -> Markup:
    """All tabs. Above the first that was run stand all answers; the others begin with their own."""
    run = [tab.key for tab in TABS if any(panel["tab"] == tab.key for panel in panels)]
    own = {key: own_answers(key, parts, findings) for key in run[1:]}
    return joined(*(_pane(tab, parts, panels, own.get(tab.key, Markup(""))) for tab in TABS))


def _pane(
    tab: TabText, parts: Sequence[Part], panels: Sequence[Mapping[str, Any]], answers: Markup
) -> Markup:
    mine = [part for part in parts if part.content.tab == tab.key]
    heading = element("h2", tab.title, element("small", tab.asks))
    sentences = [text for part in mine for text in part.content.sentences]
    cautions = dict.fromkeys(part.content.caution for part in mine if part.content.caution)
    warned = joined(*(element("p", text, class_="caution") for text in cautions))
    body = _figures(tab.key, panels) or _unrun(tab, parts)
    return element(
        "section", heading, answers, _sentences(sentences), warned, body, id=f"pane-{tab.key}", class_="pane",
        role="tabpanel", aria_labelledby=f"tab-{tab.key}", data_pane=tab.key,
    )  # fmt: skip


def _sentences(texts: Sequence[str]) -> Markup:
    """What describes without a test; more than a few are folded."""
    items = [element("li", element("bdi", minus(text))) for text in texts]
    listed = element("ul", *items[:_FEW], class_="sentences") if items else Markup("")
    if len(items) <= _FEW:
        return listed
    rest = element("ul", *items[_FEW:], class_="sentences")
    return joined(listed, element("details", element("summary", f"{len(items) - _FEW} more"), rest))


def _figures(tab: str, panels: Sequence[Mapping[str, Any]]) -> Markup:
    places = [(i, panel) for i, panel in enumerate(panels) if panel["tab"] == tab]
    return joined(
        *(
            element(
                "figure", element("h3", panel["title"]), element("div", class_="body"),
                element("figcaption", panel["caption"]), class_="panel", id=f"panel-{panel['id']}",
                data_panel=i,
            )
            for i, panel in places
        )
    )  # fmt: skip


def _unrun(tab: TabText, parts: Sequence[Part]) -> Markup:
    sources = {str(s.get("location")): s for part in parts for s in part.sources}
    base = next((part.base for part in parts if part.base), None)
    command = invitation(tab, list(sources.values()), base)
    return element(
        "div", element("p", "This was not run for this page. The command that answers it:"),
        element("div", element("code", command), element("button", "copy", type="button", class_="copy"),
                class_="command"),
        element("p", "Then one page of both: ", element("code", "tunescope report STUDY… -o report.html")),
        class_="invitation",
    )  # fmt: skip
