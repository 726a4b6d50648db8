"""`tunescope finetune`."""

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from tunescope.cli.configuration import config_option
from tunescope.cli.progress import shown_progress, speaks
from tunescope.errors import UsageError, printable
from tunescope.extras import needed_by
from tunescope.study import completion
from tunescope.words import counted

EPILOG = """\b
Examples:
  tunescope finetune --model org/model --data cpp=a.jsonl --data python=b.jsonl --lr 2e-4 --lr 1e-3 -o runs/
  tunescope finetune --model org/model --data math=org/dataset:train --targets mlp --epochs 2 -o runs/
  tunescope finetune --model ./small-model --data cpp=cpp.jsonl --full -o full-runs/
  tunescope finetune --config sweep.yaml -o runs/
  torchrun --nproc_per_node 2 -m tunescope finetune --config sweep.yaml -o runs/
"""


# No training counts further; the bound keeps what does not fit a machine integer from its libraries.
_COUNT = click.IntRange(max=2**31 - 1)


@click.command(
    epilog=EPILOG,
    short_help="Fine-tune over domains and rates, recording the motion.",
    context_settings={"auto_envvar_prefix": "TUNESCOPE_FINETUNE", "show_default": True},
)
@config_option()
@click.option(
    "--model", required=True, shell_complete=completion.source, help="Folder or hub id of the base model."
)
@click.option(
    "--data",
    shell_complete=completion.source,
    multiple=True,
    required=True,
    metavar="NAME=SOURCE",
    help="A domain: file or hub data set.",
)
@click.option(
    "--lr",
    "rates",
    multiple=True,
    type=float,
    default=[2e-4],
    envvar="TUNESCOPE_FINETUNE_LR",
    help="Learning rate; give several.",
)
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    type=click.IntRange(0, 2**32 - 1),
    default=[0],
    envvar="TUNESCOPE_FINETUNE_SEED",
    help="Seed; give several.",
)
@click.option("--epochs", type=float, default=1.0, help="Passes over the training rows.")
@click.option("--max-steps", type=_COUNT, help="Stop after this many optimizer steps.")
@click.option("--rank", type=_COUNT, default=16, help="Rank of the adapters.")
@click.option("--alpha", type=float, default=32.0, help="Alpha of the adapters: their scale is alpha / rank.")
@click.option("--dropout", type=float, default=0.0, help="Dropout before the adapters.")
@click.option("--targets", default="attention", help="attention | mlp | all | NAME,...: the layers adapted.")
@click.option(
    "--quantize",
    type=click.Choice(["nf4", "int8", "none"]),
    help="The base's form.  [default: nf4; with --full: none]",
)
@click.option("--full", is_flag=True, help="Train all weights, in float32, instead of adapters.")
@click.option(
    "--batch-size",
    type=_COUNT,
    default=2,
    help="Rows of one forward pass on one process.",
)
@click.option(
    "--accumulate",
    type=_COUNT,
    default=4,
    help="Forward passes of one optimizer step.",
)
@click.option("--max-length", type=_COUNT, default=512, help="Tokens after which a row is cut.")
@click.option("--schedule", default="linear", help="linear | cosine | constant | constant_with_warmup.")
@click.option("--warmup", type=float, default=0.03, help="Share of the steps in which the rate rises.")
@click.option("--weight-decay", type=float, default=0.0, help="Weight decay of AdamW.")
@click.option(
    "--optimizer", default="adamw_torch", help="An optimizer name of the trainer, as paged_adamw_8bit."
)
@click.option("--gradient-checkpointing", is_flag=True, help="Less memory for more time.")
@click.option(
    "--captures-per-epoch",
    type=_COUNT,
    default=10,
    help="Records of the motion in one epoch.",
)
@click.option(
    "--checkpoints-per-epoch",
    type=_COUNT,
    default=4,
    help="Checkpoints that a killed run resumes from.",
)
@click.option("--keep-checkpoints", type=_COUNT, default=2, help="Checkpoints kept of each run.")
@click.option(
    "--held-out", type=float, default=0.1, help="Share of each domain's rows that losses are taken on."
)
@click.option("--held-out-rows", type=_COUNT, default=64, help="At most this many of them.")
@click.option("--report-to", multiple=True, help="tensorboard | wandb | trackio, as the trainer knows them.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder of the runs.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    envvar="TUNESCOPE_FINETUNE_JSON",
    help="Print the runs and their losses as one document.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors and what --json asks for.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(
    data: tuple[str, ...],
    rates: tuple[float, ...],
    seeds: tuple[int, ...],
    report_to: tuple[str, ...],
    out: Path,
    as_json: bool,
    quiet: bool,
    debug: bool,
    **settings: Any,
) -> int:
    """Fine-tune one model on every domain, at every learning rate, from every seed.

    Every run records how its weights move. A sweep that was stopped goes on where it was when the same
    command is given again; runs that are whole are not done again.
    """
    del debug
    domains = parse_domains(data)
    settings["quantize"] = settings["quantize"] or ("none" if settings["full"] else "nf4")
    with training_errors(), shown_progress(quiet) as listener:
        # Deferred: --help must not load torch.
        from tunescope.training import Recipe, finetune

        recipe = Recipe(**settings)
        runs = finetune(
            recipe, domains, out, rates=rates, seeds=seeds, report_to=report_to, listener=listener
        )
    # Of several processes one speaks.
    if speaks() and (as_json or not quiet):
        _print(runs, out, as_json)
    return 0


