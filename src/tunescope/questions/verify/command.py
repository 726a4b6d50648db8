"""`tunescope verify`."""

from typing import TYPE_CHECKING

import click

from tunescope.study import completion
from tunescope.study.command import Asked, Command, reading_options, scale_option
from tunescope.study.options import parse_scales

if TYPE_CHECKING:
    from tunescope.study.study import Study

_PARAMETERS = (
    click.argument("merged", metavar="MERGED", shell_complete=completion.source),
    click.argument(
        "adapters", nargs=-1, required=True, metavar="[LABEL=]ADAPTER...", shell_complete=completion.source
    ),
    click.option(
        "--base",
        shell_complete=completion.source,
        metavar="BASE",
        help="The model that was merged into.  [required]",
    ),
    click.option(
        "--expect",
        shell_complete=completion.labels,
        multiple=True,
        metavar="LABEL=X",
        help="Coefficient that is right for it [default: 1].",
    ),
    scale_option(),
    *reading_options(),
)


def _measure(asked: Asked) -> "Study":
    # Deferred: --help must not load the numeric libraries.
    from tunescope.questions.verify.study import verify
    from tunescope.source.configured_base import base_wanted

    if asked["base"] is None:
        raise base_wanted(asked["adapters"])
    return verify(
        asked["merged"],
        *asked["adapters"],
        base=asked["base"],
        expect=parse_scales(asked["expect"], "--expect"),
        scale=parse_scales(asked["scale"]),
        hash_all=asked["hash_all"],
        tell=asked.tell,
    )


COMMAND = Command(
    verb="verify",
    summary="Is this adapter in this checkpoint, once, with its scale?",
    description="""Read back how many times each adapter lies in a merged checkpoint.

    The merge is replayed with the rounding of the file, so that small updates are told apart from none.
    The exit status is 0 when every adapter is there as expected, and 1 when not.
    """,
    examples=(
        "tunescope verify merged/ --base base/ my-adapter/",
        "tunescope verify soup/ --base base/ code=a/ prose=b/ --expect code=0.7 --expect prose=0.3",
    ),
    parameters=_PARAMETERS,
    measure=_measure,
    home="tunescope.questions.verify.study",
    inputs=lambda options: [options["merged"], *filter(None, [options["base"]]), *options["adapters"]],
    kinds=(
        "as_expected",
        "not_merged",
        "merged_twice",
        "other_scale",
        "partly_merged",
        "other_change",
        "mixture",
        "below_the_grid",
        "cannot_tell",
        "changed_elsewhere",
        "unread",
        "untrained",
        "non_finite",
        "missing",
        "incomparable",
    ),
)
