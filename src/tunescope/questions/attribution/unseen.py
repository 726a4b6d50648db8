"""Why a kind of effect could not have been found in the parts of a gain, in words."""

from collections.abc import Mapping

from tunescope.address import Address
from tunescope.questions.attribution.case import FEWEST_SEQUENCES, Case
from tunescope.questions.attribution.shape_findings import (
    FEWEST_KINDS,
    FEWEST_LAYERS,
    family_shift,
    stacks_of,
    third_of,
)
from tunescope.words import counted

# What stands there instead of one of the two.
_ONLY = {
    "mlp": "no attention weight changed",
    "attention": "no MLP weight changed",
}


def why_unseen(case: Case, seen: Mapping[str, float | None]) -> dict[str, str]:
    """For every part of a gain that is `None` in `visible_effects`, what keeps it from being found."""
    reasons = {"third": _third(case), "tilt": _tilt(case), "against": _against(case)}
    return {name: reason for name, reason in reasons.items() if seen[name] is None}


def _third(case: Case) -> str:
    stacks = stacks_of(case.frame)
    if any(third_of(case.frame, stack) is None for stack in stacks) or not stacks:
        return f"fewer than {FEWEST_LAYERS} layers have the same kinds of weight"
    return "what layers do differs too much"


def _tilt(case: Case) -> str:
    kinds = case.frame["module_type"].unique().to_list()
    there = {Address("", 0, kind).family for kind in kinds} & set(_ONLY)
    if len(there) < len(_ONLY):
        return _ONLY[there.pop()] if there else "neither changed"
    stacks = stacks_of(case.frame)
    if not stacks or any(family_shift(case.frame, stack) is None for stack in stacks):
        return f"it takes {FEWEST_KINDS} kinds of each, and three layers that have both"
    return "kinds of one family differ too much"


def _against(case: Case) -> str:
    if case.n < FEWEST_SEQUENCES:
        return f"{counted(case.n, 'sequence')} of {FEWEST_SEQUENCES} needed"
    return "errors of the parts are not known"
