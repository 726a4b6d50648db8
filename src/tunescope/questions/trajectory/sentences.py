"""Sentences of a trajectory readout: what was looked at where nothing stands out, and how it was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunescope.study.finding import factor, least_found, too_little_known
from tunescope.words import counted, named

# A kind of effect that would have been found, and what is said where none would.
_EFFECTS = (
    ("third", "a third of the layers {}× another in ‖ΔW‖", "thirds of the layers"),
    ("halfway", "a layer that moves first or last by {} of the run", "which layers move first"),
    ("jump", "a jump of {} of the way", "jumps between captures"),
    ("loss", "a training loss that ends {} times its start", "a training loss that ends above its beginning"),
)


def nothing_stands_out(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """What stands in the place of findings where there are none: what would have been found in every run."""
    captures = sorted({run["captures"] for run in runs.values()})
    layers = sorted({run["layers_off_zero"][1] for run in runs.values()})
    who = f"{len(runs)} runs" if len(runs) > 1 else "one run"
    text = f"Nothing stands out in {who} of {_spanned(captures, 'capture')} and {_spanned(layers, 'layer')}."
    seen = [
        words.format(sizes := _sizes(name, known)) + (" (by run)" if " to " in sizes else "")
        for name, words, _ in _EFFECTS
        if (known := _known(runs, name))
    ]
    fell = "" if _known(runs, "loss") else _lower_loss(runs)
    blind = [
        f"{words}{_where(runs, name)}{_why(runs, name)}"
        for name, _, words in (*_EFFECTS, ("still", "", "layers that stop"))
        if _unknown(runs, name) and not (name == "loss" and fell)
    ]
    if seen:
        text += least_found(seen)
    if still := _known(runs, "still"):
        text += f" No layer stands still over the last {max(still):.0%} of the steps."
    if blind:
        text += too_little_known(blind)
    return text + fell


def _lower_loss(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """That losses which cannot be tested ended lower than they began; empty where they did not."""
    ends = [(run.get("loss_first"), run.get("loss_last")) for run in runs.values()]
    if not all(first is not None and last is not None and last < first for first, last in ends):
        return ""
    where = f" in all {len(runs)} runs" if len(runs) > 1 else ""
    return (
        f" The training loss is lower at the last capture than at the first{where}; whether by more than "
        f"noise is not tested{_why(runs, 'loss')}."
    )


def _why(runs: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """In brackets, what keeps an effect from being found in the runs; empty where none of them says."""
    said = [run["unseen"][name] for run in runs.values() if name in run.get("unseen", {})]
    return f" ({named(dict.fromkeys(said), 2)})" if said else ""


def _sizes(effect: str, known: Sequence[float]) -> str:
    """An effect, of several runs as a range where it reads differently in them."""
    low, high = (
        factor(value) if effect in ("third", "loss") else f"{value:.0%}" for value in (min(known), max(known))
    )
    return low if low == high else f"{low}{'×' * (effect == 'third')} to {high}"


def _known(runs: Mapping[str, Mapping[str, Any]], name: str) -> list[float]:
    """The least effect that would have been found in each run that tells of any."""
    return [size for run in runs.values() if (size := run.get("visible", {}).get(name)) is not None]


def _unknown(runs: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """The runs in which no such effect would have been found."""
    return [label for label, run in runs.items() if run.get("visible", {}).get(name) is None]


def _where(runs: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """In which runs an effect cannot be told, nothing where in none."""
    blind = _unknown(runs, name)
    return "" if len(blind) == len(runs) else f" in {named(blind)}"


def _spanned(numbers: Sequence[int], noun: str) -> str:
    """How many things runs have, from the fewest to the most."""
    if len(numbers) < 2:
        return counted(numbers[0] if numbers else 0, noun)
    return f"{numbers[0]} to {counted(numbers[-1], noun)}"


METHODS = (
    "‖ΔW‖ is the Frobenius norm of what training had added to a "
    "weight at a capture, the adapter's scale included; a layer's is √Σ‖ΔW‖² over its weights. Thirds of "
    "the layers: F test, neighbouring layers as alike as the profile shows, and random orders of the layers, "
    "over the kinds of weight that all have. First movers: the steps at which half of the "
    "way from capture to capture is gone (half of ‖ΔW‖ where directions are not known), a layer's kinds of "
    "weight as its replicates. Seams: cosines of neighbouring "
    "captures in every weight, and stretches against their neighbours (t₅). Loss: means of the first and "
    "last part of all logged losses, their noise with its lag-1 correlation; how it ends: the last quarter "
    "against the one before, noise being what a line through both leaves. Profiles: Spearman's correlation "
    "with the number of layers that neighbours are worth, and of changes from layer to layer. p "
    "is multiplied by the number of runs; how often findings are wrong or missed is simulated in "
    "docs/calibration.md."
)
