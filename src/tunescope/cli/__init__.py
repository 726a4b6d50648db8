"""The command line: `tunescope VERB …`; one file per verb, imported only when that verb is asked for."""

import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import click

from tunescope import interruption
from tunescope.cli.frame import framed
from tunescope.cli.loading import collect, collect_later
from tunescope.cli.streams import prepare_streams
from tunescope.errors import Exhausted, TunescopeError, brief, disk_is_full, printable, without_secrets
from tunescope.extras import missing
from tunescope.version import __version__
from tunescope.words import nearest

# verb -> (module below tunescope, one-line help); the help stands here so that listing imports nothing.
_QUESTION = "questions.{}.command"
VERBS: dict[str, tuple[str, str]] = {
    "attribute": (
        _QUESTION.format("attribution"),
        "Which of the changes bought the gain: the loss change, weight by weight.",
    ),
    "check": (_QUESTION.format("check"), "What an adapter file is, and whether it will load."),
    "demo": ("cli.demo", "Fine-tune the small model that ships here, and look at the result."),
    "draw": ("cli.draw", "Make the pictures and sentences of saved studies again."),
    "finetune": ("cli.finetune", "Fine-tune over domains and learning rates, recording the motion."),
    "importance": (
        _QUESTION.format("importance"),
        "Which parameters the predictions depend on: layer × parameter maps.",
    ),
    "norms": (_QUESTION.format("norms"), "How much each weight changed: layer × module maps of ‖ΔW‖."),
    "report": ("cli.report", "One page to look at, made of saved studies: a file for any browser."),
    "subspace": (_QUESTION.format("subspace"), "In which directions weights changed, against chance."),
    "trajectory": (
        _QUESTION.format("trajectory"),
        "How the layers moved during training, step by step, animated.",
    ),
    "verify": (_QUESTION.format("verify"), "Is this adapter in this checkpoint, once, with its scale?"),
}


class _ReaderGoneError(Exception):
    """The reader of our output closed the pipe; click would turn that into exit 1."""


class _Verbs(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGoneError from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"tunescope.{VERBS[cmd_name][0]}")
        if hasattr(module, "COMMAND"):
            return framed(module.COMMAND)
        collect()
        return module.command  # type: ignore[no-any-return]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not args[0].startswith("-"):
            near = nearest(args[0], VERBS)
            hint = f" Did you mean '{near}'?" if near else f" Commands: {', '.join(VERBS)}."
            raise click.UsageError(f"There is no command '{printable(args[0])}'.{hint}", ctx)
        return super().resolve_command(ctx, args)


EPILOG = """\b
Examples:
  tunescope demo --quick
  tunescope check my-adapter/ --base base-model/
  tunescope norms my-adapter/ -o study/
  tunescope subspace seed-1/ seed-2/ -o study/
"""


def _print_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    # Deferred: it loads NumPy.
    from tunescope.linalg.compiled import compiled

    how = "by NumPy, since none was compiled at installation" if compiled() is None else "by a compiled pass"
    click.echo(f"tunescope {__version__}\nwhole weights are summed up {how}")
    context.exit()


@click.group(cls=_Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Show the version, and what sums up whole weights.",
)  # fmt: skip
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def app(debug: bool) -> None:
    """Where did fine-tuning change this model: how much, in which directions, when, and does it matter?"""
    del debug


def main() -> NoReturn:
    """Run the command line and exit with its code (see `tunescope.errors`)."""
    interruption.heed()
    prepare_streams(sys.argv[1:])
    collect_later()
    code, ended = 0, 0
    try:
        code = _answered("--debug" in sys.argv[1:])
    except (KeyboardInterrupt, click.Abort):
        ended = 130
    except BaseException:
        # Whatever a library made of the signal that came.
        if interruption.asked() is None:
            raise
    ended = interruption.asked() or ended
    if ended == 130:
        click.echo("tunescope: interrupted", err=True)
    sys.exit(ended or code)


def _answered(debug: bool) -> int:
    """The exit code of the command, after what is to say about its errors."""
    try:
        code = app(standalone_mode=False, prog_name="tunescope")
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (BrokenPipeError, _ReaderGoneError):
        return _stop_writing()
    except click.Abort as stop:
        # click takes a file that ends early for a prompt without an answer.
        if isinstance(stop.__cause__, EOFError):
            return _report(stop.__cause__, debug)
        raise
    except click.ClickException as error:
        # It repeats a word of the command line, however long.
        error.message = brief(error.message)  # type: ignore[misc]
        error.show()
        return error.exit_code
    except Exception as error:
        if interruption.asked() is not None:
            raise
        return _report(error, debug)
    return code if isinstance(code, int) else 0


def _stop_writing() -> int:
    """The exit code of a command that leaves quietly, since the reader of our output has gone."""
    # Python would flush stdout again on exit and complain; point it at nothing first.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 141


def _report(error: Exception, debug: bool) -> int:
    if debug:
        click.echo(without_secrets(traceback.format_exc()), err=True)
    if isinstance(error, ImportError):
        error = missing("this command", error) or error
    if isinstance(error, PermissionError) and isinstance(error.filename, str):
        # Any look at a folder of others can meet this, wherever it is taken.
        from tunescope.source.files.disk import unreachable

        error = unreachable(Path(error.filename), error)
    if isinstance(error, MemoryError):
        error = Exhausted("out-of-memory", "memory ran out", found=error or "MemoryError")
    if not isinstance(error, TunescopeError) and disk_is_full(error):
        error = _no_room(error)
    if isinstance(error, TunescopeError):
        click.echo(without_secrets(f"tunescope: {error}"), err=True)
        return error.exit_code
    text = without_secrets(f"{type(error).__name__}: {printable(str(error), 500)}")
    click.echo(f"tunescope: a bug of ours: {text}\n  fix: run again with --debug and report it", err=True)
    return 70


def _no_room(error: Exception) -> Exhausted:
    """Any write can meet this, those of libraries and of temporary files too."""
    named = error.filename if isinstance(error, OSError) else None
    return Exhausted(
        "disk-full", "the disk is full", file=named, found=brief(str(error)),
        fix="make room there and run again; TMPDIR names another place for temporary files",
    )  # fmt: skip
