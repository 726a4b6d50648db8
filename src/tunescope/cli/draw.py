"""`tunescope draw`: the pictures and sentences of saved studies made again, without the weights."""

from collections.abc import Sequence
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
    help="Formats of the pictures; others are removed.",
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
    the place of those that were there: pictures of formats that --figures does not name are gone then.
    A study whose files were changed is refused.
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
            before = _pictures(folder)
            study.save(folder, overwrite=True, figures=formats, limits=limits, tell=tell)
            if not quiet:
                click.echo(f"{folder}: {_said(before, _pictures(folder), figures)}", err=True)
    return 0


def _pictures(folder: Path) -> list[Path]:
    return [file for file in (folder / "figures").glob("*.*") if file.suffix != ".md"]


def _said(before: Sequence[Path], now: Sequence[Path], figures: str) -> str:
    """How many pictures there are, and of which formats those before are gone.

    >>> _said([Path("a.png"), Path("a.svg")], [Path("a.svg"), Path("a.pdf")], "svg,pdf")
    '1 picture as svg,pdf; those as png are gone'
    """
    left = {file.suffix for file in now}
    gone = dict.fromkeys(file.suffix[1:] for file in sorted(before) if file.suffix not in left)
    rest = f"; those as {','.join(gone)} are gone" if gone else ""
    return f"{counted(len({file.stem for file in now}), 'picture')} as {figures}{rest}"
