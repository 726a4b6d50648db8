"""What a command declares: its own parameters and how it measures; the frame adds what all share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunescope.study import completion
from tunescope.study.progress import Tell, silent

if TYPE_CHECKING:
    # A study pulls in polars, which --help must not wait for.
    from tunescope.study.study import Study


@dataclass(frozen=True, eq=False)
class Asked:
    """What was asked on the command line: the command's own options, and where the study goes.

    `out` is where a command may keep the state that a killed run goes on from; `tell` takes progress.
    """

    options: Mapping[str, Any]
    out: Path | None = None
    tell: Tell = silent

    def __getitem__(self, name: str) -> Any:
        return self.options[name]


@dataclass(frozen=True, eq=False)
class Command:
    """One verb. `measure` returns its study, or `None` in a process that leaves the writing to another.

    `inputs` names the places that are read, which the output must not lie on; `home` is the module that
    measures, loaded when the command runs; `kinds` are those of the findings that it may raise beside
    notices, which `--fail-on` takes; `done` is called with the output once the study is there, to clear what
    was kept for a killed run.
    """

    verb: str
    summary: str
    description: str
    examples: Sequence[str]
    parameters: Sequence[Callable[[Any], Any]]
    measure: Callable[[Asked], "Study | None"]
    inputs: Callable[[Mapping[str, Any]], Sequence[str]]
    home: str
    kinds: Sequence[str] = ()
    done: Callable[[Path], None] = lambda _: None


def device_option(default: str = "auto") -> Callable[[Any], Any]:
    """`--device`, the same words in every command."""
    return click.option(
        "--device", default=default, show_default=True, metavar="auto|cpu|cuda|cuda:N",
        shell_complete=completion.words(["auto", "cpu", "cuda"]),
        help="Where the arithmetic is done; auto takes a GPU where there is one.",
    )  # fmt: skip


def dtype_option() -> Callable[[Any], Any]:
    """`--dtype`, the same in every command that runs a model."""
    return click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "float64", "bfloat16", "float16"]),
        default="auto",
        show_default=True,
        help="auto: float32 on the CPU, the checkpoint's own dtype elsewhere.",
    )


def text_options(batch_size: int) -> tuple[Callable[[Any], Any], ...]:
    """`--sequences`, `--max-length` and `--batch-size` of every command that scores texts."""
    count, tokens = click.IntRange(min=1), click.IntRange(min=2)
    side = "Sequences side by side; what takes them one by one does so all the same."
    return (
        click.option("--sequences", type=count, default=128, show_default=True, help="At most so many."),
        click.option("--max-length", type=tokens, default=512, show_default=True, help="Tokens each."),
        click.option("--batch-size", type=count, default=batch_size, show_default=True, help=side),
    )


def scale_option() -> Callable[[Any], Any]:
    """`--scale LABEL=X`, the same in every command that reads adapters."""
    return click.option(
        "--scale", multiple=True, metavar="LABEL=X", help="Scale of a source that does not say it.",
        shell_complete=completion.labels,
    )  # fmt: skip


def hash_option() -> Callable[[Any], Any]:
    """`--hash`, the same in every command that reads files."""
    return click.option(
        "--hash", "hash_all", is_flag=True, help="Hash files above 1 GB too, for the study's record."
    )


def check_hashes_option() -> Callable[[Any], Any]:
    """`--check-hashes`, the same in every command that reads files."""
    return click.option(
        "--check-hashes",
        is_flag=True,
        help="Refuse a file that holds not what a sidecar (*.sha256, SHA256SUMS) or the hub states.",
    )


def salvage_option() -> Callable[[Any], Any]:
    """`--salvage`, the same in every command that reads weights and runs no model."""
    return click.option(
        "--salvage", is_flag=True, help="Read the complete tensors of a safetensors file that was cut short."
    )


def reading_options() -> tuple[Callable[[Any], Any], ...]:
    """`--hash`, `--check-hashes` and `--salvage`; the frame sees to the latter two."""
    return (hash_option(), check_hashes_option(), salvage_option())


def selection_options() -> tuple[Callable[[Any], Any], ...]:
    """`--layers` and `--modules`."""
    return (
        click.option("--layers", help="Only these layers, such as 0,20-25."),
        click.option(
            "--modules", help="Only these modules or families, such as q_proj,mlp.",
            shell_complete=completion.modules,
        ),
    )  # fmt: skip
