"""`tunescope attribute`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunescope.study import completion
from tunescope.study.command import (
    Asked,
    Command,
    check_hashes_option,
    device_option,
    dtype_option,
    scale_option,
    text_options,
)
from tunescope.study.options import parse_scales
from tunescope.study.progress import speaks

if TYPE_CHECKING:
    from tunescope.study.study import Study

_VERB = "attribute"
_PARAMETERS = (
    click.argument("tuned", metavar="[LABEL=]TUNED", shell_complete=completion.source),
    click.option(
        "--base",
        shell_complete=completion.source,
        help="The model that was tuned: a folder or a hub id.  [required]",
    ),
    click.option(
        "--data",
        shell_complete=completion.source,
        required=True,
        multiple=True,
        metavar="[NAME=]FILE",
        help="JSONL, JSON, Parquet or CSV of texts, or a hub data set; repeatable.",
    ),
    click.option(
        "--nodes",
        type=click.IntRange(1, 1024),
        default=9,
        show_default=True,
        help="Least points from base to tuned; nested sets up to 65 until the parts settle and add up.",
    ),
    click.option(
        "--put-back",
        type=click.IntRange(min=0),
        default=0,
        metavar="K",
        help="Put the K largest and K random weights back one at a time and measure.",
    ),
    *text_options(batch_size=8),
    dtype_option(),
    device_option(),
    check_hashes_option(),
    scale_option(),
    click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random weights."
    ),
)


def _measure(asked: Asked) -> "Study | None":
    # Deferred: --help must not load the numeric libraries.
    from tunescope.questions.attribution.study import attribute
    from tunescope.source.configured_base import base_wanted
    from tunescope.study.state import state_folder

    if asked["base"] is None:
        raise base_wanted([asked["tuned"]])
    names = ("nodes", "put_back", "sequences", "max_length", "batch_size", "dtype", "device", "seed")
    options: dict[str, Any] = {name: asked[name] for name in names}
    study = attribute(
        asked["tuned"],
        asked["base"],
        list(asked["data"]),
        scale=parse_scales(asked["scale"]),
        state=None if asked.out is None else state_folder(asked.out, _VERB),
        tell=asked.tell,
        **options,
    )
    return study if speaks() else None


def _inputs(options: Mapping[str, Any]) -> Sequence[str]:
    return [options["tuned"], *filter(None, [options["base"]]), *options["data"]]


def _done(out: Path) -> None:
    from tunescope.questions.attribution.state import KEPT
    from tunescope.study.state import forget_state, state_folder

    forget_state(state_folder(out, _VERB), KEPT)


COMMAND = Command(
    verb=_VERB,
    summary="Which of the changes bought the gain.",
    description="""Say how much each weight that fine-tuning changed contributed to the change of the loss.

    TUNED is an adapter or a whole checkpoint, --base the model it was tuned from. The loss is taken on
    completions and on the assistant's turns, in nats per token; negative contributions lowered it, and
    all together are the tuned loss minus the base loss. Without -o the readout is printed; with it, a
    killed run goes on where it stopped when it is started again.
    """,
    examples=(
        "tunescope attribute my-adapter/ --base base-model/ --data texts.jsonl -o study/",
        "tunescope attribute my-adapter/ --base org/model@main --data texts.jsonl --put-back 10 -o study/",
        "tunescope attribute tuned-model/ --base base-model/ --data code.jsonl --data prose.jsonl -o study/",
        "torchrun --nproc-per-node 4 -m tunescope attribute tuned/ --base base/ --data texts.jsonl -o study/",
    ),
    parameters=_PARAMETERS,
    measure=_measure,
    home="tunescope.questions.attribution.study",
    inputs=_inputs,
    done=_done,
    kinds=(
        "gain",
        "no_gain",
        "early_layers",
        "middle_layers",
        "late_layers",
        "family_tilt",
        "works_against",
        "moved_without_effect",
        "effect_without_motion",
        "size_explains_map",
        "attribution_agrees",
        "attribution_disagrees",
        "put_back",
        "gain_here_cost_there",
        "trade_off",
        "not_converged",
        "not_attributed",
    ),
)