@contextmanager
def training_errors() -> Iterator[None]:
    """Name the extra where a training library is missing, and keep libraries' own notices off the screen."""
    # It says that an optional kernel package is not there, each time it is imported.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if not speaks():
        logging.getLogger("tunescope").setLevel(logging.ERROR)
    with needed_by("fine-tuning"):
        yield


def parse_domains(texts: tuple[str, ...]) -> dict[str, str]:
    """`NAME=SOURCE` options as a mapping; a name may be given once."""
    domains: dict[str, str] = {}
    for text in texts:
        name, sign, source = text.partition("=")
        if not (sign and name and source):
            raise UsageError(
                "bad-data", "--data cannot be read", expected="NAME=SOURCE", found=printable(text)
            )
        if name in domains:
            raise UsageError(
                "bad-data", f"--data names {printable(name)} twice", fix="give every domain its name"
            )
        domains[name] = source
    return domains


def _print(runs: Any, out: Path, as_json: bool) -> None:
    from tunescope.writing import strict_json

    if as_json:
        records = [{"run": run.name, "folder": str(run.folder), **run.record} for run in runs]
        click.echo(strict_json({"schema_version": 1, "runs": records}))
        return
    click.echo("\n".join(loss_lines(runs)))
    count = counted(len(runs), "run")
    click.echo(
        f"{count} in {out}. Next: tunescope trajectory {shlex.quote(str(out))} -o trajectory/", err=True
    )


def loss_lines(runs: Any) -> list[str]:
    """Held-out loss of each run: before and after on its own domain, and its change on all others."""
    # Deferred: --help must not load polars.
    from tunescope.training.transfer import change

    width = max(len(run.name) for run in runs)
    names = list(dict.fromkeys(name for run in runs for name in run.record["losses"]))
    columns = " ".join(f"{name[:14]:>14}" for name in names)
    lines = [f"{'change of held-out loss, nats a token':{width}} {columns}"]
    for run in runs:
        losses = run.record["losses"]
        row = " ".join(f"{_cell(change(losses[n])) if n in losses else '':>14}" for n in names)
        lines.append(f"{run.name:{width}} {row}")
    return lines


def _cell(value: float | None) -> str:
    return "not a number" if value is None else f"{value:+.4f}"
