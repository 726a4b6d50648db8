"""One pass over a data set: every method's samples, streamed into means with standard errors."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from tunescope.errors import Notice, UsageError
from tunescope.lm.batches import checked
from tunescope.lm.forward import Forward, vocabulary_of
from tunescope.lm.parameters import Parameters, is_sharded, parameters_of
from tunescope.lm.session import scoring_session
from tunescope.questions.importance import gradient_scores
from tunescope.questions.importance.ablation import Ablation, Loss
from tunescope.questions.importance.blocks import Block, blocks_of
from tunescope.questions.importance.bypass import Bypass
from tunescope.questions.importance.gradient_scores import GradientScores
from tunescope.questions.importance.magnitude import Wanda, magnitudes
from tunescope.questions.importance.moments import Halves, Moments
from tunescope.questions.importance.noise import Noise
from tunescope.questions.importance.reducer import GradientReducer
from tunescope.questions.importance.setting import Array, Scorer, Setting
from tunescope.questions.importance.streaming import Options, Pass
from tunescope.words import counted

UNITS = {
    "taylor": "nats/token per unit of relative change",
    "curvature": "nats/token per unit variance of relative noise",
    "fisher": "nats/token per squared unit of weight",
    "magnitude": "sum of |w|",
    "wanda": "sum of |w| times rms input",
    "ablation": "nats/token of loss",
    "noise": "nats/token per unit variance of relative noise",
    "bypass": "nats/token of loss",
}
METHODS = tuple(name for name in UNITS if name != "bypass")
# They change weights in place, or read columns, of which a process of a sharded model holds only parts.
_WHOLE_WEIGHTS_ONLY = ("wanda", "ablation", "noise")


@dataclass(eq=False)
class Measurement:
    """What came out: moments per method, over `parameters.rows` (over `blocks` for `bypass`)."""

    parameters: Parameters
    blocks: list[Block]
    found: dict[str, Halves]
    data_hash: str
    sequences: int
    skipped: int
    unreached: list[str]
    notices: list[Notice] = field(default_factory=list)
    magnitude: Array | None = None

    def moments(self, method: str) -> Moments:
        """Mean and standard error of a method."""
        return self.found[method].whole()


def measure(model: nn.Module, batches: Iterable[Mapping[str, Any]], options: Options) -> Measurement:
    """Run every method over the batches; the model is given back as it was.

    With several processes, all given the same batches, each takes every n-th of them; where they share a
    sharded model (FSDP2) they go through all together. All return the same numbers.

    Raises `UsageError` for unknown methods and for scores that sharding would falsify, `BadInput` for data
    without a scored token and for a loss or score that is not finite.
    """
    check(model, options)
    parameters = parameters_of(model)
    blocks = blocks_of(model, parameters) if options.layer_importance else []
    with scoring_session(model, options.seed) as training, ExitStack() as stack:
        setting = Setting(Forward.of(model, options.shift), parameters, options.seed)
        reducer = GradientReducer(parameters)
        run = Pass(setting, _scorers(setting, stack, reducer, options, blocks), options, reducer.reached)
        run.over(checked(batches, vocabulary_of(model)))
        measurement = _measurement(run, blocks)
    if "magnitude" in options.methods:
        measurement.magnitude = magnitudes(parameters)
    if training:
        text = (
            f"{counted(len(training), 'module was', 'modules were')} in training "
            "mode; dropout was off while scoring and is on again"
        )
        measurement.notices.append(Notice("training-mode", text))
    return measurement


def _measurement(run: Pass, blocks: list[Block]) -> Measurement:
    setting, skipped = run.setting, len(run.setting.skipped)
    found, reached = run.result(), run.reached_anywhere()
    scored = setting.parameters.scored if reached else []
    measurement = Measurement(
        setting.parameters, blocks, found, run.hash.hex(), run.sequences, skipped,
        unreached=[entry.name for entry in scored if entry.name not in reached],
    )  # fmt: skip
    for scorer in run.scorers:
        measurement.notices += scorer.notices() if isinstance(scorer, GradientScores | Bypass) else []
    if skipped:
        text = (
            f"{skipped} of {counted(run.sequences, 'sequence')} "
            f"{'has' if skipped == 1 else 'have'} no token to score and "
            f"{'is' if skipped == 1 else 'are'} left out"
        )
        measurement.notices.append(Notice("sequences-skipped", text))
    return measurement


def check(model: nn.Module, options: Options) -> None:
    """Refuse unknown methods, numbers out of range, and scores that sharding would falsify."""
    check_methods(options.methods)
    for name, value in (("precision", options.precision), ("noise scale", options.noise_scale)):
        if value is not None and not 0 < value < 1:
            raise UsageError("out-of-range", f"the {name} is out of range", expected="0 to 1", found=value)
    if not 0 <= options.seed < 2**63:
        text = "the seed is out of range"
        raise UsageError("out-of-range", text, expected="0 to 2⁶³ − 1", found=options.seed)
    if is_sharded(model):
        _check_sharded(options)


def check_methods(methods: Sequence[str]) -> None:
    """Refuse methods that do not exist, and none at all."""
    if unknown := [name for name in methods if name not in METHODS]:
        raise UsageError("unknown-method", f"there is no method {unknown[0]!r}", expected=", ".join(METHODS))
    if not methods:
        raise UsageError("unknown-method", "no method is named", expected=", ".join(METHODS))


def _check_sharded(options: Options) -> None:
    if refused := [name for name in options.methods if name in _WHOLE_WEIGHTS_ONLY]:
        raise UsageError(
            "sharded-model",
            f"{', '.join(refused)} would be false: the model's weights are sharded over processes",
            fix="one replica per process, device_map over the GPUs of one process, or other methods",
        )
    if options.state is not None:
        text = "a sharded model cannot be gone on with: its processes stop at different places"
        raise UsageError("sharded-model", text, fix="leave out the state")


def _scorers(
    setting: Setting, stack: ExitStack, reducer: GradientReducer, options: Options, blocks: list[Block]
) -> list[Scorer]:
    wanted = options.methods
    scorers: list[Scorer] = []
    if gradient := tuple(name for name in wanted if name in gradient_scores.METHODS):
        scorers.append(GradientScores(setting, stack.enter_context(reducer), gradient))
    if "taylor" not in wanted:
        scorers.append(Loss(setting))
    if "wanda" in wanted:
        scorers.append(Wanda(setting))
    if "ablation" in wanted:
        scorers.append(Ablation(setting))
    if "noise" in wanted:
        scorers.append(Noise(setting, options.noise_scale))
    if blocks:
        scorers.append(Bypass(setting, blocks))
    return scorers
