"""Markdown that every readout shares: escaping, tables, findings."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunescope.errors import printable


def escaped(text: str) -> str:
    """Text that Markdown and a terminal show as it is.

    >>> escaped("<b>|x*")
    '&lt;b&gt;\\\\|x\\\\*'
    """
    safe = printable(text, 2000).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\`*|[]":
        safe = safe.replace(sign, f"\\{sign}")
    return safe


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table as lines, padded so that it also reads well on a terminal."""
    widths = [max(3, *(len(row[i]) for row in [header, *rows])) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return [line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)]


# More findings than this are folded below the first ones.
FIRST_PAGE = 5


def finding_lines(
    findings: Sequence[Mapping[str, Any]], nothing: str = "Nothing stands out.", most: int = FIRST_PAGE
) -> list[str]:
    """The ordered findings of a document as list items: `most` of them, the rest folded below.

    `nothing` is said where there are none.
    """
    lines = [f"- {_LEAD.get(f['severity'], '')}{escaped(f['text'])}" for f in findings]
    if not lines:
        return [nothing]
    if len(lines) <= most:
        return lines
    fold = f"<details><summary>{len(lines) - most} more</summary>"
    return [*lines[:most], "", fold, "", *lines[most:], "", "</details>"]


_LEAD = {"warning": "**Check first:** "}
