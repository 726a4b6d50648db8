"""`tunescope demo`."""

import time
from pathlib import Path

import click

from tunescope.cli.finetune import loss_lines, training_errors
from tunescope.cli.progress import shown_progress

EPILOG = """\b
Examples:
  tunescope demo
  tunescope demo -o demo-out --overwrite
"""


@click.command(epilog=EPILOG, short_help="Fine-tune the shipped model and look at the result.")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("demo-out"), show_default=True,
              help="Folder for everything that the demonstration makes.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an earlier demonstration in that folder.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(out: Path, overwrite: bool, debug: bool) -> int:
    """Fine-tune a small model on five domains at two learning rates, on the CPU, and show what moved.

    Takes under four minutes on two cores. It makes ten adapters with their captures, a study of norms,
    and animated trajectories.
    """
    del debug
    began = time.monotonic()
    # Deferred: --help must not load torch, and it is an extra.
    with training_errors(), shown_progress() as listener:
        from tunescope.demo.run import run_demo

        demo = run_demo(out, overwrite=overwrite, listener=listener)
    click.echo("\n".join(loss_lines(demo.runs)))
    click.echo()
    findings = [
        finding["text"] for document in (demo.norms, demo.trajectory) for finding in document["findings"]
    ]
    click.echo("\n".join(f"- {text}" for text in findings) or "No finding crossed its threshold.")
    click.echo(f"\nDone in {time.monotonic() - began:.0f} s. Look at:")
    for name, path in demo.places.items():
        click.echo(f"  {name:11} {path}")
    return 0
