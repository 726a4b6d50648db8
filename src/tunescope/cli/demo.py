"""`tunescope demo`."""

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from tunescope.cli.finetune import loss_lines, training_errors
from tunescope.cli.progress import shown_progress

# Findings of one study.
_MOST_SHOWN = 2
EPILOG = """\b
Examples:
  tunescope demo --quick
  tunescope demo
  tunescope demo -o demo-out --overwrite
"""


@click.command(epilog=EPILOG, short_help="Fine-tune the shipped model and look at the result.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for everything that is made [default: demo-out, with --quick demo-quick].",
)
@click.option("--quick", is_flag=True, help="Ten seconds without torch or training: adapters made up here.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier demonstration in that folder.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(out: Path | None, quick: bool, overwrite: bool, debug: bool) -> int:
    """Fine-tune a small model on five domains at two learning rates, on the CPU, and show what moved.

    Takes under four minutes on two cores, and ends in one page that answers the four questions: how much, in
    which directions, when, and whether it matters. With --quick it makes up a base model, three adapters
    and a merge that the other commands can be tried on, and measures them.
    """
    del debug
    began = time.monotonic()
    if quick:
        _quick(out or Path("demo-quick"), overwrite)
    else:
        _whole(out or Path("demo-out"), overwrite)
    click.echo(f"\nDone in {time.monotonic() - began:.0f} s.")
    return 0


def _quick(out: Path, overwrite: bool) -> None:
    from tunescope.demo.quick import run_quick

    taste = run_quick(out, overwrite=overwrite)
    _show(taste.studies, taste.places)
    click.echo("\nNext:")
    for line in _next(out):
        click.echo(f"  {line}")


def _next(out: Path) -> Sequence[str]:
    """What else can be asked about what was made."""
    seed, base, merged = (shlex.quote(str(out / part)) for part in ("adapters/seed-0", "base", "merged"))
    return (
        f"tunescope check {seed} --base {base}",
        f"tunescope verify {merged} {seed} --base {base}",
        f"tunescope norms {merged} --base {base} --spectra top",
    )


def _whole(out: Path, overwrite: bool) -> None:
    # Deferred: --help must not load torch, and it is an extra.
    with training_errors(), shown_progress() as listener:
        from tunescope.demo.run import run_demo

        demo = run_demo(out, overwrite=overwrite, listener=listener, announce=_announce)
    click.echo("\n".join(loss_lines(demo.runs)) + "\n")
    _show(tuple(demo.studies.values()), demo.places)


def _announce(name: str) -> None:
    click.echo(f"asking: {name}", err=True)


def _show(studies: Sequence[Any], places: Mapping[str, Any]) -> None:
    """The strongest findings of every study, and where to look."""
    # Deferred: --help must not load the numeric libraries.
    from tunescope.study.finding import answers

    found = [finding.text for study in studies for finding in answers(study.findings)[:_MOST_SHOWN]]
    click.echo("\n".join(f"- {text}" for text in found) or "No finding crossed its threshold.")
    click.echo("\nLook at:")
    for name, path in places.items():
        click.echo(f"  {name:11} {path}")
