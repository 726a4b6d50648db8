"""How training tools number what they save: the rules, and which files and folders make one series."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from tunescope.errors import BadInput, printable
from tunescope.source.files.suffixes import PICKLED
from tunescope.source.locate import NEVER_OPENED, SHARD

Unit = Literal["step", "epoch"]
# A step is stored in 64 bits.
LARGEST_STEP = 2**63 - 1
# A series of more is not searched for what lacks in it.
_MOST_STEPS = 10**5
SUFFIXES = (".safetensors", *PICKLED, ".npz", ".gguf")


@dataclass(frozen=True)
class Rule:
    """A way to number: the pattern of a name, with its `number`, what it counts, and who writes it so."""

    pattern: re.Pattern[str]
    unit: Unit
    origin: str


def _rule(pattern: str, unit: Unit, origin: str) -> Rule:
    return Rule(re.compile(pattern, re.IGNORECASE), unit, origin)


_BEFORE = r"(?:.*[-_.= ])?"
BY_WORD: tuple[Rule, ...] = (
    _rule(rf"^{_BEFORE}epoch[-_=]?(?P<number>\d+)$", "epoch", "torchtune, diffusion-pipe, callbacks"),
    _rule(
        rf"^{_BEFORE}(?:checkpoint|ckpt|global_?step|step|iter|iteration|update)s?[-_=]?(?P<number>\d+)$",
        "step",
        "transformers, diffusers, accelerate, DeepSpeed, Lightning, Megatron, torchtitan",
    ),
)  # fmt: skip
BY_PLACE: tuple[Rule, ...] = (
    _rule(r"^(?P<number>\d{4,})_adapters$", "step", "mlx-lm"),
    _rule(r"^.+-step(?P<number>\d{8})$", "step", "kohya-ss sd-scripts, musubi-tuner"),
    _rule(r"^.+-(?P<number>\d{6})$", "epoch", "kohya-ss sd-scripts, musubi-tuner"),
    _rule(r"^.+_(?P<number>\d{9})$", "step", "ai-toolkit"),
)


@dataclass(frozen=True)
class Numbered:
    """A file or folder with its number, what that counts, and the series that it belongs to."""

    path: Path
    number: int
    unit: Unit
    series: str


def numbered(path: Path) -> Numbered | None:
    """The number that a file's or folder's own name states, or `None`.

    Raises `BadInput` for a number that no training has.

    >>> numbered(Path("0000100_adapters.safetensors")).number
    100
    """
    name = path.name
    if path.suffix.lower() in SUFFIXES:
        if NEVER_OPENED.match(name) or SHARD.match(name):
            return None
        stem, rules = name[: -len(path.suffix)], BY_PLACE + BY_WORD
    else:
        stem, rules = name, BY_WORD
    for rule in rules:
        if found := rule.pattern.match(stem):
            begin, end = found.span("number")
            number = _checked(found["number"], path)
            series = re.sub(r"(epoch|step)=\d+", r"\1=#", f"{stem[:begin]}#{stem[end:]}") + name[len(stem) :]
            return Numbered(path, number, rule.unit, series)
    return None


def _checked(digits: str, path: Path) -> int:
    if len(digits) > 19 or int(digits) > LARGEST_STEP:
        raise BadInput(
            "step-too-large",
            "a checkpoint's name states a step that no training has",
            file=path,
            expected=f"at most {LARGEST_STEP}",
            found=printable(digits, 60),
            fix="rename it to the step that it holds",
        )
    return int(digits)


def series(paths: Iterable[Path]) -> dict[str, list[Numbered]]:
    """Numbered files and folders by series, each in the order of its numbers."""
    found: defaultdict[str, list[Numbered]] = defaultdict(list)
    for path in paths:
        if (one := numbered(path)) is not None:
            found[one.series].append(one)
    return {name: sorted(found[name], key=lambda n: (n.number, n.path.name)) for name in sorted(found)}


def gaps(steps: Sequence[int], every: int | None = None) -> list[int]:
    """Steps that lack in an evenly spaced series, from `every` where the trainer says it.

    Without it the spacing is the distance that at least half of the neighbours have, and that all are
    multiples of. A last one that is nearer does not count, and steps that double are no even series.

    >>> gaps([10, 20, 40, 45]), gaps([1, 2, 4, 8]), gaps([30, 40], every=10)
    ([30], [], [10, 20])
    """
    spacing = every or _spacing([after - before for before, after in pairwise(steps)])
    if not spacing or steps[-1] // spacing > _MOST_STEPS:
        return []
    have = set(steps)
    # Where the first is on the grid that starts at zero, those before it are lacking too.
    first = spacing if steps[0] % spacing == 0 else steps[0]
    return [step for step in range(first, steps[-1], spacing) if step not in have]


def _spacing(between: list[int]) -> int:
    doubling = len(between) > 2 and all(after == 2 * before for before, after in pairwise(between))
    if len(between) > 1 and between[-1] < min(between[:-1]):
        between = between[:-1]
    usual = min(set(between), key=lambda d: (-between.count(d), d), default=0)
    even = usual > 0 and all(distance % usual == 0 for distance in between)
    return usual if even and not doubling and 2 * between.count(usual) >= len(between) else 0
