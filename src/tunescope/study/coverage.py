"""The coverage ledger in words."""

import polars as pl

from tunescope.study.markdown import escaped


def coverage_lines(coverage: pl.DataFrame) -> list[str]:
    """What was read and what was not, per model, as Markdown list items."""
    lines = []
    for label in coverage["model_id"].unique(maintain_order=True).to_list():
        rows = coverage.filter(pl.col("model_id") == label)
        used = rows.filter(pl.col("status") == "used")
        text = f"{used.height} of {rows.height} tensors ({_bytes(used)} of {_bytes(rows)}) are part of a ΔW"
        left = rows.filter(pl.col("status") != "used")
        reasons = left.group_by("reason").len().sort(["len", "reason"], descending=[True, False]).iter_rows()
        rest = "; ".join(f"{count} {escaped(reason)}" for reason, count in reasons)
        lines.append(f"- {escaped(label)}: {text}" + (f"; not used: {rest}." if rest else "."))
    return lines


def _bytes(rows: pl.DataFrame) -> str:
    size = int(rows["bytes"].sum())
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
