"""The coverage ledger in words."""

import polars as pl

from tunescope.study.markdown import escaped
from tunescope.words import counted, named


def coverage_lines(coverage: pl.DataFrame) -> list[str]:
    """What was read and what was not, as Markdown list items; models with the same share one."""
    said: dict[str, list[str]] = {}
    for label in coverage["model_id"].unique(maintain_order=True).to_list():
        rows = coverage.filter(pl.col("model_id") == label)
        used = rows.filter(pl.col("status") == "used")
        text = (
            f"{used.height} of {counted(rows.height, 'tensor')} ({_bytes(used)} of {_bytes(rows)}) were used"
        )
        left = rows.filter(pl.col("status") != "used")
        reasons = left.group_by("reason").len().sort(["len", "reason"], descending=[True, False]).iter_rows()
        rest = ", ".join(f"{count} ({escaped(reason)})" for reason, count in reasons)
        said.setdefault(text + (f"; not used: {rest}." if rest else "."), []).append(escaped(label))
    return [
        f"- {named(labels, 12)}: {'each ' if len(labels) > 1 else ''}{text}" for text, labels in said.items()
    ]


def _bytes(rows: pl.DataFrame) -> str:
    size = int(rows["bytes"].sum())
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
