"""`tunescope trajectory`."""

import math
import os
from pathlib import Path
from typing import Any

import click

EPILOG = """\b
Examples:
  tunescope trajectory runs/ -o trajectory/
  tunescope trajectory my-run/ -o trajectory/             # a folder of checkpoint-* folders
  tunescope trajectory my-run/ --start my-run/initial -o trajectory/
  tunescope trajectory lora=runs/cpp full=full-runs/cpp -o proxy/
"""


class _Number(click.FloatRange):
    """A range that NaN, which compares with nothing, does not slip through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"nan is not in the range {self._describe_range()}.", param, ctx)
        return number


@click.command(epilog=EPILOG, short_help="How the layers moved during training, animated.")
@click.argument("runs", nargs=-1, required=True, metavar="[LABEL=]RUNS...")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="Write tables, animations and results.md here."
)
@click.option(
    "--start", type=click.Path(path_type=Path), help="Adapter or model that the checkpoints began from."
)
@click.option(
    "--fps", type=_Number(0.1, 50), help="Captures shown a second [default: 4, more where they are many]."
)
@click.option(
    "--hold",
    type=_Number(0, 60),
    default=2.0,
    show_default=True,
    help="Seconds the last frame stands.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier study in that folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the readout document on stdout.")
@click.option("--strict", is_flag=True, help="Exit 1 when a finding is a warning.")
def command(runs: tuple[str, ...], out: Path | None, as_json: bool, strict: bool, **options: Any) -> int:
    """Show layer by layer how weights moved during training runs.

    RUNS is what finetune or TrainingCapture wrote, a folder of such runs, or any folder of checkpoint-*
    adapters or whole models. Without -o only the readout is printed.
    """
    # Deferred: --help must not load the numeric libraries.
    from tunescope.questions.trajectory.study import trajectory_study

    if out is not None:
        _check(out, runs, options["overwrite"])
    study = trajectory_study(runs, start=options["start"])
    for label, notice in study.notices:
        click.echo(f"{label}: {notice}", err=True)
    if out is not None:
        _write(study, out, runs, options)
    _print(study, as_json)
    if out is not None:
        click.echo(f"Study written to {out}: start with {out / 'results.md'}.", err=True)
    return int(strict and any(f["severity"] == "warning" for f in study.document["findings"]))


def _check(out: Path, runs: tuple[str, ...], overwrite: bool) -> None:
    from tunescope.source.spec import parse_spec
    from tunescope.study.folder import check_output

    named = [Path(parse_spec(run)[1]) for run in runs]
    check_output(out, [path for path in named if os.path.lexists(path)], overwrite)


def _write(study: Any, out: Path, runs: tuple[str, ...], options: dict[str, Any]) -> None:
    from tunescope.questions.trajectory.study import provenance, write_trajectory
    from tunescope.study.counting import counted
    from tunescope.study.folder import study_folder

    start = options["start"]
    arguments = {"command": "trajectory", "runs": list(runs), **options, "start": start and str(start)}
    sources = provenance(study.runs)
    with (
        study_folder(out, arguments=arguments, sources=sources, overwrite=options["overwrite"]) as folder,
        counted("drawing") as tell,
    ):
        write_trajectory(study, folder, fps=options["fps"], hold=options["hold"], tell=tell)


def _print(study: Any, as_json: bool) -> None:
    from tunescope.questions.trajectory.readout import readout_markdown
    from tunescope.table import strict_json

    click.echo(strict_json(study.document) if as_json else readout_markdown(study.document), nl=as_json)
