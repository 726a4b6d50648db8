"""`tunescope norms`."""

from typing import TYPE_CHECKING, Any

import click

from tunescope.study import completion
from tunescope.study.command import Asked, Command, reading_options, scale_option, selection_options
from tunescope.study.options import parse_scales

if TYPE_CHECKING:
    from tunescope.study.study import Study

# What a shell offers; a test holds it to the schema, whose import a shell must not wait for.
OFFERED = (
    "lora_rank", "lora_alpha", "scale", "d_out", "d_in", "frobenius_norm", "frobenius_norm_normalized",
    "unscaled_frobenius_norm", "unscaled_frobenius_norm_normalized", "lora_A_norm", "lora_B_norm",
    "spectral_norm", "stable_rank", "effective_rank", "participation_ratio", "energy_rank_90",
    "energy_rank_99", "relative_norm", "cosine_to_base", "mean", "variance", "abs_mean", "abs_variance",
    "max_abs", "relative_l1", "changed_fraction", "changed_fraction_1e-6", "changed_fraction_1e-5",
    "merge_projection_bf16", "merge_cosine_bf16", "merge_error_bf16", "merge_projection_fp16",
    "merge_cosine_fp16", "merge_error_fp16", "merge_projection_fp8", "merge_cosine_fp8",
    "merge_error_fp8",
)  # fmt: skip
_PARAMETERS = (
    click.argument(
        "sources", nargs=-1, required=True, metavar="[LABEL=]SOURCE...", shell_complete=completion.source
    ),
    click.option(
        "--metric",
        shell_complete=completion.words(OFFERED),
        help="Numeric column to map, rank and read out [default: frobenius_norm_normalized].",
    ),
    click.option(
        "--focus-layer", type=click.IntRange(min=0), help="Also read out this layer's rank and growth."
    ),
    click.option(
        "--shared-scale/--own-scale", default=True, help="One colour scale for all models, or each its own."
    ),
    *selection_options(),
    scale_option(),
    click.option(
        "--base",
        shell_complete=completion.source,
        metavar="BASE",
        help="Base model that whole models are compared with.",
    ),
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
    home="tunescope.questions.norms.study",
    inputs=lambda options: [*options["sources"], *filter(None, [options["base"]])],
    kinds=(
        "early_layers",
        "middle_layers",
        "late_layers",
        "hot_layer",
        "family_tilt",
        "hot_cell",
        "collapsed",
        "untrained",
        "unchanged",
        "non_finite",
        "not_attached",
        "duplicate",
        "opposite",
        "frozen",
        "nothing_in_common",
        "same_values",
    ),
)
