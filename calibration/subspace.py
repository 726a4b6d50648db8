"""Studies of subspace: adapters without anything in common, and ones with a start, a run or directions."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from calibration.harness import Null, Planted, Scenario
from tunescope.address import parse
from tunescope.delta import Delta, Factored
from tunescope.questions.subspace.directions import Selection
from tunescope.questions.subspace.findings import subspace_findings
from tunescope.questions.subspace.measure import SUMMARY_SCHEMA, compare

QUESTION = "subspace"
SHARED = ("shared_directions", "first_directions_shared", "few_directions_shared")
KINDS = ("same_run", "shared_initialisation", "shared_inputs", *SHARED)
ANY_SHARED = "shared_directions (all, leading or a few)"

Random = np.random.Generator
Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
Model = list[Pair]
# The grids are not looked at.
_SELECTION = Selection(of=())


def raised(models: Sequence[Model]) -> set[str]:
    """The kinds that one call of `subspace` raises for models given as `(B, A)` of each weight."""
    named = [(f"m{k}", [delta_of(n, pair) for n, pair in enumerate(model)]) for k, model in enumerate(models)]
    rows = [found.row for found in compare(named, _SELECTION)]
    kinds = {finding.kind for finding in subspace_findings(pl.DataFrame(rows, schema=SUMMARY_SCHEMA))}
    return kinds | ({ANY_SHARED} if kinds & set(SHARED) else set())


def delta_of(n: int, pair: Pair) -> Delta:
    B, A = pair
    name, update = f"model.layers.{n}.self_attn.q_proj", Factored(B, A, 1.0)
    return Delta(
        parse(name), f"L{n}_ATTN_Q", "lora", len(B), A.shape[1], len(A), None, 1.0, (), open=lambda: update
    )


def gaussian(random: Random, weights: int, r: int, d_out: int, d_in: int, decay: float = 1.0) -> Model:
    """Independent updates; `decay` below 1 leaves few effective dimensions."""
    steep = decay ** np.arange(r)
    return [
        (random.standard_normal((d_out, r)) * steep, random.standard_normal((r, d_in)))
        for _ in range(weights)
    ]


def unrelated(
    random: Random, *, weights: int = 6, ranks: tuple[int, ...] = (8, 8, 8), d: tuple[int, int] = (128, 96),
    decay: float = 1.0,
) -> set[str]:  # fmt: skip
    """Adapters of different starts and data."""
    return raised([gaussian(random, weights, r, *d, decay) for r in ranks])


# Outputs and inputs of the weights of a small model with narrow k and v.
_SHAPES = ((64, 64), (16, 64), (172, 64), (64, 172))
Law = Callable[[Random, tuple[int, int]], NDArray[np.float64]]


def few_inputs(random: Random, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Columns that differ in size by e^N(0, 1), in each factor apart: an update of few coordinates."""
    return random.standard_normal(shape) * np.exp(random.standard_normal((1, shape[1])))


def few_outputs(random: Random, shape: tuple[int, int]) -> NDArray[np.float64]:
    """The same of rows."""
    return random.standard_normal(shape) * np.exp(random.standard_normal((shape[0], 1)))


def sparse(random: Random, shape: tuple[int, int]) -> NDArray[np.float64]:
    """One entry in five is not zero."""
    return random.standard_normal(shape) * (random.random(shape) < 0.2)


