"""Writes `docs/measures.md` from the schemas of the tables: every number with its formula and unit."""

from collections.abc import Sequence
from pathlib import Path

from tunescope.questions.attribution import summary as attribution
from tunescope.questions.check import study as check
from tunescope.questions.importance import scores as importance
from tunescope.questions.norms import changed, dense
from tunescope.questions.norms import measure as norms
from tunescope.questions.norms import study as similarity
from tunescope.questions.subspace import columns as subspace
from tunescope.questions.trajectory import layers as trajectory
from tunescope.questions.verify import study as verify
from tunescope.source import ledger
from tunescope.table import Schema

PAGE = Path(__file__).parents[1] / "docs" / "measures.md"
OPENING = """# What each number means

`W` is a weight of shape `(d_out, d_in)` as its layer applies it, `ΔW` what fine-tuning added to it, with the
adapter's scale: `s·BA` for LoRA [Hu et al. 2021, arXiv 2106.09685], `s = alpha/r`, or `alpha/√r` for rsLoRA
[Kalajdzievski 2023]. Singular values come from the thin QRs of the factors, never from a product that was
multiplied out; sums are float64. A column that cannot be known is null, never zero.

This page is made from the tables' own schemas (`python -m scripts.make_measures`); the same meanings and
units stand in the metadata of every Parquet file. How often findings are wrong:
[calibration.md](calibration.md).
"""
TABLES: Sequence[tuple[str, str, Schema]] = (
    ("norms", "How much: one row per ΔW of `tunescope norms`.", norms.SCHEMA),
    ("low_rank", "How low rank a change is: one row per weight and k.", dense.LOW_RANK),
    ("similarity_changed", "Which values moved in two whole models.", changed.CHANGED),
    ("similarity", "Two models: one row per pair.", similarity.SIMILARITY),
    ("subspace_summary", "In which directions: one row per pair and ΔW.", subspace.SUMMARY),
    ("subspace", "The φ grids: one row per pair, ΔW, matrix, side, i and j.", subspace.GRID),
    ("amplification", "ΔW against its base.", subspace.AMPLIFICATION),
    ("intruders", "Leading singular vectors of W + ΔW that are strangers to W.", subspace.INTRUDERS),
    ("motion", "When: one row per run, step, weight and factor.", trajectory.published_columns()),
    ("importance", "Does it matter: one row per method and parameter.", importance.SCHEMA),
    ("attribution", "Which changes bought the gain: one row per data set and cell.", attribution.SCHEMA),
    ("attribution_difference", "Two data sets: one row per pair and cell.", attribution.DIFFERENCE),
    ("put_back", "Single weights put back to the base, and measured.", attribution.PUT_BACK),
    ("merge", "Whether an adapter is in a checkpoint.", verify.MERGE),
    ("attach", "Whether an adapter attaches to a base.", check.ATTACH),
    ("coverage", "The ledger: one row per tensor of every file.", ledger.COVERAGE),
)


def page() -> str:
    """The whole page."""
    parts = [OPENING]
    for name, what, schema in TABLES:
        rows = [f"| `{column}` | {_cell(c.meaning)} | {_cell(c.unit)} |" for column, c in schema.items()]
        head = [f"## `{name}`", "", what, "", "| column | meaning | unit |", "|---|---|---|"]
        parts.append("\n".join([*head, *rows]))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
