"""How a run is trained: every setting that changes its numbers, checked before anything is loaded."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from tunescope.errors import UsageError

QUANTIZATIONS = ("nf4", "int8", "none")
SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings that all runs of a sweep share.

    The defaults are those of the published study: 4-bit nf4 base with bfloat16 compute, LoRA of rank 16 and
    alpha 32 on the attention projections, batches of 2 x 4. `full` trains all weights instead, in float32.

    Raises `UsageError`, with the allowed range, for a value that cannot work.

    >>> Recipe(model="some/model", rank=8).effective_batch
    8
    """

    model: str
    full: bool = False
    quantize: str = "nf4"
    targets: str = "attention"
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    epochs: float = 1.0
    max_steps: int | None = None
    batch_size: int = 2
    accumulate: int = 4
    max_length: int = 512
    schedule: str = "linear"
    warmup: float = 0.03
    weight_decay: float = 0.0
    optimizer: str = "adamw_torch"
    gradient_checkpointing: bool = False
    captures_per_epoch: int = 10
    checkpoints_per_epoch: int = 4
    keep_checkpoints: int = 2
    held_out: float = 0.1
    held_out_rows: int = 64

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise _refused(name, value, f"{low:g} to {high:g}")
        for name, choices in (("quantize", QUANTIZATIONS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in choices:
                raise _refused(name, getattr(self, name), " | ".join(choices))
        if self.full and self.quantize != "none":
            raise UsageError(
                "full-quantized",
                "full fine-tuning cannot train quantised weights",
                found=f"quantize={self.quantize}",
                fix="--full --quantize none",
            )

    @property
    def effective_batch(self) -> int:
        """Examples of one optimizer step on one process."""
        return self.batch_size * self.accumulate

    def settings(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)


_RANGES: dict[str, tuple[float, float]] = {
    "rank": (1, 65536),
    "alpha": (1e-6, 1e6),
    "dropout": (0, 0.999),
    "epochs": (1e-3, 1e4),
    "max_steps": (1, 1e9),
    "batch_size": (1, 65536),
    "accumulate": (1, 65536),
    "max_length": (2, 1e7),
    "warmup": (0, 1),
    "weight_decay": (0, 10),
    "captures_per_epoch": (1, 1e6),
    "checkpoints_per_epoch": (1, 1e5),
    "keep_checkpoints": (2, 1e5),
    "held_out": (1e-6, 0.9),
    "held_out_rows": (1, 1e7),
}


def check_rate(rate: float) -> float:
    """The learning rate itself where it can work."""
    if not (math.isfinite(rate) and 0 < rate <= 10):
        raise _refused("lr", rate, "above 0, at most 10")
    return rate


def rate_name(rate: float) -> str:
    """A learning rate in the shortest scientific spelling, as folders are named.

    >>> [rate_name(rate) for rate in (2e-4, 0.001, 1.5e-05)]
    ['2e-4', '1e-3', '1.5e-5']
    """
    mantissa, exponent = f"{rate:e}".split("e")
    for digits in range(7):
        short = f"{rate:.{digits}e}"
        if float(short) == rate:
            mantissa, exponent = short.split("e")
            break
    return f"{mantissa}e{int(exponent)}"


def _refused(name: str, value: object, expected: str) -> UsageError:
    flag = "--" + name.replace("_", "-")
    return UsageError("bad-setting", f"{flag} cannot be {value}", expected=expected, found=value)