def heavy(random: Random, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Entries of a t law with 2.5 degrees of freedom."""
    return random.standard_t(2.5, shape)


def bound_to_axes(random: Random, *, law: Law, ranks: tuple[int, ...]) -> set[str]:
    """Adapters of different starts and data whose entries do not spread over all coordinates alike."""
    shapes = [_SHAPES[n % len(_SHAPES)] for n in range(8)]
    return raised([[(law(random, (o, r)), law(random, (r, i))) for o, i in shapes] for r in ranks])


def one_start(random: Random, *, weights: int = 6, r: int = 8, lucky: bool = False) -> set[str]:
    """Two runs of one start that learned different outputs, in one weight by chance the same."""
    one, other = gaussian(random, weights, r, 96, 128), gaussian(random, weights, r, 96, 128)
    second = [(B, A + 0.05 * C) for (B, C), (_, A) in zip(other, one, strict=True)]
    if lucky:
        second[0] = (0.7 * one[0][0] + second[0][0], second[0][1])
    return raised([one, second])


def learned_inputs(random: Random, *, weights: int = 1, r: int = 8) -> set[str]:
    """Two runs of different starts whose A came to lie in the same directions."""
    models: list[Model] = [[], []]
    for _ in range(weights):
        common = np.linalg.qr(random.standard_normal((128, r)))[0]
        for model in models:
            A = random.standard_normal((r, r)) @ common.T + 0.02 * random.standard_normal((r, 128))
            model.append((random.standard_normal((96, r)), A))
    return raised(models)


def one_run(random: Random, *, weights: int = 6, r: int = 8) -> set[str]:
    """Two steps of one run."""
    one, noise = gaussian(random, weights, r, 96, 128), gaussian(random, weights, r, 96, 128)
    return raised([one, [(1.5 * B + 0.3 * C, A) for (B, A), (C, _) in zip(one, noise, strict=True)]])


def common(
    random: Random, *, count: int = 4, square: float = 0.9, r: int = 16, d: int = 128, leading: bool = False,
    weights: int = 4,
) -> set[str]:  # fmt: skip
    """Two runs with some output directions in common, at a squared cosine, among the leading ones or not."""
    models: list[Model] = [[], []]
    sizes = np.r_[np.full(count, 4.0 if leading else 1.0), np.ones(r - count)]
    for _ in range(weights):
        Q = np.linalg.qr(random.standard_normal((d, r + count)))[0]
        near = np.sqrt(square) * Q[:, :count] + np.sqrt(1 - square) * Q[:, r:]
        other = np.linalg.qr(np.hstack([near, random.standard_normal((d, r - count))]))[0]
        for model, U in zip(models, (Q[:, :r], other), strict=True):
            model.append((U * sizes, np.linalg.qr(random.standard_normal((2 * d, r)))[0].T))
    return raised(models)


def _null(law: str, shape: str, draw: Callable[[Random], set[str]], kinds: tuple[str, ...] = KINDS) -> Null:
    return Null(QUESTION, kinds, law, shape, draw)


def _planted(kind: str, effect: str, shape: str, draw: Callable[[Random], set[str]]) -> Planted:
    return Planted(QUESTION, kind, effect, "random subspaces", shape, draw)


_ABSENCE = "nothing_shared"
_SQUARE = {"ranks": (4, 8), "d": (64, 64)}
_ONE = {"weights": 12, "ranks": (1, 1), "d": (64, 64)}
_FULL = {"weights": 3, "ranks": (64, 64), "d": (128, 256)}
_EIGHT = {"count": 8, "square": 0.99, "r": 64, "leading": True, "weights": 3}
_TWO = {"count": 2, "d": 256}
_THREE, _SINGLE = "6 weights of 128 × 96, rank 8, 3 models", "12 weights of 64 × 64, rank 1"
_QUARTER = "4 of 16 directions at cos² 0.9"
_ALIKE = "inputs learned alike"
_BOUND, _TWO_MODELS = "8 weights of 16 to 172 × 64", "2 models of rank 4"
_NOT_STARTED = ("same_run", "shared_initialisation", *SHARED)
SCENARIOS: tuple[Scenario, ...] = (
    _null("unrelated", _THREE, unrelated),
    _null("unrelated, few effective dimensions", _THREE, partial(unrelated, decay=0.6)),
    _null("unrelated", "24 weights of 64 × 64, ranks 4 and 8", partial(unrelated, weights=24, **_SQUARE)),
    _null("unrelated", _SINGLE, partial(unrelated, **_ONE)),
    _null("unrelated", "3 weights of 128 × 256, rank 64", partial(unrelated, **_FULL)),
    _null("unrelated, inputs of unlike size, e^N(0, 1)", f"{_BOUND}, ranks 2, 4 and 8",
          partial(bound_to_axes, law=few_inputs, ranks=(2, 8, 4))),
    _null("unrelated, outputs of unlike size, e^N(0, 1)", f"{_BOUND}, {_TWO_MODELS}",
          partial(bound_to_axes, law=few_outputs, ranks=(4, 4))),
    _null("unrelated, one entry in five not zero", f"{_BOUND}, {_TWO_MODELS}",
          partial(bound_to_axes, law=sparse, ranks=(4, 4))),
    _null("unrelated, entries t₂.₅", f"{_BOUND}, {_TWO_MODELS}",
          partial(bound_to_axes, law=heavy, ranks=(4, 4))),
    _null("one start, other outputs", "6 weights, rank 8", one_start, ("same_run", *SHARED)),
    _null("one start, one weight alike", "20 weights, rank 8", partial(one_start, weights=20, lucky=True),
          ("same_run",)),
    _null(_ALIKE, "1 weight, rank 8", learned_inputs, _NOT_STARTED),
    _null(_ALIKE, "12 weights, rank 1", partial(learned_inputs, weights=12, r=1), ("shared_initialisation",)),
    _null(_QUARTER, "4 weights, d = 128", common, (_ABSENCE,)),
    _null(_QUARTER, "4 weights, d = 64", partial(common, d=64), (_ABSENCE,)),
    _planted(ANY_SHARED, _QUARTER, "4 weights, d = 128", common),
    _planted(ANY_SHARED, _QUARTER, "4 weights, d = 64", partial(common, d=64)),
    _planted(ANY_SHARED, f"{_QUARTER}, leading", "1 weight, d = 128",
             partial(common, leading=True, weights=1)),
    _planted("shared_directions", "8 leading of 64 at cos² 0.99", "3 weights, d = 128",
             partial(common, **_EIGHT)),
    _planted("few_directions_shared", "2 of 16 directions at cos² 0.9", "4 weights, d = 256",
             partial(common, **_TWO)),
    _planted("first_directions_shared", "2 leading of 16 directions at cos² 0.9", "4 weights, d = 256",
             partial(common, leading=True, **_TWO)),
    _planted("same_run", "1.5 B + 0.3 noise", "6 weights, rank 8", one_run),
    _planted("shared_initialisation", "A moved by 5 %", "6 weights, rank 8", one_start),
    _planted("shared_inputs", _ALIKE, "1 weight, rank 8", learned_inputs),
    _planted(_ABSENCE, "nothing in common", _THREE, unrelated),
    _planted(_ABSENCE, "nothing in common", _SINGLE, partial(unrelated, **_ONE)),
)  # fmt: skip
