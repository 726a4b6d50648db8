"""`tunescope check`."""

from typing import TYPE_CHECKING

import click

from tunescope.study import completion
from tunescope.study.command import Asked, Command, check_hashes_option, salvage_option, scale_option
from tunescope.study.options import parse_scales

if TYPE_CHECKING:
    from tunescope.study.study import Study

_PARAMETERS = (
    click.argument(
        "sources", nargs=-1, required=True, metavar="[LABEL=]SOURCE...", shell_complete=completion.source
    ),
    click.option(
        "--base",
        shell_complete=completion.source,
        metavar="BASE",
        help="The model that it should attach to: a folder, file or hub id.",
    ),
    click.option("--deep", is_flag=True, help="Read the values too: untrained, not finite, doubled."),
    scale_option(),
    check_hashes_option(),
    salvage_option(),
)


def _measure(asked: Asked) -> "Study":
    # Deferred: --help must not load the numeric libraries.
    from tunescope.questions.check.study import check

    return check(
        *asked["sources"], base=asked["base"], scale=parse_scales(asked["scale"]), deep=asked["deep"]
    )


COMMAND = Command(
    verb="check",
    summary="What an adapter file is, and whether it will load.",
    description="""Say what adapter files are before one loads them, from their headers alone.

    With --base: how many of their modules meet a weight of the right shape, which do not and why, and which
    prefix would make them attach. Exit 0 when everything attaches (without --base: when it can be read), 1
    when not.
    """,
    examples=(
        "tunescope check my-adapter/",
        "tunescope check lora.safetensors --base base-model/",
        "tunescope check org/adapter --base org/model --json",
        "tunescope check my-adapter/ --deep -o check/",
    ),
    parameters=_PARAMETERS,
    measure=_measure,
    home="tunescope.questions.check.study",
    inputs=lambda options: [*options["sources"], *filter(None, [options["base"]])],
    kinds=(
        "not_attached",
        "wrong_width",
        "other_architecture",
        "wrong_depth",
        "experts_out_of_range",
        "vocabulary_resized",
        "untrained",
        "non_finite",
        "duplicate",
        "half_saved",
        "rank_mismatch",
        "left_out_by_config",
        "targets_absent",
        "names_of_the_loader",
        "not_judged",
    ),
)
