"""`tunescope importance`."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tunescope.errors import UsageError

EPILOG = """\b
Examples:
  tunescope importance my-model/ --data texts.jsonl -o study/
  tunescope importance org/model@main --data texts.jsonl --method curvature,noise --sequences 32
  tunescope importance my-model/ --data texts.jsonl --order network --scale log -o study/
  torchrun --nproc-per-node 8 -m tunescope importance my-model/ --data texts.jsonl -o study/
"""

_PLAIN_SECONDS = 5.0


@click.command(epilog=EPILOG, short_help="Which parameters the model's predictions depend on.")
@click.argument("model")
@click.option("--data", required=True, help="JSONL, JSON, Parquet or CSV of texts, or a hub data set.")
@click.option("--method", "methods", default="taylor,curvature", show_default=True,
              help="Any of taylor, curvature, fisher, magnitude, wanda, ablation, noise.")  # fmt: skip
@click.option(
    "--sequences", type=click.IntRange(min=1), default=128, show_default=True, help="At most so many."
)
@click.option("--max-length", type=click.IntRange(min=2), default=512, show_default=True, help="Tokens each.")
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True,
              help="Sequences side by side; taylor takes them one by one all the same.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["auto", "float32", "float64", "bfloat16", "float16"]),
              default="auto", show_default=True, help="auto: float32 on CPU, else as stored.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of every draw."
)
@click.option("--precision", type=click.FloatRange(0, 1, min_open=True, max_open=True),
              help="Stop once every standard error is below this part of the largest score.")  # fmt: skip
@click.option("--noise-scale", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05,
              show_default=True, help="Relative size of the jitter of method noise.")  # fmt: skip
@click.option("--no-layer-importance", is_flag=True, help="Do not bypass every block in turn.")
@click.option("--order", type=click.Choice(["score", "network"]), default="score", show_default=True,
              help="Columns of the map by total score or in network order.")  # fmt: skip
@click.option("--scale", type=click.Choice(["linear", "log", "rank", "column"]), default="linear",
              show_default=True, help="Colour scale of the map.")  # fmt: skip
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write a study folder here.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier study in that folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the readout document on stdout.")
@click.option("--strict", is_flag=True, help="Exit 1 when a finding is a warning.")
def command(model: str, data: str, out: Path | None, as_json: bool, strict: bool, **options: Any) -> int:
    """Score every parameter of MODEL by how much its predictions on the data depend on it.

    MODEL is a folder or a hub id (org/name@revision). The loss is taken on completions and on the
    assistant's turns. A killed run with -o goes on where it stopped when it is started again.
    """
    # Deferred: --help must not load the numeric libraries.
    from tunescope.questions.importance.study import importance_study, state_folder, writes
    from tunescope.writing import strict_json

    request = _request(model, data, options)
    if out is not None:
        _check(out, request, options["overwrite"])
    study = importance_study(request, state=None if out is None else state_folder(out), progress=_progress())
    if not writes():
        return 0
    if out is not None:
        _write(study, request, out, options)
    if as_json:
        click.echo(strict_json(study.document))
    else:
        from tunescope.questions.importance.readout import importance_markdown

        click.echo(importance_markdown(study.document), nl=False)
    if out is not None:
        click.echo(f"Study written to {out}: start with {out / 'readout.md'}.", err=True)
    return int(strict and any(finding.severity == "warning" for finding in study.findings))


def _request(model: str, data: str, options: dict[str, Any]) -> Any:
    from tunescope.questions.importance.study import Request

    methods = tuple(word.strip() for word in options["methods"].split(",") if word.strip())
    if not methods:
        raise UsageError("unknown-method", "no method is named", expected="such as taylor,curvature")
    names = ("sequences", "max_length", "batch_size", "dtype", "device", "seed", "precision", "noise_scale")
    chosen = {name: options[name] for name in names}
    return Request(model, data, methods, layer_importance=not options["no_layer_importance"], **chosen)


def _check(out: Path, request: Any, overwrite: bool) -> None:
    from tunescope.study.folder import check_output

    inputs = [Path(spec) for spec in (request.model, request.data)]
    check_output(out, [path for path in inputs if path.exists()], overwrite)


def _write(study: Any, request: Any, out: Path, options: dict[str, Any]) -> None:
    from dataclasses import asdict

    from tunescope.questions.importance.study import forget_state, provenance, write_importance
    from tunescope.study.folder import study_folder

    view = {"order": options["order"], "scale": options["scale"]}
    arguments = {"command": "importance", **asdict(request), **view}
    sources = provenance(request, study)
    with study_folder(out, arguments=arguments, sources=sources, overwrite=options["overwrite"]) as folder:
        write_importance(study, folder, **view)
    forget_state(out)


def _progress() -> Callable[[int, int], None]:
    """A line that is written over on a terminal, and a plain line every few seconds elsewhere."""
    terminal, last = sys.stderr.isatty(), [time.monotonic()]

    def show(done: int, total: int) -> None:
        if terminal:
            click.echo(f"\rscored {done} of {total} sequences", nl=done == total, err=True)
        elif time.monotonic() - last[0] >= _PLAIN_SECONDS or done == total:
            last[0] = time.monotonic()
            click.echo(f"scored {done} of {total} sequences", err=True)

    return show
