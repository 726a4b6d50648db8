"""`tunescope norms`."""

from typing import TYPE_CHECKING, Any

import click

from tunescope.study.command import Asked, Command, reading_options, scale_option, selection_options
from tunescope.study.options import parse_scales

if TYPE_CHECKING:
    from tunescope.study.study import Study

_PARAMETERS = (
    click.argument("sources", nargs=-1, required=True, metavar="[LABEL=]SOURCE..."),
    click.option(
        "--metric", help="Numeric column to map, rank and read out [default: frobenius_norm_normalized]."
    ),
    click.option(
        "--focus-layer", type=click.IntRange(min=0), help="Also read out this layer's rank and growth."
    ),
    click.option(
        "--shared-scale/--own-scale", default=True, help="One colour scale for all models, or each its own."
    ),
    *selection_options(),
    scale_option(),
    click.option("--base", metavar="BASE", help="Base model that whole models are compared with."),
    click.option("--align-vocab", is_flag=True, help="Compare the rows that resized vocabularies share."),
    click.option("--heads", metavar="Q/KV[/DIM]", help="Attention heads, where no config.json states them."),
    click.option(
        "--spectra",
        type=click.Choice(("none", "top", "full")),
        help="Singular values of ΔW [default: full for adapters, none for whole models].",
    ),
    click.option("--no-spectra", is_flag=True, help="The same as --spectra none."),
    *reading_options(),
)


def _measure(asked: Asked) -> "Study":
    # Deferred: --help must not load the numeric libraries.
    from tunescope.questions.norms.study import norms

    names = (
        "metric",
        "focus_layer",
        "shared_scale",
        "layers",
        "modules",
        "base",
        "align_vocab",
        "heads",
        "hash_all",
    )
    options: dict[str, Any] = {name: asked[name] for name in names}
    return norms(
        *asked["sources"],
        scale=parse_scales(asked["scale"]),
        spectra="none" if asked["no_spectra"] else asked["spectra"],
        tell=asked.tell,
        **options,
    )


COMMAND = Command(
    verb="norms",
    summary="How much each weight changed.",
    description="""Measure how much fine-tuning changed every weight of one or several adapters or models.

    SOURCE is an adapter folder or file, a hub id (org/name@revision:folder) or a weight_norms*.csv; with
    --base also a whole model, of which every tensor is compared with the base's.
    Without -o the readout and the top of the table are printed.
    """,
    examples=(
        "tunescope norms my-adapter/",
        "tunescope norms before=run/checkpoint-100 after=run/checkpoint-900 -o study/",
        "tunescope norms org/adapter@main --metric stable_rank --layers 0,20-25",
        "tunescope norms style=lora.safetensors --scale style=0.5 --json",
        "tunescope norms tuned-model/ --base base-model/ --spectra top",
    ),
    parameters=_PARAMETERS,
    measure=_measure,
    inputs=lambda options: [*options["sources"], *filter(None, [options["base"]])],
    kinds=(
        "early_layers",
        "middle_layers",
        "late_layers",
        "family_tilt",
        "hot_cell",
        "collapsed",
        "untrained",
        "non_finite",
        "duplicate",
        "frozen",
        "nothing_in_common",
        "same_values",
    ),
)
