"""The losses of a base and of its tuned model, and their difference, as they are written in a sentence."""

import math
from collections.abc import Mapping
from typing import Any

# More digits behind the point than these are never written, nor are these where no error is known.
_MOST, _USUAL = 8, 4


def written(summary: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Loss of the base, of the tuned model, size of the change and its error, in nats per token.

    All have as many digits behind the point: about two of the error, so many that the written losses
    subtract to the written change.

    >>> written({"base_loss": 2.371724, "tuned_loss": 1.6994324, "gain": 0.6722915, "gain_stderr": 0.0543})
    ('2.37', '1.70', '0.67', '0.05')
    """
    losses = summary["base_loss"], summary["tuned_loss"]
    gain, error = abs(summary["gain"]), summary["gain_stderr"] or 0.0
    digits = _digits(error)
    tried = [n for n in (digits, digits - 1, digits + 1, digits + 2, digits + 3) if 0 <= n <= _MOST]
    chosen = next((n for n in tried if _subtract(*losses, gain, n)), tried[0])
    base, tuned, size, spread = (f"{value:.{chosen}f}" for value in (*losses, gain, error))
    return base, tuned, size, spread


def _digits(error: float) -> int:
    """Digits behind the point that two digits of an error have."""
    if not math.isfinite(error) or error <= 0:
        return _USUAL
    return min(max(1 - math.floor(math.log10(error)), 0), _MOST)


def _subtract(base: float, tuned: float, gain: float, digits: int) -> bool:
    """Whether rounded losses differ by the rounded change, which is not rounded away."""
    shown = round(gain, digits)
    return abs(abs(round(base, digits) - round(tuned, digits)) - shown) < 0.5 * 10**-digits and shown > 0
