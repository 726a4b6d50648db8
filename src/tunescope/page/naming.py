"""Sentences of several studies in one tab: each that names no model begins with the one it is of."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from tunescope.page.markup import shortened
from tunescope.page.panels import Part

# Of more models the names are cut in the middle.
_ROOM = 60


def told_apart(parts: Sequence[Part]) -> list[Part]:
    """The parts, those beside others of their tab with their models named in each of their sentences."""
    checks = [(part.kind, check.text) for part in parts for check in part.content.checks]
    shared = {
        check for check in checks if checks.count(check) == sum(part.kind == check[0] for part in parts)
    }
    return [_named(part, shared) if _beside_others(part, parts) else part for part in parts]


def _beside_others(part: Part, parts: Sequence[Part]) -> bool:
    same = (other for other in parts if other.content.tab == part.content.tab)
    return any(set(other.labels) != set(part.labels) for other in same)


def _named(part: Part, shared: Collection[tuple[str, str]]) -> Part:
    """A part whose sentences name its models, and its checks but those that all of its kind share."""
    content = part.content
    told = replace(
        content,
        sentences=[_of(part.labels, text) for text in content.sentences],
        nothing=_of(part.labels, content.nothing, all),
        others=_of(part.labels, content.others, all),
        checks=[
            check if (part.kind, check.text) in shared else replace(check, text=_of(part.labels, check.text))
            for check in content.checks
        ],
    )
    return replace(part, content=told, findings=[_finding(finding, part) for finding in part.findings])


def _finding(finding: Mapping[str, Any], part: Part) -> dict[str, Any]:
    labels = finding["models"] or part.labels
    return {**finding, "text": _of(labels, finding["text"])}


def _of(labels: Sequence[str], text: str, enough: Callable[[Iterable[bool]], bool] = any) -> str:
    """A sentence with its models in front, unless it is empty or names `enough` of them."""
    if not text or not labels or enough(_names(label, text) for label in labels):
        return text
    return f"{shortened(', '.join(labels), _ROOM)}: {text}"


def _names(label: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(label)}(?![\w-])", text) is not None


def bases_of(parts: Sequence[Part]) -> list[str]:
    """The bases that studies name, each once: a name alone is that of the path beside it that ends so."""
    every = list(dict.fromkeys(part.base for part in parts if part.base))
    return [base for base in every if not any(o != base and PurePath(o).name == base for o in every)]
