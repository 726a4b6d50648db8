"""Why a kind of effect could not have been found in a run: what it lacks, in words."""

from collections.abc import Mapping, Sequence

import polars as pl

from tunescope.measure.depth import LEAST_LAYERS as LAYERS_OF_THIRDS
from tunescope.questions.trajectory.loss import known_losses
from tunescope.questions.trajectory.order import LEAST_CAPTURES, LEAST_KINDS, LEAST_LAYERS, halfway_table
from tunescope.questions.trajectory.seams import LEAST_STRETCHES, SavedState
from tunescope.statistics.series import LEAST_VALUES
from tunescope.words import counted


def why_unseen(
    seen: Mapping[str, float | None],
    updates: pl.DataFrame,
    by_step: pl.DataFrame,
    states: Sequence[SavedState] = (),
) -> dict[str, str]:
    """For every effect of `visible_effects` that is `None`, what keeps it from being found."""
    captures = by_step.height
    series = [rows for _, rows in updates.group_by("run", maintain_order=True)]
    reasons = {
        "third": _few_layers(series, LAYERS_OF_THIRDS) or "layers differ too unevenly",
        "halfway": _few_captures(captures) or _no_order(series),
        "still": _few_captures(captures) or "no capture lies before the last quarter",
        "jump": _no_jump(captures, by_step),
        "loss": _no_rise(by_step, states),
    }
    return {name: reasons[name] for name, size in seen.items() if size is None}


def _few_captures(captures: int) -> str:
    return f"{counted(captures, 'capture')} of {LEAST_CAPTURES} needed" if captures < LEAST_CAPTURES else ""


def _few_layers(series: Sequence[pl.DataFrame], least: int) -> str:
    fewest = min((rows["layer"].drop_nulls().n_unique() for rows in series), default=0)
    return f"{counted(fewest, 'layer')} of {least} needed" if fewest < least else ""


def _no_order(series: Sequence[pl.DataFrame]) -> str:
    shapes = [halfway_table(rows)[1].shape for rows in series]
    layers, kinds = (min((shape[i] for shape in shapes), default=0) for i in (0, 1))
    if layers < LEAST_LAYERS:
        return f"{counted(layers, 'layer')} of {LEAST_LAYERS} needed"
    if kinds < LEAST_KINDS:
        return f"{counted(kinds, 'kind')} of weight in all layers, of {LEAST_KINDS} needed"
    return "the weights of one layer are half-way at steps too far apart"


def _no_jump(captures: int, by_step: pl.DataFrame) -> str:
    if captures <= LEAST_STRETCHES:
        return f"{counted(captures, 'capture')} of {LEAST_STRETCHES + 1} needed"
    if by_step["cosine_to_previous"].drop_nulls().drop_nans().len() < captures - 1:
        return "the directions of ΔW are not known at every capture"
    return "the ways between captures differ too much"


def _no_rise(by_step: pl.DataFrame, states: Sequence[SavedState]) -> str:
    known = known_losses(by_step, states)
    if not known:
        return "no loss is known"
    if known < LEAST_VALUES:
        return f"{counted(known, 'loss', 'losses')} of {LEAST_VALUES} needed"
    return f"{counted(known, 'loss', 'losses')} that scatter too much to test"
