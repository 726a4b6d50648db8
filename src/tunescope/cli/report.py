"""`tunescope report`: saved studies as one page."""

import webbrowser
from pathlib import Path

import click

from tunescope.study import completion

# What every page of ours says near its beginning.
MARK = b'<meta name="generator" content="tunescope">'
EPILOG = """\b
Examples:
  tunescope report study/ -o report.html
  tunescope report norms/ directions/ motion/ effect/ -o report.html --open
"""


@click.command(epilog=EPILOG, short_help="One page to look at, made of saved studies.")
@click.argument(
    "studies", nargs=-1, required=True, metavar="STUDY...", type=click.Path(path_type=Path),
    shell_complete=completion.study,
)  # fmt: skip
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True,
              help="The file to write.")  # fmt: skip
@click.option("--title", default="", help="What heads the page, instead of the names of base and models.")
@click.option(
    "--about", default="", help="A sentence below the title: what was studied, and what a name means."
)
@click.option("--overwrite", is_flag=True, help="Replace a file of that name.")
@click.option("--open", "open_it", is_flag=True, help="Show it in the browser.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(
    studies: tuple[Path, ...], out: Path, title: str, about: str, overwrite: bool, open_it: bool, quiet: bool,
    debug: bool,
) -> int:  # fmt: skip
    """Make one HTML page of every STUDY, which answers how much, in which directions, when, and whether it
    matters.

    STUDY is a folder that a command wrote with -o. The page is one file that any browser opens without a
    network; a model has one colour in all studies. A study whose files were changed is refused.
    """
    del debug
    # Deferred: --help must not load the numeric libraries.
    from tunescope.questions.listed import read
    from tunescope.study.report import report
    from tunescope.writing import clear_remains, held, write_text

    check_file(out, overwrite)
    page = report([read(folder) for folder in dict.fromkeys(studies)], title=title, about=about)
    with held(out):
        clear_remains(out)
        write_text(out, page)
    if not quiet:
        click.echo(f"Page written to {out}: {out.stat().st_size / 1e6:.2f} MB.", err=True)
    if open_it:
        webbrowser.open(out.resolve().as_uri())
    return 0


def check_file(out: Path, overwrite: bool) -> None:
    """Refuse a page that cannot be written, before any study is read."""
    # Deferred: --help must not load what errors need.
    from tunescope.errors import UsageError
    from tunescope.paths import check_possible, exists, is_folder

    check_possible(out)
    if is_folder(out):
        raise UsageError("output-exists", "the output is a folder", file=out, fix="name a file")
    if not out.absolute().parent.is_dir():
        raise UsageError(
            "no-parent", "the folder to write into is not there", file=out, fix="create its parent first"
        )
    if exists(out) and not overwrite:
        raise UsageError(
            "output-exists", "there is a file of this name", file=out, fix="--overwrite, or another -o"
        )
    if exists(out) and not _is_page(out):
        raise UsageError(
            "not-ours", "the file is no page that tunescope wrote, so it is not overwritten", file=out,
            fix="choose another -o",
        )  # fmt: skip


def _is_page(path: Path) -> bool:
    """Whether it is a file that this command wrote; a pipe or a device, which is never opened, is none."""
    try:
        return path.is_file() and MARK in path.read_bytes()[:4000]
    except OSError:
        return False
