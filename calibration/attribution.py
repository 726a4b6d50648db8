"""Studies of attribute: cells that help alike but for chance, and ones with an effect."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from calibration.harness import Null, Planted, Scenario
from tunescope.linalg.ranks import spearman
from tunescope.questions.attribution.findings import attribution_findings, difference_findings

QUESTION = "attribute"
ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
ALL = (*ATTENTION, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
DEPTH = ("early_layers", "middle_layers", "late_layers")
KINDS = ("works_against", "effect_without_motion", "moved_without_effect", "family_tilt",
         "size_explains_map", *DEPTH)  # fmt: skip

Random = np.random.Generator
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """Layers, kinds of weight and sequences; spreads are deviations of logarithms, `noise` one of a cell's
    mean over sequences in units of a usual effect. `freedom` below infinity gives sequences heavy tails.
    """

    layers: int = 12
    kinds: tuple[str, ...] = ALL
    sequences: int = 32
    layer: float = 0.2
    kind: float = 0.3
    cell: float = 0.3
    noise: float = 0.3
    freedom: float = np.inf
    gain: bool = True
    late: bool = False
    plant: str = ""

    @property
    def words(self) -> str:
        """The shape in the table."""
        return f"{self.layers} layers × {len(self.kinds)} kinds, {self.sequences} sequences"


def study(random: Random, shape: Shape) -> set[str]:
    """One call of `attribute` on one data set: the kinds it raises besides those of the gain itself."""
    size = (shape.layers, len(shape.kinds))
    effect, moved = _levels(random, shape, size), _levels(random, shape, size)
    effect = -effect if shape.gain else 0.0 * effect
    deviation = np.full(size, shape.noise * np.sqrt(shape.sequences))
    moved = _planted(random, shape.plant, effect, moved, deviation, shape.sequences)
    drawn = random.standard_normal((shape.sequences, *size))
    if np.isfinite(shape.freedom):
        drawn = random.standard_t(shape.freedom, drawn.shape) / np.sqrt(shape.freedom / (shape.freedom - 2))
    shared = random.standard_normal((shape.sequences, 1, 1))
    parts = effect + deviation * (0.8 * drawn + 0.6 * shared)
    seen = np.ones(size, dtype=bool)
    if shape.late:
        seen[: shape.layers // 2, len(ATTENTION) :] = False
    frame = frame_of(shape.kinds, parts[:, seen], moved[seen], np.argwhere(seen))
    found = attribution_findings(frame, summary_of(frame, parts[:, seen].sum(axis=1)), "m", "d")
    kinds = {finding.kind for finding in found} - {"gain", "no_gain"}
    return kinds | ({"depth"} if kinds & set(DEPTH) else set())


def _levels(random: Random, shape: Shape, size: tuple[int, int]) -> Floats:
    logs = shape.layer * random.standard_normal((size[0], 1)) + shape.kind * random.standard_normal(size[1])
    levels: Floats = np.exp(logs + shape.cell * random.standard_normal(size))
    return levels


def _planted(random: Random, plant: str, effect: Floats, moved: Floats, deviation: Floats, n: int) -> Floats:
    """Change effects in place by what is planted; gives the motion."""
    i, j = random.integers(effect.shape[0]), random.integers(effect.shape[1])
    if plant == "against":
        effect[i, j] = 0.08 * np.abs(effect).sum()
        deviation[i, j] = effect[i, j] / 6 * np.sqrt(n)
    elif plant == "without effect":
        effect[i, j], moved[i, j], deviation[i, j] = 0.0, 4 * moved.max(), deviation[i, j] / 2
    elif plant == "quarter of the effect":
        moved[i, j] = 4 * moved.max()
        effect[i, j] = -moved[i, j] * float(np.median(np.abs(effect) / moved)) / 4 * 1.05
    elif plant == "without motion":
        moved[i, j] = np.abs(effect[i, j]) / 120 / np.median(np.abs(effect) / moved)
        moved[i, j] = min(moved[i, j], moved.min() / 2)
    elif plant == "late third":
        effect[-(effect.shape[0] // 3) :] *= 1.5
    elif plant == "tilt":
        effect[:, len(ATTENTION) :] *= 2
    elif plant == "motion":
        moved = np.abs(effect)
    return moved


def frame_of(kinds: tuple[str, ...], parts: Floats, moved: Floats, where: Any) -> pl.DataFrame:
    n = len(parts)
    return pl.DataFrame(
        {
            "stack": ["model"] * len(where),
            "layer": [int(i) for i, _ in where],
            "module_type": [kinds[int(j)] for _, j in where],
            "expert": pl.Series([None] * len(where), dtype=pl.Int64),
            "component_name": [f"L{i} {kinds[int(j)]}" for i, j in where],
            "attribution": parts.mean(axis=0),
            "stderr": parts.std(axis=0, ddof=1) / np.sqrt(n),
            "frobenius_norm_normalized": moved,
        }
    )


def summary_of(frame: pl.DataFrame, whole: Floats) -> Mapping[str, Any]:
    n, size = len(whole), frame["attribution"].abs().to_numpy()
    return {
        "base_loss": 3.0, "tuned_loss": 2.0, "gain": -float(whole.mean()), "sum": float(whole.mean()),
        "gain_stderr": float(whole.std(ddof=1)) / np.sqrt(n), "sequences": n, "converged": True,
        "not_attributed": {}, "spearman_numel": None,
        "spearman_change_effect": spearman(frame["frobenius_norm_normalized"].to_numpy(), size),
    }  # fmt: skip


def two_sets(random: Random, *, sequences: int = 32, both: bool = False) -> set[str]:
    """One fine-tune on two data sets: some cells gain on the first, others or the same cost on the second."""
    size = (12, len(ALL))
    order = random.permutation(size[0] * size[1]).reshape(size)
    first, second = order < 42, order >= 42
    if both:
        second |= order < 2
    frames, summaries = {}, {}
    for name, cells, sign in (("a", first, -1.0), ("b", second, 1.0)):
        effect = sign * cells * np.exp(0.3 * random.standard_normal(size))
        noise = random.standard_normal((sequences, *size))
        parts = effect + np.sqrt(sequences) * (np.abs(effect) / 8 + 0.05) * noise
        seen = np.ones(size, dtype=bool)
        frames[name] = frame_of(ALL, parts[:, seen], np.ones(seen.sum()), np.argwhere(seen))
        summaries[name] = summary_of(frames[name], parts[:, seen].sum(axis=1))
    return {finding.kind for finding in difference_findings(frames, summaries, "m")}


def _null(law: str, shape: Shape, kinds: tuple[str, ...] = KINDS) -> Null:
    return Null(QUESTION, kinds, law, shape.words, lambda random: study(random, shape))


def _found(kind: str, effect: str, shape: Shape) -> Planted:
    return Planted(QUESTION, kind, effect, "normal", shape.words, lambda random: study(random, shape))


_SETS = "12 layers × 7 kinds, 2 data sets of 32 sequences"
TWO = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")
# Of motion and effect that differ freely some cells truly move to less than a quarter of the usual effect.
OF_SHAPE = ("works_against", "family_tilt", "size_explains_map", *DEPTH)
_ALIKE = Shape(layer=0.1, kind=0.1, cell=0.15, noise=0.1)
_STILL = replace(_ALIKE, plant="quarter of the effect")
SCENARIOS: tuple[Scenario, ...] = (
    _null("all help", Shape()),
    _null("all help, sequences t₄", Shape(sequences=8, freedom=4.0)),
    _null("all help", Shape(sequences=5)),
    _null("all help, errors three times the effects", Shape(noise=3.0, sequences=16)),
    _null("no gain", Shape(gain=False)),
    _null("attention alone, sequences t₄", Shape(24, ATTENTION, 64, freedom=4.0)),
    _null("MLP in late layers alone", Shape(late=True)),
    _null("all help", Shape(32, sequences=64)),
    _null("kinds of unlike level, 80 %", Shape(kind=0.8), OF_SHAPE),
    _null("two kinds of each family, 40 % apart", Shape(24, TWO, kind=0.4), OF_SHAPE),
    Null(QUESTION, ("trade_off",), "other cells cost than gain", _SETS, two_sets),
    Planted(
        QUESTION, "gain_here_cost_there", "a gain on one and a cost on the other", "normal", _SETS, two_sets
    ),
    Planted(
        QUESTION,
        "trade_off",
        "two cells that gain on one and cost on the other, at 8 standard errors",
        "normal",
        _SETS,
        lambda random: two_sets(random, both=True),
    ),
    _null("a cell has a quarter of the predicted effect", _STILL, ("moved_without_effect",)),
    _found("works_against", "one cell at 6 standard errors", Shape(4, plant="against")),
    _found("works_against", "one cell at 6 standard errors", Shape(32, plant="against")),
    _found("moved_without_effect", "no effect at 4× the motion", Shape(plant="without effect", noise=0.1)),
    _found("effect_without_motion", "120× the predicted effect", Shape(plant="without motion", noise=0.05)),
    _found("late_layers", "1.5×, 10 % between layers", Shape(24, layer=0.1, plant="late third")),
    _found("family_tilt", "2×, 10 % between kinds", Shape(kind=0.1, plant="tilt")),
    _found("size_explains_map", "effects as large as the motion", Shape(kind=0.5, plant="motion")),
)
