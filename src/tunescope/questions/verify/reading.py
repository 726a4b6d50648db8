"""What the replay read of adapters in single modules, and what all modules come to together."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# A coefficient this near to what was expected is it, whatever its standard error.
NEAR = 0.01
# Below this share of the largest an eigenvalue is none; so much of an adapter may be left open at most.
_NONE, _OPEN = 1e-6, 1e-3


@dataclass(frozen=True)
class Reading:
    """What the replay read of one adapter in one module.

    `alpha`, `rank` and `scale` are the adapter's there, `rank_stabilised` whether the scale is alpha/√r.
    `exact` is the share of moved values that come out equal, `unexplained` that of ‖W' − W‖² which is left,
    `moved` whether any value differs from the base, `weight` ‖ΔW‖². `members` are the adapters of a sum, each
    with the weight of its coefficient.
    """

    label: str
    component: str
    coefficient: float
    error: float
    exact: float
    unexplained: float | None
    below_grid: bool
    moved: bool
    weight: float
    expected: float = 1.0
    alpha: float | None = None
    rank: int | None = None
    scale: float | None = None
    rank_stabilised: bool = False
    members: Mapping[str, float] = field(default_factory=dict)

    @property
    def tolerance(self) -> float:
        """Three standard errors, and not less than 0.01 of the coefficient's size."""
        return max(3 * self.error, NEAR * max(1.0, abs(self.coefficient)))

    def is_of(self, labels: Collection[str]) -> bool:
        """Whether this is of one of these adapters, or a sum of some of them."""
        return self.label in labels or (bool(self.members) and self.members.keys() <= set(labels))


def pooled_coefficients(readings: Sequence[Reading]) -> dict[str, tuple[float, float]]:
    """The coefficient with its standard error of every adapter, and of the sums of those that none tells.

    An adapter that is read only in sums is told where these differ between modules, or others are read alone.
    """
    own = {r.label: [s for s in readings if s.label == r.label] for r in readings}
    apart = _apart(readings) if any(r.members for r in readings) else {}
    found: dict[str, tuple[float, float]] = {}
    for label, mine in own.items():
        members = mine[0].members
        if members.keys() <= apart.keys() and members:
            found |= {member: apart[member] for member in members if member not in own}
        elif _same(mine) and (pooled := pooled_coefficient(mine)):
            found[label] = pooled
    return found


def _same(readings: Sequence[Reading]) -> bool:
    """Whether a sum has the same weights in all modules that hold all of its adapters."""
    whole = max(readings, key=lambda r: len(r.members)).members
    return all(abs(weight - whole[label]) <= NEAR for r in readings for label, weight in r.members.items())


def _apart(readings: Sequence[Reading]) -> dict[str, tuple[float, float]]:
    """The coefficients of single adapters that all sums together leave open in nothing: least squares."""
    members = [r.members or {r.label: 1.0} for r in readings]
    adapters = list(dict.fromkeys(label for weights in members for label in weights))
    W = np.array([[weights.get(label, 0.0) for label in adapters] for weights in members])
    root = np.sqrt([r.weight for r in readings])
    values, errors = (np.array([getattr(r, name) for r in readings]) for name in ("coefficient", "error"))
    inverse = np.linalg.pinv(root[:, None] * W, rcond=math.sqrt(_NONE))
    left = np.linalg.norm(np.eye(len(adapters)) - inverse @ (root[:, None] * W), axis=0)
    c = inverse @ (root * values)
    solving = np.square(inverse * root)
    own, spread = solving @ np.square(errors), solving @ np.square(values - W @ c)
    error = np.sqrt(np.maximum(np.maximum(own, spread), errors.min() ** 2))
    return {label: (float(c[i]), float(error[i])) for i, label in enumerate(adapters) if left[i] <= _OPEN}


def pooled_coefficient(readings: Sequence[Reading]) -> tuple[float, float] | None:
    """The mean coefficient weighted by ‖ΔW‖², with the larger of its own and its modules' spread."""
    total = math.fsum(r.weight for r in readings)
    if not readings or not total > 0:
        return None
    shares = [r.weight / total for r in readings]
    mean = math.fsum(w * r.coefficient for w, r in zip(shares, readings, strict=True))
    own = math.fsum((w * r.error) ** 2 for w, r in zip(shares, readings, strict=True))
    spread = math.fsum((w * (r.coefficient - mean)) ** 2 for w, r in zip(shares, readings, strict=True))
    # Roundings within the merger shift all modules alike: more of them do not make it smaller.
    return mean, max(math.sqrt(own), math.sqrt(spread), min(r.error for r in readings))
