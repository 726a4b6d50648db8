"""Why an integral that did not converge ended where it did, in words."""

from collections.abc import Mapping
from typing import Any

_WORDS = {
    "converged": "the cells no longer change",
    "noise_floor": "what still changes is the rounding noise of {dtype}, which more nodes do not lower",
    "most_nodes": "the cells or their sum still change from one set of nodes to the next",
}


def left_over(summary: Mapping[str, Any]) -> str:
    """The end of a sentence about the sums of one data set.

    >>> left_over({"stopped": "noise_floor", "dtype": "bfloat16"})
    'what still changes is the rounding noise of bfloat16, which more nodes do not lower'
    """
    # Studies of before nested nodes do not say it.
    return _WORDS[summary.get("stopped", "most_nodes")].format(dtype=summary.get("dtype"))
