"""The pass over the data: which batches are this process's, what is saved, when it is enough."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tunescope.errors import BadInput
from tunescope.lm.batches import Batch, DataHash
from tunescope.lm.processes import gathered, local, world
from tunescope.questions.importance.moments import Halves
from tunescope.questions.importance.resume import Progress
from tunescope.questions.importance.setting import Samples, Scorer, Setting

# Batches between looks at the precision, and samples below which it is not believed.
_LOOK_EVERY = 4
_ENOUGH = 8


@dataclass(frozen=True, eq=False)
class Options:
    """What is measured and how; see `tunescope.importance`."""

    methods: tuple[str, ...] = ("taylor",)
    layer_importance: bool = True
    shift: bool | None = None
    seed: int = 0
    noise_scale: float = 0.05
    precision: float | None = None
    state: Path | None = None
    save_every: float = 10.0
    progress: Callable[[int], None] | None = None


class Pass:
    """One pass of several scorers; `reached` gets the names of the parameters that had a gradient."""

    def __init__(
        self, setting: Setting, scorers: Sequence[Scorer], options: Options, reached: set[str]
    ) -> None:
        self.setting, self.scorers, self.options, self.reached = setting, scorers, options, reached
        rank, size = world()
        # Processes that share one model go through the same batches together.
        self.rank, self.size = (0, 1) if setting.parameters.sharded else (rank, size)
        self.hash = DataHash()
        self.sequences = 0
        name = f"process-{rank}-of-{size}"
        self.saved = Progress(options.state, name, _fingerprint(setting, options), options.save_every)
        self.found, self.notes = self.saved.load()
        self.done = int(self.notes.get("done", 0))
        setting.skipped.update(self.notes.get("skipped", ()))
        reached.update(self.notes.get("reached", ()))
        self.looked_from = max(self._gathered(self.done))

    def over(self, batches: Iterable[Batch]) -> None:
        count = 0
        for batch in batches:
            count += 1
            self.hash.add(batch)
            self.sequences += len(batch)
            if batch.index >= self.done:
                self._take(batch)
            elif batch.index == self.done - 1:
                self._check_data()
            if self.options.progress is not None:
                self.options.progress(self.sequences)
            if self._precise(batch.index + 1):
                break
        if self.sequences == 0:
            text = "the data set is empty: there is no batch"
            raise BadInput("no-sequences", text, expected="one batch or more", fix="name a file with rows")
        if count < self.done:
            self._refuse_other_data()

    def _take(self, batch: Batch) -> None:
        if batch.index % self.size == self.rank:
            # The last scorer, the blocks', is launched first: it takes a GPU longest, which is not waited for
            # before all are launched.
            found = [list(scorer(batch)) for scorer in reversed(self.scorers)]
            for samples in chain.from_iterable(reversed(found)):
                self._add(samples, batch)
        else:
            self.setting.scored_tokens(batch)
        notes = {
            "done": batch.index + 1,
            "data": self.hash.hex(),
            "skipped": sorted(self.setting.skipped),
            "reached": sorted(self.reached),
        }
        self.saved.save(self.found, notes, force=self.options.save_every == 0)

    def _add(self, samples: Samples, batch: Batch) -> None:
        finite = np.atleast_1d(np.isfinite(samples.values).all(axis=1))
        if samples.method != "wanda" and not finite.all():
            bad = int((~finite).sum())
            raise BadInput(
                "not-finite",
                f"{samples.method} is not finite in {bad} of {len(finite)} samples of batch {batch.index}",
                expected="finite numbers",
                found=_broken_weights(self.setting) or "NaN or infinity, from finite weights",
                fix="check the data and the weights; in float16 use --dtype bfloat16 or float32",
            )
        halves = self.found.setdefault(samples.method, Halves())
        for number, weight, values in zip(samples.numbers, samples.weights, samples.values, strict=True):
            halves.add(number, values, weight)

    def _check_data(self) -> None:
        if self.hash.hex() != self.notes.get("data"):
            self._refuse_other_data()

    def _refuse_other_data(self) -> None:
        raise BadInput(
            "other-data", "the data differ from those of the run that is resumed", file=self.saved.path,
            expected="the data of the run that was stopped", fix="delete the state, or give the same data",
        )  # fmt: skip

    def _gathered(self, value: Any) -> list[Any]:
        return [value] if self.setting.parameters.sharded else gathered(value)

    def _precise(self, batches: int) -> bool:
        look = batches % (_LOOK_EVERY * self.size) == 0 and batches > self.looked_from
        if self.options.precision is None or not look:
            return False
        together = self._together()
        return all(
            _error(together, m) <= self.options.precision for m in self.options.methods if m in together
        )

    def _together(self) -> dict[str, Halves]:
        merged: dict[str, Halves] = {}
        for found in self._gathered(self.found):
            for method, halves in found.items():
                merged.setdefault(method, Halves()).merge(halves)
        return merged

    def result(self) -> dict[str, Halves]:
        """The moments of all processes together; refuses data without a scored token."""
        together = self._together()
        if not together:
            raise BadInput(
                "no-labels",
                f"none of {self.sequences} sequences has a token to score: all labels are -100 or padding",
                expected="labels that are token ids where loss is wanted",
                fix="set labels to the input ids, -100 at prompt and padding",
            )
        return together

    def reached_anywhere(self) -> set[str]:
        """Names of the parameters that had a gradient in any process."""
        return set().union(*self._gathered(self.reached))


def _error(found: Mapping[str, Halves], method: str) -> float:
    """Largest standard error, in units of the largest score: the error on a map's scale from 0 to 1."""
    moments = found[method].whole()
    if moments.n < _ENOUGH:
        return math.inf
    return float(np.nanmax(moments.stderr()) / max(np.nanmax(np.abs(moments.mean)), np.finfo(float).tiny))


def _broken_weights(setting: Setting) -> str:
    """The first parameters that hold NaN or infinity, if any does."""
    broken = [e.name for e in setting.parameters.scored if not local(e.parameter.detach()).isfinite().all()]
    return f"NaN or infinity in {', '.join(broken[:3])}" if broken else ""


def _fingerprint(setting: Setting, options: Options) -> str:
    asked = (
        options.methods,
        options.layer_importance,
        setting.forward.shift,
        options.seed,
        options.noise_scale,
    )
    digest = hashlib.sha256(repr(asked).encode())
    for entry in setting.parameters.scored:
        sample = local(entry.parameter.detach()).flatten()[:64].double().sum()
        digest.update(
            f"{entry.name}{tuple(entry.parameter.shape)}{entry.parameter.dtype}{float(sample)!r}".encode()
        )
    return digest.hexdigest()
