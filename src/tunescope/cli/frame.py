"""The frame of every command that returns a study: output, findings as exit codes, progress, what next."""

import importlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunescope.cli.configuration import config_option
from tunescope.cli.loading import collect, load_drawing
from tunescope.errors import brief, printable
from tunescope.reader import reading
from tunescope.study.command import Asked, Command
from tunescope.study.completion import words
from tunescope.study.progress import shown, speaks

if TYPE_CHECKING:
    from tunescope.study.study import Study

# What the frame takes; the rest of a command's options are its own.
_FRAME = (
    "out",
    "overwrite",
    "figures",
    "report",
    "limits",
    "spreadsheet_safe",
    "as_json",
    "strict",
    "fail_on",
    "quiet",
    "debug",
)
_LONGEST_COMMAND = 2000
_MOST_SHOWN = 5
# What a readout says where nothing was found; the words on what could have been are left to it.
_NOTHING = re.compile(r"^Nothing (?:stands out|can be told).*?(?:[.](?= |$)|$)", re.MULTILINE)


def framed(command: Command) -> click.Command:
    """The click command of a declared one."""

    def callback(**options: Any) -> int:
        frame = {name: options.pop(name) for name in _FRAME}
        return _run(command, options, frame)

    lines = "\n".join(f"  {example}" for example in command.examples)
    decorated: Any = callback
    for parameter in reversed([*command.parameters, *_shared(command.kinds)]):
        decorated = parameter(decorated)
    made: click.Command = click.command(
        command.verb,
        help=command.description,
        short_help=command.summary,
        epilog=f"\b\nExamples:\n{lines}\n",
        context_settings={
            "auto_envvar_prefix": f"TUNESCOPE_{command.verb.upper()}",
            "help_option_names": ["-h", "--help"],
        },
    )(decorated)
    return made


def _shared(kinds: Sequence[str]) -> tuple[Callable[[Any], Any], ...]:
    option, path = click.option, click.Path(path_type=Path)
    return (
        option("-o", "--out", type=path, help="Write the study into this folder."),
        option("--overwrite", is_flag=True, help="Replace an earlier study in that folder."),
        option(
            "--figures", default="png,svg", metavar="png,svg,pdf,all|none",
            help="Pictures [default: png,svg].",
            shell_complete=words(["png", "svg", "pdf", "all", "none"]),
        ),
        option(
            "--limits",
            type=click.Choice(["zero", "largest", "data"]),
            default="zero",
            show_default=True,
            help="Colours from zero (a few far larger cells beyond), to the largest, or from the data.",
        ),
        option("--report/--no-report", default=True, help="With -o: also one page to look at, report.html."),
        option("--spreadsheet-safe", is_flag=True, help="Quote CSV texts that a spreadsheet would run."),
        option("--json", "as_json", is_flag=True, help="Print the readout document on stdout."),
        option("--strict", is_flag=True, help="Exit 1 when a finding is a warning."),
        option(
            "--fail-on", metavar="KIND,...", help="Exit 1 when a finding is of one of these kinds.",
            shell_complete=words(kinds),
        ),
        option("--quiet", is_flag=True, help="Print nothing but errors and what --json asks for."),
        option("--debug", is_flag=True, help="Show the traceback of an error."),
        config_option(),
    )  # fmt: skip


def _run(command: Command, options: dict[str, Any], frame: Mapping[str, Any]) -> int:
    from tunescope.study.options import parse_formats, parse_kinds

    figures = parse_formats(frame["figures"])
    kinds = () if frame["fail_on"] is None else parse_kinds(frame["fail_on"], command.kinds)
    out: Path | None = frame["out"]
    if out is not None:
        _check(out, command.inputs(options), frame["overwrite"])
    how = {name: options.pop(name, False) for name in ("check_hashes", "salvage")}
    importlib.import_module(command.home)
    collect()
    with _alone(out), reading(**how), shown(frame["quiet"]) as tell:
        study = command.measure(Asked(options, out, tell))
        if study is None:
            return 0
        if out is not None:
            if figures:
                load_drawing()
            study.save(
                out, overwrite=frame["overwrite"], figures=figures, tell=tell,
                spreadsheet_safe=frame["spreadsheet_safe"], report=frame["report"],
                limits=frame["limits"],
            )  # fmt: skip
            command.done(out)
    _print(study, out, frame)
    return int(_failed(study, frame["strict"], kinds))


def _alone(out: Path | None) -> AbstractContextManager[None]:
    """Keep a second run off the output from the start; of several processes of one run the first holds it."""
    from tunescope.writing import held

    return nullcontext() if out is None or not speaks() else held(out)


def _check(out: Path, places: Any, overwrite: bool) -> None:
    from tunescope.source.spec import parse_spec
    from tunescope.study.saving import check_output

    named = [Path(parse_spec(place)[1]) for place in places]
    check_output(out, [path for path in named if os.path.lexists(path)], overwrite)


def _print(study: "Study", out: Path | None, frame: Mapping[str, Any]) -> None:
    from tunescope.study.following import next_line
    from tunescope.writing import strict_json

    if frame["as_json"]:
        click.echo(strict_json(study.readout))
    elif out is None and not frame["quiet"]:
        click.echo(study.markdown(), nl=False)
    if frame["quiet"]:
        return
    if out is not None:
        first = "report.html" if frame["report"] else "readout.md"
        click.echo(f"Study written to {out}: start with {out / first}.", err=True)
        for line in _strongest(study):
            click.echo(line, err=True)
    for line in study.question.following(study, out)[:2]:
        # A command is of no use with its middle left out.
        if len(line) <= _LONGEST_COMMAND:
            click.echo(printable(next_line(line), 2 * _LONGEST_COMMAND), err=True)


def _strongest(study: "Study") -> list[str]:
    """What of the data is not there and the first findings, a line each, as the readout orders them."""
    from tunescope.study.finding import answers

    found = answers(study.findings)
    lacking = [f for f in study.findings if f.kind in study.question.incomplete and f not in found]
    shown = [*lacking[: _MOST_SHOWN - 1], *found][:_MOST_SHOWN]
    lines = [f"- {brief(finding.text)}" for finding in shown]
    if not found:
        lines += [f"- {said}" for said in _NOTHING.findall(study.markdown())[:1]]
    rest = len(lacking) + len(found) - len(shown)
    return [*lines, f"- … and {rest} more in the readout"] if rest > 0 else lines


def _failed(study: "Study", strict: bool, kinds: tuple[str, ...]) -> bool:
    warned = strict and any(finding.severity == "warning" for finding in study.findings)
    return warned or any(f.kind in kinds for f in study.findings) or not study.question.answer(study)
