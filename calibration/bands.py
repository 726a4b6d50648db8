"""Studies of adapters of one or two kinds of weight, and of layers in a row that changed more."""

import math

import numpy as np
from numpy.typing import NDArray

from calibration.harness import Null, Planted, Scenario
from calibration.norms import ALL, KINDS, QUESTION, QV, Random, Shape, Study, exponential, t5

Array = NDArray[np.float64]


def band(random: Random, logs: Array, _: tuple[str, ...]) -> None:
    """Four layers in a row 3 times what they would be, in all kinds of weight."""
    at = random.integers(len(logs) - 3)
    logs[at : at + 4] += math.log(3)


def one_of_two(random: Random, logs: Array, _: tuple[str, ...]) -> None:
    """One cell 5 times what it would be: no layer."""
    logs[random.integers(len(logs)), random.integers(logs.shape[1])] += math.log(5)


def _null(law: str, shape: Shape, kinds: tuple[str, ...] = KINDS, shown: bool = False) -> Null:
    return Null(QUESTION, kinds, law, shape.words, Study(shape), shown=shown)


def _planted(law: str, shape: Shape, least: float | None = 0.9) -> Planted:
    effect = "four layers in a row 3×"
    return Planted(QUESTION, "hot_layer", effect, law, shape.words, Study(shape, band), least)


_Q = QV[:1]
_T5, _EXPONENTIAL = "t₅ cells of 25 % and layers of 20 %", "layers that scatter exponentially, 30 %"
_SMOOTH, _TENTH = "layers of 20 % that follow their neighbours, 0.9", "layers 10 %, cells 10 %, normal"
_LONE = Shape(24, QV, 2)
SCENARIOS: tuple[Scenario, ...] = (
    _null(_T5, Shape(24, QV, 4, cell=0.25, law=t5)),
    _null(_T5, Shape(32, _Q, 2, cell=0.25, law=t5)),
    _null(_EXPONENTIAL, Shape(80, QV, 2, layer=0.3, layer_law=exponential)),
    # A profile as smooth as this has thirds that differ, and is not asked about them.
    _null(_SMOOTH, Shape(80, QV, 2, neighbours=0.9), KINDS[1:]),
    _null(_SMOOTH, Shape(32, ALL, 2, neighbours=0.9), KINDS[1:]),
    Null(QUESTION, ("hot_layer",), "one cell 5×", _LONE.words, Study(_LONE, one_of_two)),
    _null(f"not promised: {_EXPONENTIAL}", Shape(12, QV, 8, layer=0.3, layer_law=exponential), shown=True),
    *(_planted(_TENTH, Shape(80, kinds, 1, layer=0.1, cell=0.1)) for kinds in (ALL, QV, _Q)),
    _planted("layers of 10 % that follow their neighbours, 0.9",
             Shape(80, QV, 1, layer=0.1, cell=0.1, neighbours=0.9)),
    _planted("layers 20 %, cells 10 %, normal", Shape(80, ALL, 1, cell=0.1), None),
)  # fmt: skip
