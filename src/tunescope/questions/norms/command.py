"""`tunescope norms`."""

import os
from pathlib import Path
from typing import Any

import click

from tunescope.study.options import parse_layers, parse_scales, parse_words

EPILOG = """\b
Examples:
  tunescope norms my-adapter/
  tunescope norms before=run/checkpoint-100 after=run/checkpoint-900 -o study/
  tunescope norms org/adapter@main --metric stable_rank --layers 0,20-25
  tunescope norms style=lora.safetensors --scale style=0.5 --json
"""


@click.command(epilog=EPILOG, short_help="How much each weight changed.")
@click.argument("sources", nargs=-1, required=True, metavar="[LABEL=]SOURCE...")
@click.option(
    "--metric", help="Numeric column to map, rank and read out [default: frobenius_norm_normalized]."
)
@click.option("--focus-layer", type=click.IntRange(min=0), help="Also read out this layer's rank and growth.")
@click.option("--shared-scale", is_flag=True, help="One colour scale for all models.")
@click.option("--layers", help="Only these layers, such as 0,20-25.")
@click.option("--modules", help="Only these modules or families, such as q_proj,mlp.")
@click.option(
    "--scale", "scales", multiple=True, metavar="LABEL=X", help="Scale of a source that does not say it."
)
@click.option("--no-spectra", is_flag=True, help="Norms only: leave the spectral columns empty (faster).")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write a study folder here.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier study in that folder.")
@click.option("--spreadsheet-safe", is_flag=True, help="Quote CSV texts that a spreadsheet would run.")
@click.option("--json", "as_json", is_flag=True, help="Print the readout document on stdout.")
@click.option("--strict", is_flag=True, help="Exit 1 when a finding is a warning.")
def command(sources: tuple[str, ...], out: Path | None, as_json: bool, strict: bool, **options: Any) -> int:
    """Measure how much fine-tuning changed every weight of one or several adapters.

    SOURCE is an adapter folder or file, a hub id (org/name@revision:folder) or a weight_norms*.csv.
    Without -o the readout and the top of the table are printed.
    """
    # Deferred: --help must not load the numeric libraries.
    from tunescope.questions.norms.study import norms_study
    from tunescope.source.selection import Selection

    layers, modules = parse_layers(options["layers"]), parse_words(options["modules"])
    if out is not None:
        _check(out, sources, options["overwrite"])
    study = norms_study(
        sources,
        metric=options["metric"],
        focus=options["focus_layer"],
        scales=parse_scales(options["scales"]),
        chosen=Selection(layers, modules),
        spectra=not options["no_spectra"],
    )
    if out is not None:
        _write(study, out, sources, options)
    _print(study, as_json, full=out is None)
    if out is not None:
        click.echo(f"Study written to {out}: start with {out / 'readout.md'}.", err=True)
    return int(strict and any(f["severity"] == "warning" for f in study.document["findings"]))


def _check(out: Path, sources: tuple[str, ...], overwrite: bool) -> None:
    from tunescope.source.spec import parse_spec
    from tunescope.study.folder import check_output

    named = [Path(parse_spec(source)[1]) for source in sources]
    check_output(out, [path for path in named if os.path.lexists(path)], overwrite)


def _write(study: Any, out: Path, sources: tuple[str, ...], options: dict[str, Any]) -> None:
    from tunescope.questions.norms.study import write_norms
    from tunescope.source.ledger import provenance
    from tunescope.study.folder import study_folder

    arguments = {"command": "norms", "sources": list(sources), **options}
    arguments["scales"] = list(options["scales"])
    with study_folder(
        out, arguments=arguments, sources=provenance(study.sources), overwrite=options["overwrite"]
    ) as folder:
        write_norms(study, folder, shared_scale=options["shared_scale"], safe=options["spreadsheet_safe"])


def _print(study: Any, as_json: bool, full: bool) -> None:
    from tunescope.questions.norms.readout import readout_markdown, top_rows
    from tunescope.study.coverage import coverage_lines
    from tunescope.table import strict_json

    if as_json:
        click.echo(strict_json(study.document))
        return
    click.echo(readout_markdown(study.document, coverage_lines(study.coverage)), nl=False)
    if full:
        click.echo("\n" + "\n".join(top_rows(study.table.frame, study.metric)))
