"""Sentences of a trajectory readout: what was looked at where nothing stands out, and how it was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunescope.questions.trajectory.loss import LOSS_RATIO
from tunescope.questions.trajectory.order import HALFWAY_SPREAD, LEAST_CAPTURES
from tunescope.questions.trajectory.plateau import SHARE
from tunescope.questions.trajectory.seams import JUMP_SHARE, LEAST_STRETCHES


def nothing_stands_out(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """What stands in the place of findings where there are none, with the smallest effects worth saying."""
    captures = sorted({run["captures"] for run in runs.values()})
    layers = sorted({run["layers_off_zero"][1] for run in runs.values()})
    who = f"{len(runs)} runs" if len(runs) > 1 else "one run"
    text = f"Nothing stands out in {who} of {_span(captures)} captures and {_span(layers)} layers."
    text += _third([run.get("visible_third") for run in runs.values()])
    if captures and captures[-1] < LEAST_CAPTURES:
        return f"{text} Fewer than {LEAST_CAPTURES} captures do not tell which layers move first or stop."
    few = bool(captures) and captures[-1] <= LEAST_STRETCHES
    jump = "" if few else f", a jump of {JUMP_SHARE:.0%} of the way"
    return (
        f"{text} Looked for were layers that move first by {HALFWAY_SPREAD:.0%} of the run or stand still "
        f"for the last {SHARE:.0%} of it{jump}, and a loss that ends {LOSS_RATIO:g} times above its start."
    )


def _third(seen: Sequence[float | None]) -> str:
    """How far thirds of the layers had to lie apart to be found, in the run where least is seen."""
    known = [ratio for ratio in seen if ratio is not None]
    if not known or len(known) < len(seen):
        return " Too few layers, or too unlike ones, to tell of their thirds."
    return (
        f" A third of the layers {max(known):.2f}× another in ‖ΔW‖ would have been found nine times in ten."
    )


def _span(numbers: Sequence[int]) -> str:
    if not numbers:
        return "0"
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


METHODS = (
    "‖ΔW‖ is the Frobenius norm of what training had added to a "
    "weight at a capture, the adapter's scale included; a layer's is √Σ‖ΔW‖² over its weights. Thirds of "
    "the layers: F test and random orders of the layers, over the kinds of weight that all have. First "
    "movers: half-way steps, a layer's kinds of weight as its replicates. Seams: cosines of neighbouring "
    "captures in every weight, and stretches against their neighbours (t₅). Loss: means of the first and "
    "last part of all logged losses, their noise with its lag-1 correlation. Profiles: Spearman's "
    "correlation with the number of layers that neighbours are worth, and of changes from layer to layer. p "
    "is multiplied by the number of runs; how often findings are wrong or missed is simulated in "
    "docs/calibration.md."
)
