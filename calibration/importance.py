"""Studies of importance: layers and tensors that differ by chance, and ones with an effect."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from calibration.harness import Null, Planted, Scenario
from tunescope.questions.importance.findings import importance_findings

QUESTION = "importance"
TENSORS = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
    "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm",
)  # fmt: skip
NUMEL = (4096, 1024, 1024, 4096, 11008, 11008, 11008, 64, 64)
DEPTH = ("early_layers", "middle_layers", "late_layers")
BLOCKS = ("negative_layer_importance", "layer_importance_disagrees")
KINDS = (*DEPTH, "layer_importance_disagrees", "methods_disagree", "negative_layer_importance")

Random = np.random.Generator
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """Layers, and deviations of logarithms: of a layer's level, a tensor's, and a cell's by each method."""

    layers: int = 24
    layer: float = 0.2
    cell: float = 0.2
    plant: str = ""
    sequences: int = 16
    # How far the lengths of sequences differ, as a deviation of logarithms.
    unlike: float = 0.0
    # Sequences that scatter log-normally, with a skewness of 3.7.
    skewed: bool = False

    @property
    def words(self) -> str:
        """The shape in the table."""
        more = "" if self.sequences == 16 else f", {self.sequences} sequences"
        return f"{self.layers} layers × {len(TENSORS)} tensors, 2 methods{more}"


def study(random: Random, shape: Shape) -> set[str]:
    """One call of `importance`: two methods that see the same scores but for chance, and Layer Importance."""
    size = (shape.layers, len(TENSORS))
    levels = shape.layer * random.standard_normal((size[0], 1)) + random.standard_normal(size[1])
    if shape.plant == "late third":
        levels[-(size[0] // 3) :] += np.log(1.5)
    scores = [levels + shape.cell * random.standard_normal(size) for _ in range(2)]
    if shape.plant == "shuffled top":
        top = np.argsort(scores[1].ravel())[-(scores[1].size // 4) :]
        scores[1].ravel()[top] = random.permutation(scores[1].ravel()[top])
    # What a layer is worth follows its sum, as far as one can tell from 16 sequences.
    whole = np.exp(scores[0]).sum(axis=1)
    if shape.plant == "opposite":
        whole = -np.exp(scores[0]).sum(axis=1) + 2 * np.exp(scores[0]).sum(axis=1).max()
    tokens = np.exp(shape.unlike * random.standard_normal(shape.sequences))
    noise = random.standard_normal((shape.sequences, size[0])) / np.sqrt(tokens)[:, None]
    if shape.skewed:
        noise = (np.exp(0.8 * noise) - np.exp(0.32)) / 1.3
    parts = whole * (1 + 0.3 * noise)
    if shape.plant == "no effect":
        parts = noise
    elif shape.plant == "below zero":
        parts[:, 3] = -whole.mean() * (1 + 0.5 * random.standard_normal(16))
    methods = zip(("taylor", "curvature"), scores, strict=True)
    frame = pl.concat([*(_rows(name, np.exp(logs)) for name, logs in methods), _blocks(parts, tokens)])
    return {finding.kind for finding in importance_findings(frame, "m", {})}


def _rows(method: str, scores: Floats) -> pl.DataFrame:
    layers, tensors = scores.shape
    return _frame(
        method, np.repeat(np.arange(layers), tensors), list(TENSORS) * layers, scores.ravel(), None,
        list(NUMEL) * layers,
    )  # fmt: skip


def _blocks(parts: Floats, tokens: Floats) -> pl.DataFrame:
    """Means over sequences weighted by their tokens, with the errors of such means."""
    n, layers = parts.shape
    weights = (tokens / tokens.sum())[:, None]
    means = (weights * parts).sum(axis=0)
    errors = np.sqrt(((weights * (parts - means)) ** 2).sum(axis=0) * n / (n - 1))
    names = ["Layer Importance"] * layers
    frame = _frame("bypass", np.arange(layers), names, means, errors, [sum(NUMEL)] * layers)
    return frame.with_columns(pl.lit(n, pl.Int64).alias("n"))


def _frame(
    method: str, layers: NDArray[np.int64], names: list[str], scores: Floats, errors: Floats | None,
    numel: list[int],
) -> pl.DataFrame:  # fmt: skip
    count = len(names)
    return pl.DataFrame(
        {
            "method": [method] * count,
            "stack": ["model"] * count,
            "layer": layers,
            "parameter": names,
            "expert": pl.Series([None] * count, dtype=pl.Int64),
            "score": scores,
            "stderr": np.zeros(count) if errors is None else errors,
            "n": [16] * count,
            "numel": numel,
            "share": scores / np.abs(scores).sum(),
        }
    )


def _draw(**more: object) -> tuple[str, Callable[[Random], set[str]]]:
    shape = Shape(**more)  # type: ignore[arg-type]
    return shape.words, lambda random: study(random, shape)


SCENARIOS: tuple[Scenario, ...] = (
    Null(QUESTION, KINDS, "20 % between layers", *_draw()),
    Null(QUESTION, KINDS, "20 % between layers", *_draw(layers=12)),
    Null(QUESTION, KINDS, "50 % between layers, 50 % between cells", *_draw(layers=32, layer=0.5, cell=0.5)),
    Null(QUESTION, BLOCKS, "blocks without effect", *_draw(plant="no effect")),
    Null(QUESTION, BLOCKS, "blocks without effect", *_draw(plant="no effect", sequences=5, layers=12)),
    Null(QUESTION, BLOCKS, "blocks without effect, sequences of lengths 100 % apart",
         *_draw(plant="no effect", unlike=1.0)),
    Null(QUESTION, BLOCKS, "not promised: blocks without effect, sequences of a long tail, skewness 3.7",
         *_draw(plant="no effect", sequences=8, skewed=True), shown=True),
    Null(QUESTION, KINDS, "20 % between layers, sequences of lengths 100 % apart",
         *_draw(unlike=1.0, sequences=64)),
    Planted(QUESTION, "late_layers", "1.5×, 10 % between layers", "normal",
            *_draw(layer=0.1, plant="late third")),
    Planted(QUESTION, "methods_disagree", "the top quarter in random order", "normal",
            *_draw(layers=48, plant="shuffled top")),
    Planted(QUESTION, "layer_importance_disagrees", "the opposite order", "normal", *_draw(plant="opposite")),
    Planted(QUESTION, "negative_layer_importance", "one block at 8 standard errors", "normal",
            *_draw(plant="below zero")),
)  # fmt: skip
