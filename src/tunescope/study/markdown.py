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


def finding_lines(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The findings of a document as list items, warnings first."""
    if not findings:
        return ["Nothing stands out."]
    ordered = sorted(findings, key=lambda f: f["severity"] != "warning")
    return [f"- **{escaped(f['kind'].replace('_', ' '))}**: {escaped(f['text'])}" for f in ordered]
