"""Does the training loss of a run still fall at its end? Its last quarter against the quarter before."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tunescope.questions.trajectory.loss import logged_losses
from tunescope.questions.trajectory.seams import SavedState
from tunescope.source.training_run import CAPTURED
from tunescope.statistics.series import LEAST_ENDING, ending
from tunescope.study.finding import significant
from tunescope.words import named

# Told is a change of at least this share of the loss, with this p over all runs of the study.
SHARE, ALPHA = 0.01, 0.02
_VERDICTS = {"falls": "still fell", "rises": "rose again"}


def loss_ending(
    by_step: pl.DataFrame, states: Sequence[SavedState] = (), runs: int = 1
) -> dict[str, Any] | None:
    """Mean losses of a run's last two quarters, the error of their difference, and what that tells.

    `p` is multiplied by the `runs` of the study; `verdict` is `falls`, `rises` or `not_told`. `None` where
    fewer than twelve finite losses were logged.
    """
    values = np.array(list(logged_losses(by_step, states).values()), dtype=np.float64)
    found = ending(values[np.isfinite(values)])
    if found is None:
        return None
    change, p = found.last - found.before, min(found.p * runs, 1.0)
    told = p <= ALPHA and abs(change) >= SHARE * abs(found.before)
    return {
        "before": found.before,
        "last": found.last,
        "change": change,
        "stderr": found.error,
        "p": p,
        "n": found.n,
        "verdict": ("falls" if change < 0 else "rises") if told else "not_told",
    }


def ending_words(ended: Mapping[str, Any]) -> str:
    """What the last two quarters of one run say, as part of a sentence.

    >>> told = {"before": 2.5, "last": 2.4, "change": -0.1, "stderr": 0.01, "p": 0.001, "verdict": "falls"}
    >>> ending_words(told)
    'its last quarter is 4.0% below the quarter before, by 0.1 ± 0.01: it still fell (p 0.001)'
    """
    change = ended["change"]
    side = "below" if change < 0 else "above"
    share = abs(change) / abs(ended["before"]) if ended["before"] else 0.0
    size = f"{100 * share:.1f}% {side} the quarter before"
    over = f" over {ended['n']} losses" if "n" in ended else ""
    error = f"by {significant(abs(change), 2)} ± {significant(ended['stderr'], 2)}{over}"
    verdict = _VERDICTS.get(ended["verdict"])
    so = f"it {verdict} (p {significant(ended['p'], 1)})" if verdict else _untold(ended)
    return f"its last quarter is {size}, {error}: {so}"


def _untold(ended: Mapping[str, Any]) -> str:
    """Why a change of the loss is not told: by chance, or too small to be worth a word."""
    if ended["p"] > ALPHA:
        chance = "1" if ended["p"] >= 1 else significant(ended["p"], 1)
        return f"not told from noise, as p is {chance}, corrected for all runs, and {ALPHA:g} is asked"
    return f"level, as a change below {SHARE:.0%} of the loss counts as none"


def endings_sentence(runs: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Which runs' losses still fell at their end, which rose, and of which that cannot be told."""
    known = {label: run["loss_ending"] for label, run in runs.items() if run.get("loss_ending")}
    if not known:
        few = {k: run for k, run in runs.items() if run["loss_last"] is not None and run.get("losses")}
        return _too_few(few) if few else None
    groups: dict[str, list[str]] = {}
    for label, ended in known.items():
        groups.setdefault(ended["verdict"], []).append(label)
    told = [f"it {words} in {named(groups[key])}" for key, words in _VERDICTS.items() if key in groups]
    if "not_told" in groups:
        labels = groups["not_told"]
        every = f"all {len(labels)} runs" if len(labels) == len(known) > 1 else named(labels)
        told.append(f"in {every} whether it still fell or rose is not told{_nearest(known, labels)}")
    return f"Training loss, last quarter against the quarter before: {'; '.join(told)}."


def _too_few(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """That the known losses are too few to tell how any run ends, how many they are, and where they stand."""
    counts = sorted({run["losses"] for run in runs.values()})
    known = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    captured = {run["order"] == CAPTURED for run in runs.values()}
    places = {True: "in the capture, which has those of its own steps", False: "in the trainer's log"}
    whose = places[captured.pop()] if len(captured) == 1 else "in the captures and logs"
    return (
        f"Training loss at the end: {known} {'loss is' if counts[-1] == 1 else 'losses are'} {whose}; "
        f"whether it still fell is told from {LEAST_ENDING} on."
    )


def _nearest(known: Mapping[str, Mapping[str, Any]], labels: Sequence[str]) -> str:
    """Of several runs of which nothing is told, the one that comes nearest to it."""
    if len(labels) < 2:
        return ""
    label = min(labels, key=lambda each: known[each]["p"])
    ended = known[label]
    if ended["p"] >= 1:
        return ""
    side = "fell" if ended["change"] < 0 else "rose"
    share = abs(ended["change"]) / abs(ended["before"]) if ended["before"] else 0.0
    chance = f"p {significant(ended['p'], 1)} where {ALPHA:g} is asked"
    return f" (nearest: {label}, which {side} by {share:.1%}, {chance})"
