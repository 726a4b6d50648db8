"""Studies of training runs: weights that walk and drift, losses with noise, and profiles over depth."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from calibration.harness import Null, Planted, Scenario
from tunescope.questions.trajectory import layers
from tunescope.questions.trajectory.ending import loss_ending
from tunescope.questions.trajectory.findings import motion_findings
from tunescope.questions.trajectory.loss import rising_loss
from tunescope.questions.trajectory.proxy import Proxy
from tunescope.questions.trajectory.seams import SavedState
from tunescope.questions.trajectory.summary import proxy_finding, proxy_record
from tunescope.statistics.multiplicity import holm
from tunescope.statistics.series import agreement

QUESTION = "trajectory"
DEPTH = "early/middle/late_layers"
KINDS = (DEPTH, "moves_first", "seam", "diverged")
# Not a finding, but a sentence with a verdict: the loss still fell, or rose, at the end.
ENDS = "loss_ending"
MODULES = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")

Random = np.random.Generator
Array = NDArray[np.float64]
# Changes the increments (layers, kinds, captures, directions) of a run.
Plant = Callable[[Random, Array], None]


@dataclass(frozen=True)
class Walk:
    """Runs whose weights drift and walk in few effective directions, and what is planted in them."""

    layers: int = 12
    kinds: int = 4
    captures: int = 16
    directions: int = 6
    walk: float = 1.0
    runs: int = 1
    cosines: bool = True
    schedule: float = 1.0
    plant: Plant | None = None
    # How far layers differ in how fast they go, as a deviation of logarithms.
    layer: float = 0.2
    # The steps of the captures, where they are not every tenth.
    at: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """The shape in the table."""
        runs = f"{self.runs} run{'s' if self.runs > 1 else ''}"
        return f"{self.layers} layers × {self.kinds} kinds, {self.captures} captures, {runs}"

    def frame(self, random: Random, run: str) -> pl.DataFrame:
        """The motion of one run, one row per capture and weight."""
        size = (self.layers, self.kinds, self.captures, self.directions)
        drift = random.standard_normal((self.layers, self.kinds, 1, self.directions))
        steps = drift / math.sqrt(self.captures) + self.walk * random.standard_normal(size)
        steps *= np.exp(self.layer * random.standard_normal((self.layers, 1, 1, 1)))
        steps *= np.linspace(1, self.schedule, self.captures)[:, None]
        if self.plant is not None:
            self.plant(random, steps)
        at = np.cumsum(steps, axis=2)
        norms = np.linalg.norm(at, axis=3)
        last = (at * at[:, :, -1:]).sum(axis=3) / (norms * norms[:, :, -1:])
        previous = np.full(norms.shape, np.nan)
        previous[:, :, 1:] = (at[:, :, 1:] * at[:, :, :-1]).sum(axis=3) / (norms[:, :, 1:] * norms[:, :, :-1])
        known = (previous, last) if self.cosines else (None, None)
        return _frame(run, self.at or tuple(10 * (i + 1) for i in range(self.captures)), norms, *known)

    def __call__(self, random: Random) -> set[str]:
        found = set()
        for i in range(self.runs):
            motion = self.frame(random, f"r{i}")
            updates, by_step = layers.updates(motion), layers.by_step(motion)
            found |= {f.kind for f in motion_findings(f"r{i}", motion, updates, by_step, (), self.runs)}
        return {DEPTH if kind.endswith("_layers") else kind for kind in found}


def _frame(
    run: str, at: tuple[int, ...], norms: Array, previous: Array | None, last: Array | None
) -> pl.DataFrame:
    layer, kind, capture = (axis.ravel() for axis in np.indices(norms.shape))
    columns = {
        "run": [run] * norms.size,
        "step": np.array(at)[capture],
        "stack": ["model"] * norms.size,
        "layer": layer,
        "module_type": np.array(MODULES)[kind],
        "component_name": [f"L{i}_{MODULES[k]}" for i, k in zip(layer, kind, strict=True)],
        "factor": ["W"] * norms.size,
        "reference": ["start"] * norms.size,
        "mean": norms.ravel(),
        "variance": norms.ravel(),
        "abs_mean": norms.ravel(),
        "abs_variance": norms.ravel(),
        "delta_frobenius_norm": norms.ravel(),
        "cosine_to_previous": None if previous is None else previous.ravel(),
        "cosine_to_last": None if last is None else last.ravel(),
    }
    filled = {name: columns.get(name) for name in layers.SCHEMA}
    empty = [None] * norms.size
    return layers.frame({n: empty if v is None else v for n, v in filled.items()}).sort(
        "step", maintain_order=True
    )


def early_mover(random: Random, steps: Array) -> None:
    """One layer goes its way twice as fast, and stays there."""
    layer, half = random.integers(len(steps)), steps.shape[2] // 2
    steps[layer, :, :half] *= 2
    steps[layer, :, half:] *= 0.02


def jump(random: Random, steps: Array) -> None:
    """Between two captures all weights go 20 % of the whole path at once, sideways."""
    at = random.integers(2, steps.shape[2] - 1)
    path = np.linalg.norm(steps, axis=3).sum(axis=2)
    sideways = random.standard_normal((*steps.shape[:2], steps.shape[3]))
    sideways /= np.linalg.norm(sideways, axis=2, keepdims=True)
    steps[:, :, at] += 0.2 * path[:, :, None] * sideways


def replaced(random: Random, steps: Array) -> None:
    """From the middle on the checkpoints are another run's, which started anew."""
    half = steps.shape[2] // 2
    before = steps[:, :, :half].sum(axis=2)
    steps[:, :, half] = (
        -before + math.sqrt(half) * random.standard_normal(before.shape) * np.abs(steps).mean()
    )


