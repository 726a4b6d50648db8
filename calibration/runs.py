"""Studies of training runs that stand still, explode, or move most in a third of their layers."""

import math

import numpy as np

from calibration.harness import Draw, Null, Planted, Scenario
from calibration.trajectory import DEPTH, KINDS, QUESTION, Array, Plant, Random, Walk, early_mover, replaced


def still(_: Random, steps: Array) -> None:
    """One weight is never trained."""
    steps[0, 0] = 0.0


def hardly(_: Random, steps: Array) -> None:
    """One weight moves by a thousandth of what the others do."""
    steps[0, 0] *= 1e-3


def pauses(_: Random, steps: Array) -> None:
    """Nothing moves between two captures."""
    steps[:, :, steps.shape[2] // 2] = 0.0


def explodes(_: Random, steps: Array) -> None:
    """From the middle on every step is 1.6 times as long as the one before, all in one direction."""
    half = steps.shape[2] // 2
    growth = 1.6 ** np.arange(1, steps.shape[2] - half + 1)
    steps[:, :, half:] = steps[:, :, half - 1 : half] * growth[:, None]


def warms_up(_: Random, steps: Array) -> None:
    """All weights go straight on, with a rate that rises from zero to the last step."""
    steps[...] = steps[:, :, :1] * np.arange(1, steps.shape[2] + 1)[:, None]


def warmed_walk(at: tuple[int, ...], directions: int, then: Plant | None = None) -> Walk:
    """A walk of random steps whose rate rises from zero to the last of the captures at these steps."""

    def plant(random: Random, steps: Array) -> None:
        lengths = np.sqrt(np.diff(np.array([0, *at], dtype=float) ** 3))
        steps[...] = lengths[:, None] * random.standard_normal(steps.shape)
        if then is not None:
            then(random, steps)

    return Walk(captures=len(at), directions=directions, plant=plant, at=at)


def third(random: Random, steps: Array) -> None:
    """One third of the layers, at random, moves 1.5 times as far as the others."""
    cuts = [math.ceil(i * len(steps) / 3) for i in range(4)]
    chosen = random.integers(3)
    steps[cuts[chosen] : cuts[chosen + 1]] *= 1.5


def _drawn(walk: Walk) -> Draw:
    # A weight that stands still has no direction.
    return np.errstate(invalid="ignore")(walk.__call__)


def _null(kind: str, law: str, plant: Plant, **more: float) -> Null:
    walk = Walk(plant=plant, **more)  # type: ignore[arg-type]
    return Null(QUESTION, (kind,), law, walk.words, _drawn(walk))


def _mover(walk: float, least: float | None = 0.9, cosines: bool = True) -> Planted:
    """A drift of 1/√captures in each of eight directions, and steps at random of `walk`."""
    of = Walk(captures=16, directions=8, walk=walk, plant=early_mover, cosines=cosines)
    law = f"walk {4 * walk:g} times the drift, {'directions' if cosines else 'only ‖ΔW‖'} known"
    return Planted(QUESTION, "moves_first", "one layer 2× as fast", law, of.words, of, least)


_EVEN = warmed_walk(tuple(range(10, 170, 10)), 24)
_DOUBLED = warmed_walk(tuple(10 * 2**i for i in range(10)), 24)
_REPLACED = warmed_walk(_DOUBLED.at, 24, replaced)
_WANDERING = Walk(directions=8, walk=5.0)


def _planted(kind: str, effect: str, plant: Plant, least: float | None = 0.9, **more: float) -> Planted:
    walk = Walk(plant=plant, **more)  # type: ignore[arg-type]
    return Planted(QUESTION, kind, effect, "drift and walk", walk.words, _drawn(walk), least)


SCENARIOS: tuple[Scenario, ...] = (
    _null("frozen", "one weight moves a thousandth of the others", hardly),
    _null("diverged", "a rate that rises from zero to the end", warms_up, captures=30),
    _planted("frozen", "a weight that is not trained", still),
    _planted("frozen", "two captures that are equal", pauses),
    _planted("diverged", "steps that grow by 60 % each from the middle on", explodes),
    Null(QUESTION, KINDS, "a walk 20 times the drift", _WANDERING.words, _WANDERING),
    Null(QUESTION, KINDS, "a walk under a warm-up to the end", _EVEN.words, _EVEN),
    Null(QUESTION, KINDS, "the same, captured at doubled steps", _DOUBLED.words, _DOUBLED),
    Planted(QUESTION, "seam", "another run from the middle on",
            "a walk under a warm-up, captured at doubled steps", _REPLACED.words, _REPLACED, None),
    _mover(5.0),
    _mover(0.5, cosines=False),
    _mover(5.0, None, cosines=False),
    _planted(DEPTH, "a third 1.5×, 10 % between layers", third, layers=24, directions=24, layer=0.1),
    _planted(DEPTH, "a third 1.5×, 20 % between layers", third, None, layers=24, directions=24),
)  # fmt: skip
