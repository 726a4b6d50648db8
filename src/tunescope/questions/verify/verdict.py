"""From coefficients to words: what each module says, what all together say, and what may be the cause."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunescope.questions.verify.reading import NEAR, Reading, pooled_coefficients

# A standard error above this tells nothing: three of them would hide a quarter more or less.
UNTOLD = 0.08
# The replay explains a module where this share of the moved values comes out equal (within a step says little
# of a ΔW far below one), or where this share of ‖W' − W‖² is left.
EQUAL, UNEXPLAINED = 0.9, 0.02
# A cause must fit in this share of the modules.
FITTING = 0.9
# These verdicts are on all modules: given only where ones with this share of an adapter's ‖ΔW‖² tell.
_OF_ALL, TOLD = ("as_expected", "not_merged", "merged_twice"), 0.9
VERDICTS = (
    "as_expected", "not_merged", "merged_twice", "other_scale", "partly_merged", "other_change", "mixture",
    "below_the_grid", "cannot_tell",
)  # fmt: skip
CAUSES: Mapping[str, str] = {
    "twice": "it was merged twice",
    "alpha_over_r_left_out": "alpha/r was left out",
    "rank_taken_for_alpha": "the rank was taken for alpha",
    "rslora": "alpha/r and alpha/√r were confused (rsLoRA)",
    "half_strength": "it was merged at half strength",
    "subtracted": "it was subtracted instead of added",
}


def module_verdict(reading: Reading) -> str:
    """One of `VERDICTS`, for one adapter in one module."""
    if reading.below_grid and not reading.moved and reading.expected != 0:
        return "below_the_grid"
    if not _explained(reading):
        return "other_change"
    if not reading.error <= UNTOLD:
        return "cannot_tell"
    if abs(reading.coefficient - reading.expected) <= reading.tolerance:
        return "as_expected"
    if abs(reading.coefficient) <= reading.tolerance:
        return "not_merged"
    return "merged_twice" if module_causes(reading) == ["twice"] else "other_scale"


def _explained(reading: Reading) -> bool:
    # Where no value moved there is nothing to explain, though a coefficient just off zero may move a few.
    if not reading.moved or reading.unexplained is None:
        return True
    return reading.exact >= EQUAL or reading.unexplained <= UNEXPLAINED


def module_causes(reading: Reading) -> list[str]:
    """Every explanation whose coefficient lies within the tolerance of the one that was read."""
    return [
        name
        for name, value in explanations(reading).items()
        if abs(reading.coefficient - value) <= reading.tolerance
    ]


def explanations(reading: Reading) -> dict[str, float]:
    """The coefficient that each known mistake leaves, for this module's alpha and r; none known of a sum.

    >>> explanations(Reading("a", "Q", 2, 0, 1, 0, False, True, 1, alpha=8, rank=16, scale=0.5))["twice"]
    2.0
    """
    if reading.members:
        return {}
    found = {"twice": 2.0, "half_strength": 0.5, "subtracted": -1.0}
    scale, rank = reading.scale, reading.rank
    if scale and rank:
        root = math.sqrt(rank)
        found["alpha_over_r_left_out"] = 1 / scale
        found["rank_taken_for_alpha"] = (root if reading.rank_stabilised else 1.0) / scale
        found["rslora"] = 1 / root if reading.rank_stabilised else root
    return {name: value for name, value in found.items() if abs(value - reading.expected) > NEAR}


@dataclass(frozen=True)
class Verdict:
    """The answer: `verdict`, pooled `coefficients` (value, standard error), and what may be the `causes`.

    `differing` are the components whose own verdict is not the one expected of them.
    """

    verdict: str
    coefficients: Mapping[str, tuple[float, float]]
    causes: tuple[str, ...]
    differing: tuple[str, ...]


def judge(readings: Sequence[Reading], of: Sequence[str] = (), unread: Sequence[str] = ()) -> Verdict:
    """The verdict on a whole model from what every module says of every adapter.

    `of` are the labels of all adapters, `unread` components of which something could not be looked for: where
    an adapter or a component tells nothing, the rest cannot make the whole as expected.
    """
    verdicts = [module_verdict(reading) for reading in readings]
    told = [
        (r, v) for r, v in zip(readings, verdicts, strict=True) if v not in ("below_the_grid", "cannot_tell")
    ]
    labels = list(dict.fromkeys(reading.label for reading in readings))
    coefficients = pooled_coefficients([r for r, _ in told])
    if not told:
        verdict = "below_the_grid" if "below_the_grid" in verdicts else "cannot_tell"
        return Verdict(verdict, {}, (), ())
    by_label = {label: [v for r, v in told if r.label == label] for label in labels}
    gone = left_out(readings)
    here = [(r, v) for r, v in told if r.label not in gone] or told
    verdict = _together(here)
    causes = _causes([r for r, v in told if v in ("other_scale", "merged_twice")]) if verdict in (
        "other_scale", "merged_twice"
    ) else ()  # fmt: skip
    if verdict == "other_scale" and causes == ("twice",) and all(_is_twice(r, v) for r, v in here):
        verdict = "merged_twice"
    differing = tuple(dict.fromkeys([*(r.component for r, v in told if v != "as_expected"), *unread]))
    silent = unread or any(not by_label.get(label) for label in of)
    in_part = verdict in _OF_ALL and not _mostly_told(readings, verdicts)
    if in_part or (verdict == "as_expected" and silent):
        verdict, causes = "cannot_tell", ()
        untold = (r.component for r, v in zip(readings, verdicts, strict=True) if v == "cannot_tell")
        differing = tuple(dict.fromkeys([*differing, *untold]))
    return Verdict(verdict, coefficients, causes, differing)


def _is_twice(reading: Reading, verdict: str) -> bool:
    """Whether merging twice explains a module, where for its own alpha and r another mistake may too."""
    return verdict in ("merged_twice", "other_scale") and "twice" in module_causes(reading)


def _mostly_told(readings: Sequence[Reading], verdicts: Sequence[str]) -> bool:
    """Whether what tells nothing is a small part of every adapter that tells at all.

    Weights that a merge would not move are no such part: they are alike either way.
    """
    whole = dict.fromkeys((reading.label for reading in readings), 0.0)
    untold = dict(whole)
    for reading, verdict in zip(readings, verdicts, strict=True):
        whole[reading.label] += reading.weight
        untold[reading.label] += reading.weight * (verdict == "cannot_tell")
    return all(untold[label] <= (1 - TOLD) * whole[label] or untold[label] == whole[label] for label in whole)


def left_out(readings: Sequence[Reading]) -> tuple[str, ...]:
    """The labels of adapters that should not be in the model and are not, in any module that tells."""
    labels = dict.fromkeys(r.label for r in readings if r.expected == 0)
    verdicts = {
        label: {module_verdict(r) for r in readings if r.label == label} - {"cannot_tell"} for label in labels
    }
    return tuple(label for label, found in verdicts.items() if found == {"as_expected"})


def _together(told: Sequence[tuple[Reading, str]]) -> str:
    """One verdict for all modules of all adapters."""
    by_label: dict[str, set[str]] = {}
    for reading, verdict in told:
        by_label.setdefault(reading.label, set()).add(verdict)
    every = set().union(*by_label.values())
    if "other_change" in every:
        return "other_change"
    if len(every) == 1:
        same = every.pop()
        return "mixture" if same == "other_scale" and len(by_label) > 1 else same
    # Each adapter alike in all of its modules, but one otherwise than another.
    if len(by_label) > 1 and all(len(found) == 1 for found in by_label.values()):
        return "mixture"
    if "not_merged" in every and _in_part(told):
        return "partly_merged"
    return "mixture" if len(by_label) > 1 else "other_scale"


def _in_part(told: Sequence[tuple[Reading, str]]) -> bool:
    """Whether an adapter is in some modules by another coefficient than in those that it is not in."""
    for label in dict.fromkeys(r.label for r, _ in told):
        mine = [(r, v == "not_merged") for r, v in told if r.label == label]
        absent, there = ([r for r, gone in mine if gone is which] for which in (True, False))
        if not absent or not there:
            continue
        least = min(absent, key=lambda r: abs(r.coefficient) + r.tolerance)
        most = max(there, key=lambda r: abs(r.coefficient) - r.tolerance)
        if abs(least.coefficient - most.coefficient) > math.hypot(least.tolerance, most.tolerance):
            return True
    return False


def _causes(readings: Sequence[Reading]) -> tuple[str, ...]:
    fitting = [module_causes(reading) for reading in readings]
    return tuple(c for c in CAUSES if sum(c in found for found in fitting) >= FITTING * len(fitting))
