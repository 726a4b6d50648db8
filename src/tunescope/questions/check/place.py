"""Where one module of an adapter belongs, and whether it gets there."""

from dataclasses import dataclass
from typing import Literal

from tunescope.questions.check.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Place:
    """One module: the weight it wants, what is there, and how to make it attach.

    `fault` says what a module that does not attach fails at: the weights of the `base`, the `rank` that the
    config states, a factor that the file lacks (`half`), or a layer that PEFT does not make by the `config`.
    For a rank `expected` and `found` are the shapes of the factor by the config and in the file. `loading`
    says by which rule of a loader they meet, where it is not by the names that stand in the files.
    """

    wanted: Wanted
    weight: str
    status: str | None = None
    found: tuple[int, ...] | None = None
    remedy: str = ""
    fault: Literal["base", "rank", "half", "config"] = "base"
    expected: tuple[int, ...] | None = None
    loading: str = ""