def stopped(_: Random, steps: Array) -> None:
    """All weights stand nearly still in the last 40 % of the run."""
    steps[:, :, int(0.6 * steps.shape[2]) :] *= 0.005


def tenth_more(random: Random, steps: Array) -> None:
    """The last quarter of the run moves every weight by 10 % of the way, in a direction of its own."""
    late = int(0.7 * steps.shape[2])
    way = np.linalg.norm(steps[:, :, :late].sum(axis=2), axis=2)
    sideways = random.standard_normal((*steps.shape[:2], steps.shape[3]))
    sideways /= np.linalg.norm(sideways, axis=2, keepdims=True)
    each = 0.1 / (steps.shape[2] - late) * way[:, :, None, None] * sideways[:, :, None]
    steps[:, :, late:] = each


@dataclass(frozen=True)
class Losses:
    """Runs that log a loss of 2 nats with 20 % noise, or one that climbs to 3.2."""

    logged: int = 100
    end: float = 2.0
    memory: float = 0.0
    heavy: bool = False
    runs: int = 1

    @property
    def words(self) -> str:
        """The shape in the table."""
        return f"{self.logged} logged losses, {self.runs} run{'s' if self.runs > 1 else ''}"

    def __call__(self, random: Random) -> set[str]:
        found = set()
        for i in range(self.runs):
            noise = _noise(random, self.logged, self.memory, self.heavy)
            middle = random.uniform(0.35, 0.65)
            slope = random.uniform(0.02, 0.3)
            level = 2 + (self.end - 2) * np.clip(
                (np.linspace(0, 1, self.logged) - middle) / slope + 0.5, 0, 1
            )
            by_step, states = _logged(level * np.maximum(1 + 0.2 * noise, 0.05))
            found |= {f.kind for f in rising_loss(f"r{i}", by_step, states, self.runs)}
        return found


