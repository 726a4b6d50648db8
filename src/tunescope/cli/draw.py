"""`tunescope draw`: the pictures and sentences of saved studies made again, without the weights."""

from pathlib import Path

import click

from tunescope.cli.loading import load_drawing
from tunescope.study import completion
from tunescope.study.options import parse_formats
from tunescope.words import counted

EPILOG = """\b
Examples:
  tunescope draw study/ --figures svg,pdf
  tunescope draw study/ --figures all
  tunescope draw norms/ motion/ --figures none
"""


@click.command(epilog=EPILOG, short_help="Make the pictures and sentences of saved studies again.")
@click.argument(
    "studies", nargs=-1, required=True, metavar="STUDY...", type=click.Path(path_type=Path),
    shell_complete=completion.study,
)  # fmt: skip
@click.option(
    "--figures",
    default="png,svg",
    show_default=True,
    metavar="png,svg,pdf,all|none",
    help="Formats of the pictures.",
)
@click.option(
    "--limits",
    type=click.Choice(["zero", "largest", "data"]),
    help="Where colour scales begin and end [default: as the study was last written].",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(studies: tuple[Path, ...], figures: str, limits: str | None, quiet: bool, debug: bool) -> int:
    """Draw each STUDY again from what it holds: its tables and its readout, not the weights.

    STUDY is a folder that a command wrote with -o. Its pictures, sentences and CSV files are made anew, in
    the place of those that were there, whatever their formats; a study whose files were changed is refused.
    """
    del debug
    formats = parse_formats(figures)
    # Deferred: --help must not load the numeric libraries.
    from tunescope.questions.listed import read
    from tunescope.study.progress import shown

    # All are read before one is written, so that a wrong name among several changes nothing.
    opened = [(folder, read(folder)) for folder in studies]
    if formats:
        load_drawing()
    with shown(quiet) as tell:
        for folder, study in opened:
            study.save(folder, overwrite=True, figures=formats, limits=limits, tell=tell)
            if not quiet:
                made = {file.stem for file in (folder / "figures").glob("*.*") if file.suffix != ".md"}
                click.echo(f"{folder}: {counted(len(made), 'picture')} as {figures}", err=True)
    return 0
