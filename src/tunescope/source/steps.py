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
# In front of a number a point belongs to it.
_AHEAD = r"(?:.*[-_= ])?"
# A fraction is a step only of thousands or millions: `step-1.5` is a version.
_COUNT = r"(?P<number>\d+(?:\.\d+)?[km]|\d+)"
# What else Lightning, NeMo, OLMo and OpenRLHF say behind a step: `-val_loss=0.53`, `-tokens4B`.
_BEHIND = r"(?:_hf|-[A-Za-z_]+=-?\d+(?:\.\d+)?|[-_]epoch[-_=]?\d+|-tokens\d+(?:\.\d+)?[KMBT])*"
_STEP = r"(?:checkpoint|ckpt|global_?step|step|iter|iteration|update)s?"
BY_WORD: tuple[Rule, ...] = (
    _rule(
        rf"^{_BEFORE}{_STEP}[-_=]?{_COUNT}{_BEHIND}$",
        "step",
        "transformers, diffusers, accelerate, DeepSpeed, Lightning, NeMo, Megatron, torchtitan, OLMo",
    ),
    _rule(rf"^{_BEFORE}epochs?[-_=]?{_COUNT}{_BEHIND}$", "epoch", "torchtune, diffusion-pipe, callbacks"),
    _rule(rf"^{_AHEAD}{_COUNT}[-_]?(?:steps?|iters?|iterations?|updates?)$", "step", "callbacks"),
    _rule(rf"^{_AHEAD}{_COUNT}[-_]?epochs?$", "epoch", "callbacks"),
)  # fmt: skip
BY_PLACE: tuple[Rule, ...] = (
    _rule(r"^(?P<number>\d{4,})_adapters$", "step", "mlx-lm"),
    _rule(r"^.+-step(?P<number>\d{8})$", "step", "kohya-ss sd-scripts, musubi-tuner"),
    _rule(r"^.+-(?P<number>\d{6})$", "epoch", "kohya-ss sd-scripts, musubi-tuner"),
    _rule(r"^.+_(?P<number>\d{9})(?:_(?:high|low)_noise)?$", "step", "ai-toolkit"),
    _rule(r"^.*-save-(?P<number>\d+)-\d+-\d+$", "step", "OneTrainer: step, epoch, step of the epoch"),
    _rule(r"^.+_e\d+_s(?P<number>\d+)$", "step", "cloneofsimo/lora: epoch, step"),
    _rule(r"^adapter_(?P<number>\d+)$", "epoch", "torchtune before 0.6"),
)


_TIMES = {"k": 1_000, "m": 1_000_000}
# Parts of a name that change with the step and part no series.
_ALONG = re.compile(
    r"(?:epoch|step)[-_=]?\d+|_e\d+(?=_s$)|[-_]?[A-Za-z_]+=-?\d+(?:\.\d+)?|-tokens\d[\d.]*[KMBT]|^-\d+-\d+$|"
    r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d",
    re.I,
)
_BARE = re.compile(r"^\d+$")
# Bare numbers that count no steps: days (20260131), and seconds of a clock or longer.
_DAY, _CLOCK = re.compile(r"^(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$"), 10**9


@dataclass(frozen=True)
class Numbered:
    """A file or folder with its number, what that counts, and the series that it belongs to.

    `bare` where the name is a number and no word says what it counts.
    """

    path: Path
    number: int
    unit: Unit
    series: str
    bare: bool = False


def numbered(path: Path) -> Numbered | None:
    """The number that a file's or folder's own name states, or `None`.

    Raises `BadInput` for a number that no training has.

    >>> numbered(Path("0000100_adapters.safetensors")).number
    100
    """
    stem, suffix = _parted(path)
    if suffix and (NEVER_OPENED.match(path.name) or SHARD.match(path.name)):
        return None
    for rule in (*(BY_PLACE if suffix else ()), *BY_WORD):
        if (found := rule.pattern.match(stem)) and (number := _counted(found["number"], path)) is not None:
            begin, end = found.span("number")
            around = (_ALONG.sub(_placeless, part) for part in (stem[:begin], stem[end:]))
            return Numbered(path, number, rule.unit, "#".join(around) + suffix)
    return None


def bare(path: Path) -> Numbered | None:
    """The number that is a file's or folder's whole name; `None` for a day, a time and everything else.

    >>> bare(Path("run/0200")).number, bare(Path("run/20260131"))
    (200, None)
    """
    stem, suffix = _parted(path)
    if not _BARE.match(stem) or _DAY.match(stem) or len(stem) > 19 or int(stem) >= _CLOCK:
        return None
    return Numbered(path, int(stem), "step", f"#{suffix}", bare=True)


def _parted(path: Path) -> tuple[str, str]:
    """A name and, of a file of weights, its suffix."""
    suffix = path.suffix if path.suffix.lower() in SUFFIXES else ""
    return path.name.removesuffix(suffix), suffix


def _placeless(found: re.Match[str]) -> str:
    return re.sub(r"\d[\d.]*", "#", found[0])


def _counted(text: str, path: Path) -> int | None:
    """`1500`, `1.5k` and `2m` as a number; `None` where thousands of it are no whole number."""
    times = _TIMES.get(text[-1].lower())
    if times is None:
        return _checked(text, path)
    whole, _, part = text[:-1].partition(".")
    digits = f"{whole}{part}"
    count, rest = divmod(int(_checked(digits, path)) * times, 10 ** len(part))
    return None if rest else _checked(str(count), path)


def _checked(digits: str, path: Path) -> int:
    digits = digits.lstrip("0") or "0"
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