@dataclass(frozen=True)
class Endings:
    """Runs whose loss of 3 nats falls to 2 early on, and by `fall` nats over the last half."""

    logged: int = 100
    fall: float = 0.0
    memory: float = 0.0
    heavy: bool = False
    runs: int = 1

    words = Losses.words

    def __call__(self, random: Random) -> set[str]:
        told = set()
        for _ in range(self.runs):
            t = np.linspace(0, 1, self.logged)
            level = 2 + np.exp(-t / 0.03) - self.fall * np.clip(2 * t - 1, 0, 1)
            noise = _noise(random, self.logged, self.memory, self.heavy)
            ended = loss_ending(*_logged(level * np.maximum(1 + 0.1 * noise, 0.05)), self.runs)
            told |= {ENDS} if ended and ended["verdict"] != "not_told" else set()
        return told


def _noise(random: Random, n: int, memory: float, heavy: bool) -> Array:
    """Noise of unit variance, of one step's memory."""
    noise = random.standard_t(5, n) / math.sqrt(5 / 3) if heavy else random.standard_normal(n)
    for t in range(1, n):
        noise[t] = memory * noise[t - 1] + math.sqrt(1 - memory**2) * noise[t]
    return noise


def _logged(losses: Array) -> tuple[pl.DataFrame, list[SavedState]]:
    """Losses as a trainer logs them, none of them at a capture."""
    schema = {"step": pl.Int64, "loss": pl.Float64}
    by_step = pl.DataFrame({"step": [len(losses)], "loss": [None]}, schema=schema)
    return by_step, [SavedState(len(losses), len(losses), dict(enumerate(losses.tolist())))]


@dataclass(frozen=True)
class Profiles:
    """Pairs of a low-rank and a full run, their profiles over depth unrelated or the same but for noise."""

    layers: int = 24
    memory: float = 0.9
    alike: float | None = None
    pairs: int = 1

    @property
    def words(self) -> str:
        """The shape in the table."""
        return f"{self.layers} layers, {self.pairs} pair{'s' if self.pairs > 1 else ''} of runs"

    def profile(self, random: Random) -> Array:
        """An autoregressive profile over depth, of unit scatter."""
        values = random.standard_normal(self.layers)
        for i in range(1, self.layers):
            kick = 1.0 if self.memory >= 1 else math.sqrt(1 - self.memory**2)
            values[i] = self.memory * values[i - 1] + kick * values[i]
        return values

    def __call__(self, random: Random) -> set[str]:
        proxies = []
        for _ in range(self.pairs):
            a = self.profile(random)
            noise = random.standard_normal(self.layers)
            b = self.profile(random) if self.alike is None else a + self.alike * a.std() * noise
            one = agreement(np.exp(0.2 * a), np.exp(0.2 * b))
            proxies.append(Proxy("all", one.correlation, one.low, one.high, one.n, one.n, one.p, one.freedom))
        adjusted = holm([proxy.p for proxy in proxies]).tolist()
        records = [proxy_record("lora", "full", x, p) for x, p in zip(proxies, adjusted, strict=True)]
        return {f.kind for r in records if (f := proxy_finding(r, len(records))) is not None}


def _null(kinds: tuple[str, ...], law: str, draw: Walk | Losses | Endings | Profiles) -> Null:
    return Null(QUESTION, kinds, law, draw.words, draw)


def _planted(
    kind: str, effect: str, law: str, draw: Walk | Losses | Endings | Profiles, least: float | None = 0.9
) -> Planted:
    return Planted(QUESTION, kind, effect, law, draw.words, draw, least)


