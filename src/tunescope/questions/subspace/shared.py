"""How many directions two updates share on one side, beyond what random subspaces would."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunescope.linalg import chance, overlap
from tunescope.linalg.overlap import excess
from tunescope.linalg.placement import Placed

Float64 = NDArray[np.float64]

# Leading directions are looked at up to this share of the space: beyond it chance fills too much.
_LEADING = 8
# Leading directions are shared when φ(k, k) lies this far above chance.
_MOST = 0.5
# A count counts below this probability by chance; findings correct it for the places looked at.
_ALPHA = 1e-3
# Directions in common at cos² 0.9 are seen as long as the level lies no higher.
_SEEN = 0.92


@dataclass(frozen=True, slots=True)
class Shared:
    """Directions in common beyond chance with their standard deviation under chance, and the p of chance.

    `count` is `None` where it cannot be told, as the spans fill the space so far that chance comes as near.
    `leading` is the k whose φ(k, k) says most, with its excess; `None` where none lies above chance.
    """

    count: int | None
    deviation: float
    p: float
    leading: int | None
    excess_leading: float | None


def shared(cosine: Float64, principal: Float64, d: int, placed: Placed | None = None) -> Shared:
    """What two updates with the cosines `UᵀU' (k, k')` and the `principal` ones have in common in `R^d`.

    Two ways to see it, of which the clearer counts: principal directions above a level, less those of random
    subspaces; and φ(k, k) of the leading k ≤ d/8, from which k times the excess are shared. Chance is that of
    random subspaces, or of random placements where `placed` says how the updates lie.
    """
    rows, columns = cosine.shape
    limit = chance.level(rows, columns, d)
    mean, deviation, draws = placed.counts(limit) if placed else chance.counts(rows, columns, d)
    found = int(np.count_nonzero(principal**2 >= limit))
    p_count = chance.beyond(found, mean, deviation, draws) if max(rows, columns) < d else 1.0
    k, above, p_leading = _leading(cosine, d, placed)
    p = min(1.0, 2 * min(p_count, p_leading))
    ways = []
    if p_count <= _ALPHA and round(found - mean) > 0:
        ways.append((found - mean, deviation))
    if k is not None and p_leading <= _ALPHA and above >= _MOST:
        sd = float(overlap.chance_grid(k, k, d)[1][-1, -1])
        ways.append((k * above, k * sd / (1 - k / d)))
    if ways:
        count, error = max(ways)
        return Shared(round(count), error, p, k, above)
    told = limit <= _SEEN and max(rows, columns) < d
    return Shared(0 if told else None, deviation, p, None, None)


def _leading(cosine: Float64, d: int, placed: Placed | None = None) -> tuple[int | None, float, float]:
    """The k ≤ d/8 with the most directions k · excess among those with most in common; its excess and p.

    The p is that of the best k times the number of them; of placements that of the rarest k.
    """
    most = min(*cosine.shape, max(1, d // _LEADING))
    if d < 2 or not most:
        return None, math.nan, 1.0
    ks = np.arange(1, most + 1)
    sums = np.cumsum(np.cumsum(cosine[:most, :most] ** 2, axis=0), axis=1).diagonal()
    phi = np.minimum(sums / ks, 1.0)
    above = np.array([excess(float(value), k / d) for value, k in zip(phi, ks, strict=True)])
    sizes = ks.astype(float)
    tails = chance.phi_tail(phi, sizes, sizes, d)
    candidates = np.flatnonzero(above >= _MOST)
    best = int(candidates[np.argmax((ks * above)[candidates])]) if len(candidates) else None
    alone = float(tails.min() if best is None else tails[best])
    p = placed.p_leading(phi) if placed else min(1.0, most * alone)
    return (None, math.nan, p) if best is None else (int(ks[best]), float(above[best]), p)
