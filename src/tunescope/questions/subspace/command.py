"""`tunescope subspace`."""

from typing import TYPE_CHECKING, Any

import click

from tunescope.errors import UsageError
from tunescope.study import completion
from tunescope.study.command import (
    Asked,
    Command,
    device_option,
    reading_options,
    scale_option,
    selection_options,
)
from tunescope.study.options import parse_scales

if TYPE_CHECKING:
    from tunescope.study.study import Study

_OPEN = {"min_open": True, "max_open": True}
_PARAMETERS = (
    click.argument(
        "sources", nargs=-1, required=True, metavar="[LABEL=]SOURCE...", shell_complete=completion.source
    ),
    *selection_options(),
    click.option(
        "--of",
        multiple=True,
        type=click.Choice(["A", "B", "delta"]),
        help="Whose directions; repeatable [default: all three].",
    ),
    click.option("--side", multiple=True, type=click.Choice(["input", "output"]), help="[default: both]"),
    click.option(
        "--max-rank",
        type=click.IntRange(1, 4096),
        help="Grids, and the directions of a whole model's update, only up to so many [default: 64].",
    ),
    click.option(
        "--against-self",
        is_flag=True,
        help="The sources are ranks of one model: titles without primes, and each also against itself.",
    ),
    click.option(
        "--base",
        shell_complete=completion.source,
        help="The base checkpoint: also measure amplification and intruder dimensions.",
    ),
    click.option(
        "--ranks", default="", help="With --base: further ranks for the amplification table, such as 4,16."
    ),
    click.option(
        "--intruders",
        default=10,
        show_default=True,
        type=click.IntRange(1, 256),
        help="With --base: how many leading vectors are looked at.",
    ),
    click.option(
        "--epsilon",
        default=0.5,
        show_default=True,
        type=click.FloatRange(0, 1, **_OPEN),
        help="With --base: an intruder's best cosine lies below it.",
    ),
    click.option("--vmax", type=float, help="End of the colour scale of φ [default: 1]."),
    device_option("cpu"),
    scale_option(),
    *reading_options(),
)


def _measure(asked: Asked) -> "Study":
    # Deferred: --help must not load the numeric libraries.
    from tunescope.questions.subspace.directions import MATRICES, SIDES
    from tunescope.questions.subspace.study import subspace

    names = ("layers", "modules", "max_rank", "against_self", "base", "intruders", "epsilon", "vmax")
    options: dict[str, Any] = {name: asked[name] for name in (*names, "device", "hash_all")}
    return subspace(
        *asked["sources"],
        of=tuple(dict.fromkeys(asked["of"])) or tuple(MATRICES),
        sides=tuple(dict.fromkeys(asked["side"])) or SIDES,
        ranks=_ranks(asked["ranks"]),
        scale=parse_scales(asked["scale"]),
        tell=asked.tell,
        **options,
    )


def _ranks(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() and 1 <= int(word) <= 4096 for word in words):
        raise UsageError(
            "bad-ranks", "--ranks cannot be read", expected="such as 4,16 (1 to 4096)", found=text
        )
    return tuple(int(word) for word in words)


COMMAND = Command(
    verb="subspace",
    summary="In which directions weights changed, against chance.",
    description="""Compare the directions in which two or more adapters change each weight.

    Every overlap φ(i, j) stands beside the one that chance would give. SOURCE is an adapter folder or
    file, or a hub id; ranks, formats and training steps may differ. Without -o the readout is printed.
    """,
    examples=(
        "tunescope subspace seed-1/ seed-2/",
        "tunescope subspace a=run-1/ b=run-2/ --modules q_proj --layers 0,31,63,95 --vmax 0.8 -o study/",
        "tunescope subspace r8/ r64/ --of A --against-self -o study/",
        "tunescope subspace run/checkpoint-100 run/checkpoint-900 --base base-model/ -o study/",
    ),
    parameters=_PARAMETERS,
    measure=_measure,
    home="tunescope.questions.subspace.study",
    inputs=lambda options: [*options["sources"], *([options["base"]] if options["base"] else [])],
    kinds=(
        "duplicate",
        "frozen",
        "same_run",
        "shared_initialisation",
        "shared_inputs",
        "shared_directions",
        "first_directions_shared",
        "few_directions_shared",
        "nothing_shared",
        "untrained",
        "non_finite",
    ),
)
