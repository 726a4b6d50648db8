"""Studies of norms: adapters that differ over layers and kinds by chance alone, and ones with an effect."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from calibration.harness import Null, Planted, Scenario
from tunescope.measure.towers import Tower
from tunescope.questions.norms.findings import place_findings

QUESTION = "norms"
DEPTH = "early/middle/late_layers"
KINDS = (DEPTH, "hot_layer", "family_tilt", "hot_cell", "collapsed")
ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
ALL = ATTENTION + MLP
QV = ("self_attn.q_proj", "self_attn.v_proj")

Random = np.random.Generator
Law = Callable[[Random, tuple[int, ...]], NDArray[np.float64]]


def normal(random: Random, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return random.standard_normal(shape)


def t5(random: Random, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return random.standard_t(5, shape) / math.sqrt(5 / 3)


def uniform(random: Random, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return random.uniform(-math.sqrt(3), math.sqrt(3), shape)


def laplace(random: Random, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return random.laplace(0, 1 / math.sqrt(2), shape)


def t4(random: Random, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return random.standard_t(4, shape) / math.sqrt(2)


def t3(random: Random, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return random.standard_t(3, shape) / math.sqrt(3)


def exponential(random: Random, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return random.exponential(1.0, shape) - 1


def skewed(random: Random, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Gamma of shape 4: skewness 1."""
    return (random.gamma(4.0, 1.0, shape) - 4) / 2


