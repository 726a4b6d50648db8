"""`tunescope importance`."""

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
    text_options,
)
from tunescope.study.progress import speaks

if TYPE_CHECKING:
    from tunescope.study.study import Study

_VERB = "importance"
_OPEN = click.FloatRange(0, 1, min_open=True, max_open=True)
# What a shell offers; a test holds it to what is measured, whose import a shell must not wait for.
OFFERED = ("taylor", "curvature", "fisher", "magnitude", "wanda", "ablation", "noise")
_PARAMETERS = (
    click.argument("model", metavar="[LABEL=]MODEL", shell_complete=completion.source),
    click.option(
        "--data",
        shell_complete=completion.source,
        required=True,
        help="JSONL, JSON, Parquet or CSV of texts, or a hub data set.",
    ),
    click.option(
        "--method",
        shell_complete=completion.words(OFFERED),
        default="taylor,curvature",
        show_default=True,
        help="Any of taylor, curvature, fisher, magnitude, wanda, ablation, noise.",
    ),
    *text_options(batch_size=1),
    dtype_option(),
    device_option(),
    check_hashes_option(),
    click.option(
        "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of every draw."
    ),
    click.option(
        "--precision",
        type=_OPEN,
        help="Stop once every standard error is below this part of the largest score.",
    ),
    click.option(
        "--noise-scale",
        type=_OPEN,
        default=0.05,
        show_default=True,
        help="Relative size of the jitter of method noise.",
    ),
    click.option("--no-layer-importance", is_flag=True, help="Do not bypass every block in turn."),
    click.option(
        "--order",
        type=click.Choice(["score", "network"]),
        default="score",
        show_default=True,
        help="Columns of the map by total score or in network order.",
    ),
    click.option(
        "--colour",
        type=click.Choice(["linear", "log", "rank", "column"]),
        default="linear",
        show_default=True,
        help="Colour scale of the map.",
    ),
)


def _measure(asked: Asked) -> "Study | None":
    # Deferred: --help must not load the numeric libraries.
    from tunescope.questions.importance.study import importance
    from tunescope.study.state import state_folder

    names = ("method", "sequences", "max_length", "batch_size", "dtype", "device", "seed", "precision")
    options: dict[str, Any] = {name: asked[name] for name in (*names, "noise_scale", "order", "colour")}
    study = importance(
        asked["model"],
        asked["data"],
        layer_importance=not asked["no_layer_importance"],
        state=None if asked.out is None else state_folder(asked.out, _VERB),
        tell=asked.tell,
        **options,
    )
    return study if speaks() else None


def _done(out: Path) -> None:
    from tunescope.study.state import forget_state, state_folder

    forget_state(state_folder(out, _VERB), "process-*-of-*.npz")


COMMAND = Command(
    verb=_VERB,
    summary="Which parameters the model's predictions depend on.",
    description="""Score every parameter of MODEL by how much its predictions on the data depend on it.

    MODEL is a folder or a hub id (org/name@revision). The loss is taken on completions and on the
    assistant's turns. A killed run with -o goes on where it stopped when it is started again.
    """,
    examples=(
        "tunescope importance my-model/ --data texts.jsonl -o study/",
        "tunescope importance org/model@main --data texts.jsonl --method curvature,noise --sequences 32",
        "tunescope importance my-model/ --data texts.jsonl --order network --colour log -o study/",
        "torchrun --nproc-per-node 8 -m tunescope importance my-model/ --data texts.jsonl -o study/",
    ),
    parameters=_PARAMETERS,
    measure=_measure,
    home="tunescope.questions.importance.study",
    inputs=lambda options: [options["model"], options["data"]],
    done=_done,
    kinds=(
        "early_layers",
        "middle_layers",
        "late_layers",
        "layer_importance_disagrees",
        "methods_disagree",
        "negative_layer_importance",
        "size_explains_map",
        "uniform_norms",
        "not_understood",
        "without_gradient",
    ),
)
