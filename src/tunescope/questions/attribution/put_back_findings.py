"""Does the map predict what single cells do? The largest cells and the random ones each for themselves."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from tunescope.linalg.ranks import spearman
from tunescope.questions.attribution.case import Case
from tunescope.study.finding import Finding, Severity, significant
from tunescope.words import counted

# From this rank correlation on, in each half, the map predicts single cells.
AGREES = 0.5
# A correlation that chance gives more often than this is none; below this many cells there is none at all.
LEVEL, FEWEST = 0.05, 5
# From this share of cells on whose sign is clearly the other one, the map is contradicted.
CONTRADICTED = 0.5
_DRAWS = 4000


def put_back(case: Case, rows: pl.DataFrame) -> Iterable[Finding]:
    """One finding: whether attributed and measured effects agree, among the largest and among random cells.

    Agreement takes both halves: a correlation over all cells is high as soon as the large cells are larger
    than the random ones.
    """
    if not rows.height:
        return
    halves = {which: _half(rows.filter(pl.col("chosen") == which)) for which in ("largest", "random")}
    parts = [_words(which, half) for which, half in halves.items() if half["cells"]]
    large = rows.filter(pl.col("chosen") == "largest")
    wrong = _contradicted(large, case.n)
    kind, severity, verdict = _verdict(halves, wrong, large.height)
    if not case.clear and severity == "note":
        # Parts of a change that may be none: what agrees here is these texts' own.
        kind, verdict = "put_back", "The gain is not told from none: this holds of these texts alone."
    ratio = _slope(rows)
    text = (
        f"{counted(rows.height, 'weight was', 'weights were')} put back to the "
        f"base one at a time and the loss on {case.data} "
        f"measured: {'; '.join(parts)}. {verdict}{_redundant(ratio)}"
    )
    known = [half["p"] for half in halves.values() if half["p"] is not None]
    evidence = case.evidence(
        "Spearman of measured with attributed effect", {w: h["spearman"] for w, h in halves.items()},
        null="ranks exchanged, in each half", p=max(known) if len(known) == 2 else None,
        threshold={"spearman": AGREES, "p": LEVEL, "contradicted": CONTRADICTED}, halves=halves,
        contradicted=wrong, slope_measured_on_attributed=ratio,
    )  # fmt: skip
    yield Finding(kind, text, (case.model,), tuple(large["component_name"].to_list()), evidence=evidence,
                  severity=severity, strength=1.0 if severity == "warning" else 0.5)  # fmt: skip


def _half(rows: pl.DataFrame) -> dict[str, Any]:
    attributed, measured = rows["attribution"].to_numpy(), rows["measured"].to_numpy()
    found: dict[str, Any] = {"cells": rows.height, "spearman": None, "p": None, "same_sign": None}
    if rows.height:
        found["same_sign"] = int((np.sign(attributed) == np.sign(measured)).sum())
    if rows.height >= 3:
        rho = spearman(attributed, measured)
        found["spearman"] = rho if np.isfinite(rho) else None
    if rows.height >= FEWEST and found["spearman"] is not None:
        found["p"] = _exchanged(attributed, measured, found["spearman"])
    return found


def _exchanged(x: Any, y: Any, rho: float) -> float:
    """How often exchanged ranks correlate as much."""
    a, b = stats.rankdata(x), stats.rankdata(y)
    orders = np.random.default_rng(len(a)).permuted(np.tile(b, (_DRAWS, 1)), axis=1)
    drawn = (orders - b.mean()) @ (a - a.mean()) / (len(a) * a.std() * b.std())
    return float((1 + (drawn >= rho - 1e-9).sum()) / (1 + _DRAWS))


def _words(which: str, half: dict[str, Any]) -> str:
    name = f"the {half['cells']} largest" if which == "largest" else f"{half['cells']} random ones"
    rho = "no rank correlation" if half["spearman"] is None else f"Spearman {half['spearman']:.2f}"
    return f"{rho} among {name}, {half['same_sign']} of them with the sign attributed"


def _contradicted(rows: pl.DataFrame, n: int) -> int:
    """How many measured effects are clearly of the other sign: t over sequences, Bonferroni over cells."""
    if not rows.height or n < FEWEST:
        return 0
    edge = float(stats.t.isf(0.05 / rows.height, n - 1))
    other = -rows["measured"] * rows["attribution"].sign()
    return int((other > edge * rows["measured_stderr"].fill_null(float("inf"))).sum())


def _verdict(halves: dict[str, dict[str, Any]], wrong: int, largest: int) -> tuple[str, Severity, str]:
    if largest and wrong >= CONTRADICTED * largest:
        return "attribution_disagrees", "warning", "Most of the largest clearly do the opposite."
    if min(half["cells"] for half in halves.values()) < FEWEST:
        return "put_back", "note", f"Fewer than {FEWEST} on a side are too few to judge the map by."
    agree = {
        which: half["p"] is not None and half["p"] <= LEVEL and half["spearman"] >= AGREES
        for which, half in halves.items()
    }
    if all(agree.values()):
        return "attribution_agrees", "note", "So the map predicts single weights, large and small."
    if agree["random"] or agree["largest"]:
        no = "the largest" if agree["random"] else "random ones"
        return "put_back", "note", f"So the map does not tell the order among {no}."
    return "put_back", "note", "So the map does not tell the order of single weights."


def _slope(rows: pl.DataFrame) -> float | None:
    attributed, measured = rows["attribution"].to_numpy(), rows["measured"].to_numpy()
    square = float(attributed @ attributed)
    return float(attributed @ measured) / square if square else None


def _redundant(ratio: float | None) -> str:
    if ratio is None or not 0 <= ratio < 0.5:
        return ""
    times = f"{significant(ratio, 2)} times the attributed"
    return f" Measured effects are {times}: the others make up for a weight that is put back."