@dataclass(frozen=True)
class Shape:
    """What every model of a study is: layers, kinds of weight, and how far levels differ by chance.

    Spreads are standard deviations of the logarithm: of a layer's common level, of the kinds' levels, of
    cells. `late` kinds stand in the upper half of the layers only; `experts` are averaged per layer.
    `layer_law` is that of layers where it is another than that of cells. `common` is the share of the
    variance that all models of the study have alike, as those of one start or recipe do; `ranks` the share
    of layers of four times the rank, twice the size; `missing` that of weights that never moved.
    """

    layers: int = 24
    kinds: tuple[str, ...] = ALL
    models: int = 4
    layer: float = 0.2
    level: float = 0.4
    cell: float = 0.12
    law: Law = normal
    late: tuple[str, ...] = ()
    experts: int = 0
    second: int = 0
    layer_law: Law | None = None
    common: float = 0.0
    ranks: float = 0.0
    missing: float = 0.0
    # The correlation of a layer with the next.
    neighbours: float = 0.0
    # Narrow k and v: a size that grows with a weight's width, tested beside the one divided by it.
    narrow: bool = False

    @property
    def words(self) -> str:
        """The shape in the table."""
        towers = f" and a second tower of {self.second}" if self.second else ""
        kinds = f"{len(self.kinds)} kinds" if len(self.kinds) > 1 else "1 kind"
        models = f"{self.models} models" if self.models > 1 else "1 model"
        return f"{self.layers} layers{towers} × {kinds}, {models}"

    def table(self, random: Random, layers: int, kinds: int) -> NDArray[np.float64]:
        """Logs of one tower, `(layers, kinds)`."""
        of_layer = self.layer_law or self.law
        profile = _following(of_layer(random, (layers, 1)), self.neighbours)
        logs = self.layer * profile + self.level * normal(random, (kinds,))
        logs = logs + self.cell * self.law(random, (layers, kinds))
        if self.experts:
            routed = np.exp(0.8 * normal(random, (layers, 1, self.experts)))
            own = np.exp(self.cell * self.law(random, (layers, kinds, self.experts)))
            mlp = [i for i, kind in enumerate(self.kinds) if "mlp" in kind]
            logs[:, mlp] += np.log(routed * own).mean(axis=2)[:, mlp]
        for i, kind in enumerate(self.kinds):
            if kind in self.late:
                logs[: layers // 2, i] = np.nan
        logs += math.log(2) * (random.random((layers, 1)) < self.ranks)
        if self.missing:
            logs[random.random(logs.shape) < self.missing] = np.nan
        return logs

    def tables(self, random: Random) -> list[NDArray[np.float64]]:
        """Logs of the first tower of every model, in part common to all."""
        if not self.common:
            return [self.table(random, self.layers, len(self.kinds)) for _ in range(self.models)]
        shared, *own = (self.table(random, self.layers, len(self.kinds)) for _ in range(self.models + 1))
        return [math.sqrt(self.common) * shared + math.sqrt(1 - self.common) * each for each in own]


def _following(innovations: NDArray[np.float64], rho: float) -> NDArray[np.float64]:
    """AR(1) over the first axis, of variance 1 throughout."""
    profile = innovations.copy()
    for i in range(1, len(profile)):
        profile[i] = rho * profile[i - 1] + math.sqrt(1 - rho**2) * innovations[i]
    return profile


Plant = Callable[[Random, NDArray[np.float64], tuple[str, ...]], None]


def tower(logs: NDArray[np.float64], kinds: tuple[str, ...], stack: str = "model") -> Tower:
    names = tuple(tuple(f"L{i}_{kind}" for kind in kinds) for i in range(len(logs)))
    families = tuple("attention" if "attn" in kind else "mlp" for kind in kinds)
    return Tower(stack, tuple(range(len(logs))), kinds, families, logs, names)


def study(random: Random, shape: Shape, plant: Plant | None = None, planted: int = 1) -> set[str]:
    """One call of `norms`: the kinds raised in any model, or, with `plant`, those raised in the first one."""
    models: dict[str, list[Tower]] = {}
    for m, logs in enumerate(shape.tables(random)):
        if plant is not None and m < planted:
            plant(random, logs, shape.kinds)
        models[f"m{m}"] = [tower(logs, shape.kinds)]
        if shape.second:
            # A text encoder beside a U-Net: attention only, and moved far less.
            other = shape.table(random, shape.second, len(shape.kinds))[:, : len(ATTENTION)] - 1.5
            models[f"m{m}"].append(tower(other, ATTENTION, "text_encoder"))
    of = None if plant is None else "m0"
    if not shape.narrow:
        return raised(models, of)
    widths = np.array([math.log(_WIDTH.get(kind, 1.0)) / 2 for kind in shape.kinds])
    wide = {m: [replace(t, logs=t.logs + widths) for t in its] for m, its in models.items()}
    return raised(wide, of, models)


# Outputs over those of q: k and v of one head in eight, an MLP three and a half times as wide.
_WIDTH = {"self_attn.k_proj": 1 / 8, "self_attn.v_proj": 1 / 8, "mlp.gate_proj": 3.5, "mlp.up_proj": 3.5}


def raised(
    models: Mapping[str, list[Tower]], of: str | None, per_output: Mapping[str, list[Tower]] | None = None
) -> set[str]:
    """The kinds of finding about a model, or about any; `per_output` beside a size that grows with width."""
    metric = "frobenius_norm" if per_output else "frobenius_norm_normalized"
    found = place_findings(models, metric, per_output)
    kinds = {f.kind for f in found if of is None or of in f.models}
    return {DEPTH if kind.endswith("_layers") else kind for kind in kinds}


@dataclass(frozen=True)
class Study:
    """`study` of one shape, as a function of the generator alone that a process can be handed."""

    shape: Shape
    plant: Plant | None = None
    planted: int = 1

    def __call__(self, random: Random) -> set[str]:
        return study(random, self.shape, self.plant, self.planted)


def third(random: Random, logs: NDArray[np.float64], _: tuple[str, ...]) -> None:
    """One third, at random, is 1.5 times the others."""
    cuts = [math.ceil(i * len(logs) / 3) for i in range(4)]
    third = random.integers(3)
    logs[cuts[third] : cuts[third + 1]] += math.log(1.5)


def tilted(random: Random, logs: NDArray[np.float64], kinds: tuple[str, ...]) -> None:
    """One family 1.5 times the other."""
    sign = random.choice([-1, 1])
    logs[:, [i for i, kind in enumerate(kinds) if "mlp" in kind]] += sign * math.log(1.5)


def hot(random: Random, logs: NDArray[np.float64], kinds: tuple[str, ...]) -> None:
    """One cell 5 times what it would be."""
    logs[random.integers(len(logs)), random.integers(len(kinds))] += math.log(5)


def layer(random: Random, logs: NDArray[np.float64], _: tuple[str, ...]) -> None:
    """One layer 3 times what it would be, in all kinds of weight."""
    logs[random.integers(len(logs))] += math.log(3)


def dead(random: Random, logs: NDArray[np.float64], kinds: tuple[str, ...]) -> None:
    """One cell a hundredth of what it would be."""
    logs[random.integers(len(logs)), random.integers(len(kinds))] -= math.log(100)


def _null(law: str, shape: Shape, shown: bool = False) -> Null:
    return Null(QUESTION, KINDS, law, shape.words, Study(shape), shown=shown)


_NULLS = (
    _null("layers with a common effect of 20 %, uniform", Shape(law=uniform)),
    _null("layers with a common effect of 20 %, normal", Shape(12, models=12)),
    _null("layers with a common effect of 20 %, skewed", Shape(32, models=2, law=skewed)),
    _null("t₅ cells of 25 % and layers of 20 %", Shape(24, models=6, cell=0.25, law=t5)),
    _null("t₅ cells of 25 % and layers of 20 %", Shape(80, models=2, cell=0.25, law=t5)),
    _null("Laplace cells of 25 %", Shape(12, QV, models=8, cell=0.25, law=laplace)),
    _null("kinds of unlike level, 80 %", Shape(24, ALL, models=4, level=0.8)),
    _null("MLP only in late layers, its level 80 % apart", Shape(12, models=8, level=0.8, late=MLP)),
    _null("MLP only in late layers, its level 80 % apart", Shape(32, models=1, level=0.8, late=MLP)),
    _null("two towers, one moved far less", Shape(16, models=3, second=12)),
    _null("experts that differ by 80 %", Shape(24, models=4, experts=8)),
    _null("attention only", Shape(32, ATTENTION, models=12, law=laplace)),
    _null("one kind of weight", Shape(12, ("self_attn.v_proj",), models=6)),
    _null("few layers", Shape(6, models=8)),
    _null("t₄ cells of 30 %", Shape(24, models=4, cell=0.3, law=t4)),
    _null("layers that scatter exponentially, 30 %", Shape(12, models=1, layer=0.3, layer_law=exponential)),
    _null("layers that scatter exponentially, 30 %", Shape(12, models=2, layer=0.3, layer_law=exponential)),
    _null("layers that scatter exponentially, 30 %", Shape(24, models=4, layer=0.3, layer_law=exponential)),
    _null(
        "models of one recipe, nine tenths in common, t₅", Shape(12, models=5, cell=0.25, law=t5, common=0.9)
    ),
    _null("checkpoints of one run, 99 % in common, t₅", Shape(24, models=12, cell=0.2, law=t5, common=0.99)),
    _null("a rank of its own in a quarter of the layers", Shape(24, models=4, ranks=0.25)),
    _null("a fifth of the weights never moved", Shape(24, models=4, missing=0.2)),
    _null("narrow k and v, sizes not divided by width", Shape(24, models=4, narrow=True)),
    _null("not promised: t₃ cells of 25 %", Shape(12, models=1, cell=0.25, law=t3, layer_law=normal), True),
    _null("not promised: t₃ cells of 25 %", Shape(24, models=4, cell=0.25, law=t3, layer_law=normal), True),
    _null("not promised: AR(1) 0.3 over layers of 20 %", Shape(12, models=1, neighbours=0.3), True),
    _null("not promised: AR(1) 0.3 over layers of 20 %", Shape(24, models=4, neighbours=0.3), True),
    _null("not promised: AR(1) 0.6 over layers of 20 %", Shape(12, models=1, neighbours=0.6), True),
    _null("not promised: AR(1) 0.6 over layers of 20 %", Shape(24, models=4, neighbours=0.6), True),
)


@dataclass(frozen=True)
class _Effect:
    kind: str
    effect: str
    plant: Plant
    law: str
    shapes: tuple[Shape, ...] = field(default=())
    least: float | None = 0.9
    # In every model, or in the first alone.
    everywhere: bool = True

    def scenarios(self) -> list[Planted]:
        return [
            Planted(
                QUESTION,
                self.kind,
                self.effect,
                self.law,
                shape.words,
                Study(shape, self.plant, shape.models if self.everywhere else 1),
                self.least,
            )
            for shape in self.shapes
        ]


def _tenth(layers: int, kinds: tuple[str, ...] = ALL, models: int = 1, level: float = 0.4) -> Shape:
    return Shape(layers, kinds, models, layer=0.1, level=level, cell=0.1, law=laplace)


_ALIKE = "kinds of a family alike to 5 %, layers and cells 10 %"
_EFFECTS = (
    _Effect(DEPTH, "a third 1.5×", third, "layers 10 %, cells 10 %, Laplace",
            (_tenth(12), _tenth(12, models=12), _tenth(24, QV, 4), _tenth(32, ATTENTION, 12),
             _tenth(80, models=2))),
    _Effect("family_tilt", "a family 1.5×", tilted, _ALIKE,
            (_tenth(12, level=0.05), _tenth(24, models=12, level=0.05), _tenth(80, models=2, level=0.05))),
    _Effect("family_tilt", "a family 1.5×", tilted, _ALIKE, (_tenth(24, QV + MLP[1:], level=0.05),), None),
    _Effect("family_tilt", "a family 1.5×", tilted, "kinds of a family alike to 20 %",
            (_tenth(24, level=0.2),), None),
    _Effect("hot_cell", "a cell 5×", hot, "cells 10 %, Laplace",
            (_tenth(12), _tenth(24, models=12), _tenth(32, ATTENTION, 4), _tenth(80, models=6))),
    _Effect("hot_cell", "a cell 5× in one model of the study", hot, "cells 10 %, Laplace",
            (_tenth(24, models=12), _tenth(80, models=6)), None, everywhere=False),
    _Effect("hot_cell", "a cell 5×", hot, "cells 20 %, Laplace",
            (Shape(24, models=1, cell=0.2, law=laplace),), None),
    _Effect("hot_cell", "a cell 5×", hot, "cells 20 %, normal",
            (Shape(12, models=1, cell=0.2), Shape(24, models=1, cell=0.2)), None),
    _Effect("hot_layer", "a layer 3×", layer, "layers 10 %, cells 10 %, normal",
            (Shape(12, models=1, layer=0.1, cell=0.1), Shape(24, models=1, layer=0.1, cell=0.1),
             Shape(32, models=4, layer=0.1, cell=0.1)), None),
    _Effect("hot_layer", "a layer 3×", layer, "layers 20 %, normal", (Shape(24, models=1),), None),
    _Effect("collapsed", "a cell 1/100", dead, "cells 20 %, t₅",
            (Shape(12, models=4, cell=0.2, law=t5), Shape(32, ATTENTION, models=12, cell=0.2, law=t5))),
)  # fmt: skip

SCENARIOS: tuple[Scenario, ...] = (*_NULLS, *(s for effect in _EFFECTS for s in effect.scenarios()))