SCENARIOS: tuple[Scenario, ...] = (
    _null(KINDS, "random walks in 6 directions", Walk()),
    _null(KINDS, "random walks in 2 directions", Walk(directions=2, runs=2)),
    _null(KINDS, "drift and walk in 24 directions, rate falling to a fifth",
          Walk(24, 4, 10, 24, walk=0.5, schedule=0.2, runs=2)),
    _null(KINDS, "drift and walk, two kinds of weight", Walk(32, 2, 8, 4, walk=0.5, runs=4)),
    _null(("plateau",), "10 % more motion in the last quarter, directions known", Walk(plant=tenth_more)),
    _null(("plateau",), "10 % more motion in the last quarter, only ‖ΔW‖ known",
          Walk(captures=24, directions=8, plant=tenth_more, cosines=False)),
    _null(("diverged",), "a flat loss, 20 % normal noise", Losses(100, runs=4)),
    _null(("diverged",), "a flat loss, 20 % t₅ noise", Losses(30, heavy=True)),
    _null(("diverged",), "a flat loss, 20 % AR(1) 0.5 noise", Losses(60, memory=0.5)),
    _null(("diverged",), "a flat loss, 20 % normal noise", Losses(10)),
    _null(("diverged",), "a flat loss, 20 % AR(1) 0.9 noise", Losses(100, memory=0.9)),
    _null(("diverged",), "a flat loss, 20 % AR(1) 0.95", Losses(200, memory=0.95, runs=4)),
    _null((ENDS,), "a loss level at its end, 10 % normal noise", Endings(100, runs=4)),
    _null((ENDS,), "a loss level at its end, 10 % t₅ noise", Endings(24, heavy=True)),
    _null((ENDS,), "a loss level at its end, 10 % AR(1) 0.5 noise", Endings(60, memory=0.5)),
    _null((ENDS,), "a loss level at its end, 10 % AR(1) 0.8 noise", Endings(400, memory=0.8)),
    _null((ENDS,), "a loss level at its end, 10 % normal noise", Endings(16)),
    _null(("lora_as_proxy",), "unrelated profiles, AR(1) 0.9", Profiles(24)),
    _null(("lora_as_proxy",), "unrelated profiles, AR(1) 0.9", Profiles(80, pairs=4)),
    _null(("lora_as_proxy",), "unrelated random walks", Profiles(32, memory=1.0)),
    _null(("lora_as_proxy",), "unrelated profiles, rough", Profiles(12, memory=0.0)),
    _planted("moves_first", "one layer 2× as fast", "drift and walk", Walk(walk=0.3, plant=early_mover)),
    _planted("moves_first", "one layer 2× as fast", "drift and walk",
             Walk(24, 4, 20, 12, walk=0.3, runs=1, plant=early_mover)),
    _planted("seam", "a jump of 20 % of the path", "drift and walk",
             Walk(12, 4, 20, 12, walk=0.4, plant=jump)),
    _planted("seam", "another run from the middle on", "drift and walk",
             Walk(12, 4, 10, 12, walk=0.4, plant=replaced)),
    _planted("plateau", "still in the last 40 %", "directions known", Walk(plant=stopped)),
    _planted("plateau", "still in the last 40 %", "only ‖ΔW‖ known", Walk(plant=stopped, cosines=False)),
    _planted("diverged", "2.0 to 3.2 nats", "20 % normal noise", Losses(100, 3.2)),
    _planted("diverged", "2.0 to 3.2 nats", "20 % t₅ noise", Losses(60, 3.2, heavy=True)),
    _planted("diverged", "2.0 to 3.2 nats", "20 % normal noise", Losses(30, 3.2), None),
    _planted(ENDS, "2.0 to 1.5 nats over the last half", "10 % normal noise", Endings(100, 0.5)),
    _planted(ENDS, "2.0 to 1.9 nats over the last half", "10 % normal noise", Endings(2000, 0.1)),
    _planted(ENDS, "2.0 to 1.5 nats over the last half", "10 % normal noise", Endings(24, 0.5), None),
    _planted("lora_as_proxy", "one profile, 10 % noise", "rough", Profiles(24, 0.0, 0.1)),
    _planted("lora_as_proxy", "one profile, 10 % noise", "AR(1) 0.9", Profiles(32, 0.9, 0.1, 2)),
    _planted("lora_as_proxy", "one profile, 10 % noise", "AR(1) 0.9", Profiles(12, 0.9, 0.1), None),
)  # fmt: skip
