"""`tunescope trajectory`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunescope.study import completion
from tunescope.study.command import Asked, Command, reading_options, scale_option
from tunescope.study.options import parse_scales

if TYPE_CHECKING:
    from tunescope.study.study import Study


class _Number(click.FloatRange):
    """A range that NaN, which compares with nothing, does not slip through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"nan is not in the range {self._describe_range()}.", param, ctx)
        return number


def _meant_start(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    """Refuse `--base`, which the other commands have, with the option of this one that is meant."""
    if value is not None:
        raise click.NoSuchOption(
            "--base", possibilities=["--start"], ctx=ctx,
            message="No such option '--base': changes count from the weights before training, --start.",
        )  # fmt: skip


_PARAMETERS = (
    click.argument(
        "runs", nargs=-1, required=True, metavar="[LABEL=]RUNS...", shell_complete=completion.source
    ),
    click.option(
        "--start", type=click.Path(path_type=Path), help="Adapter or model that the checkpoints began from."
    ),
    click.option(
        "--base", hidden=True, expose_value=False, callback=_meant_start, help="None here; --start is meant."
    ),
    click.option("--align-vocab", is_flag=True, help="Follow the rows that resized vocabularies share."),
    click.option("--fps", type=_Number(0.1, 50), help="Frames shown a second [default: 4]."),
    click.option(
        "--hold", type=_Number(0, 60), default=2.0, show_default=True, help="Seconds the last frame stands."
    ),
    scale_option(),
    *reading_options(),
)


def _measure(asked: Asked) -> "Study":
    # Deferred: --help must not load the numeric libraries.
    from tunescope.questions.trajectory.study import trajectory

    names = ("start", "align_vocab", "fps", "hold", "hash_all")
    options: dict[str, Any] = {name: asked[name] for name in names}
    return trajectory(*asked["runs"], scale=parse_scales(asked["scale"]), tell=asked.tell, **options)


COMMAND = Command(
    verb="trajectory",
    summary="How the layers moved during training, animated.",
    description="""Show layer by layer how weights moved during training runs.

    RUNS is what finetune or TrainingCapture wrote, a folder of such runs, or any folder of checkpoint-*
    adapters or whole models. Without -o only the readout is printed.
    """,
    examples=(
        "tunescope trajectory runs/ -o trajectory/",
        "tunescope trajectory my-run/ -o trajectory/             # a folder of checkpoint-* folders",
        "tunescope trajectory my-run/ --start my-run/initial -o trajectory/",
        "tunescope trajectory lora=runs/cpp full=full-runs/cpp -o proxy/",
    ),
    parameters=_PARAMETERS,
    measure=_measure,
    home="tunescope.questions.trajectory.study",
    inputs=lambda options: list(options["runs"]),
    kinds=(
        "early_layers",
        "middle_layers",
        "late_layers",
        "moves_first",
        "plateau",
        "frozen",
        "unchanged",
        "seam",
        "diverged",
        "lora_as_proxy",
    ),
)
