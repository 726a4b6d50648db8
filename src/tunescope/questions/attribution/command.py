"""`tunescope attribute`."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

EPILOG = """\b
Examples:
  tunescope attribute my-adapter/ --base base-model/ --data texts.jsonl -o study/
  tunescope attribute my-adapter/ --base org/model@main --data texts.jsonl --verify 10 -o study/
  tunescope attribute tuned-model/ --base base-model/ --data code.jsonl --data prose.jsonl -o study/
"""

_PLAIN_SECONDS = 5.0


@click.command(epilog=EPILOG, short_help="Which of the changes bought the gain.")
@click.argument("tuned", metavar="[LABEL=]TUNED")
@click.option("--base", required=True, help="The model that was tuned: a folder or a hub id.")
@click.option("--data", required=True, multiple=True, metavar="[NAME=]FILE",
              help="JSONL, JSON, Parquet or CSV of texts, or a hub data set; repeatable.")  # fmt: skip
@click.option("--nodes", type=click.IntRange(1, 1024), default=8, show_default=True,
              help="Points between base and tuned; doubled up to 64 until the parts add up.")  # fmt: skip
@click.option("--verify", type=click.IntRange(min=0), default=0, metavar="K",
              help="Put the K largest and K random weights back one at a time and measure.")  # fmt: skip
@click.option(
    "--sequences", type=click.IntRange(min=1), default=128, show_default=True, help="At most so many."
)
@click.option("--max-length", type=click.IntRange(min=2), default=512, show_default=True, help="Tokens each.")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True,
              help="Sequences side by side; whole checkpoints take them one by one.")  # fmt: skip
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "float64", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="auto: float32 on the CPU, the checkpoint's own dtype elsewhere.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--scale", type=float, metavar="X", help="Scale of an adapter that does not say it.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random weights."
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write a study folder here.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier study in that folder.")
@click.option("--spreadsheet-safe", is_flag=True, help="Quote CSV texts that a spreadsheet would run.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary document on stdout.")
@click.option("--strict", is_flag=True, help="Exit 1 when a finding is a warning.")
def command(tuned: str, out: Path | None, as_json: bool, strict: bool, **options: Any) -> int:
    """Say how much each weight that fine-tuning changed contributed to the change of the loss.

    TUNED is an adapter or a whole checkpoint, --base the model it was tuned from. The loss is taken on
    completions and on the assistant's turns, in nats per token; negative contributions lowered it, and
    all together are the tuned loss minus the base loss. Without -o the readout is printed; with it, a
    killed run goes on where it stopped when it is started again.
    """
    # Deferred: --help must not load the numeric libraries.
    from tunescope.questions.attribution.study import attribution_study, state_folder

    request = _request(tuned, options)
    if out is not None:
        _check(out, request, options["overwrite"])
    study = attribution_study(request, progress_line(), None if out is None else state_folder(out))
    if out is not None:
        _write(study, request, out, options)
    _print(study, as_json)
    if out is not None:
        click.echo(f"Study written to {out}: start with {out / 'readout.md'}.", err=True)
    return int(strict and any(finding.severity == "warning" for finding in study.findings))


def _request(tuned: str, options: dict[str, Any]) -> Any:
    from tunescope.questions.attribution.study import Request
    from tunescope.study.options import parse_scales

    if options["scale"] is not None:
        parse_scales((f"scale={options['scale']}",))
    names = (
        "base",
        "nodes",
        "verify",
        "sequences",
        "max_length",
        "batch_size",
        "dtype",
        "device",
        "scale",
        "seed",
    )
    return Request(tuned, data=tuple(options["data"]), **{name: options[name] for name in names})


def _check(out: Path, request: Any, overwrite: bool) -> None:
    from tunescope.source.spec import parse_spec
    from tunescope.study.folder import check_output

    named = [Path(request.base), *(Path(parse_spec(place)[1]) for place in (request.tuned, *request.data))]
    check_output(out, [path for path in named if os.path.lexists(path)], overwrite)


def _write(study: Any, request: Any, out: Path, options: dict[str, Any]) -> None:
    from dataclasses import asdict

    from tunescope.questions.attribution.state import forget
    from tunescope.questions.attribution.study import state_folder, write_attribution
    from tunescope.study.folder import study_folder

    arguments = {"command": "attribute", **asdict(request), "data": list(request.data)}
    with study_folder(
        out, arguments=arguments, sources=study.sources, overwrite=options["overwrite"]
    ) as folder:
        write_attribution(study, folder, safe=options["spreadsheet_safe"])
    forget(state_folder(out))


def _print(study: Any, as_json: bool) -> None:
    from tunescope.questions.attribution.readout import attribution_markdown
    from tunescope.writing import strict_json

    click.echo(strict_json(study.document) if as_json else attribution_markdown(study.document).rstrip("\n"))


def progress_line() -> Callable[[str, int, int], None]:
    """A line that is written over on a terminal, and a plain line every few seconds elsewhere."""
    terminal, last = sys.stderr.isatty(), [time.monotonic()]

    def show(what: str, done: int, total: int) -> None:
        text = f"{what}, {done + 1} of {total}"
        if terminal:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)
        elif time.monotonic() - last[0] >= _PLAIN_SECONDS:
            last[0] = time.monotonic()
            click.echo(text, err=True)

    return show
