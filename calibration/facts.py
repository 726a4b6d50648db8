"""Kinds of finding that are not simulated: what is read, counted, or told with its own error.

Every other kind has scenarios in which it is not true and ones in which it is; a test holds the kinds that
commands declare to that.
"""

from collections.abc import Mapping

_EQUAL = "values are equal bit by bit"
_ZERO = "an update is exactly zero"
_NOT_FINITE = "a value is NaN or infinite"
_NAMES = "names and shapes of the file are held against those of the base"
_MEASURED = "a number that was measured is told with the bound it passes"

FACTS: Mapping[str, Mapping[str, str]] = {
    "norms": {
        "duplicate": _EQUAL,
        "frozen": _EQUAL,
        "unchanged": _EQUAL,
        "untrained": _ZERO,
        "non_finite": _NOT_FINITE,
        "nothing_in_common": "models have no weight of one name and shape",
        "not_attached": _NAMES,
    },
    "subspace": {
        "duplicate": _EQUAL,
        "frozen": _EQUAL,
        "untrained": _ZERO,
        "non_finite": _NOT_FINITE,
    },
    "trajectory": {"unchanged": _EQUAL},
    "importance": {
        "uniform_norms": _MEASURED,
        "size_explains_map": _MEASURED,
        "not_understood": "a parameter could not be scored, and why",
        "without_gradient": "the gradient of a parameter is exactly zero",
    },
    "attribute": {
        "not_converged": _MEASURED,
        "not_attributed": "a changed tensor has no part in the sum, and why",
    },
    "check": {
        "duplicate": _EQUAL,
        "untrained": _ZERO,
        "non_finite": _NOT_FINITE,
        "half_saved": "a factor is there without the other",
        "not_judged": "a method starts from numbers that are not known",
        "rank_mismatch": "the rank of the tensors is held against the config's",
        "left_out_by_config": "names are held against the config's rules of targets",
        **dict.fromkeys(
            (
                "not_attached", "names_of_the_loader", "targets_absent", "experts_out_of_range",
                "vocabulary_resized", "other_architecture", "wrong_depth", "wrong_width",
            ),
            _NAMES,
        ),
    },
    "verify": {
        "untrained": _ZERO,
        "changed_elsewhere": "values are not equal to the base's bit by bit",
        "non_finite": _NOT_FINITE,
        "missing": _NAMES,
        "incomparable": _NAMES,
        "unread": _NAMES,
        "below_the_grid": "the replay of the merge moves no value",
        "cannot_tell": "no error of a coefficient is small enough, which is told",
    },
}  # fmt: skip
