"""`tunescope subspace`."""

import math
import os
from pathlib import Path
from typing import Any

import click

from tunescope.errors import UsageError
from tunescope.study.options import parse_scales, parse_words

EPILOG = """\b
Examples:
  tunescope subspace seed-1/ seed-2/
  tunescope subspace a=run-1/ b=run-2/ --modules q_proj,v_proj --layers 0,31,63,95 --vmax 0.8 -o study/
  tunescope subspace r8/ r64/ --of A --against-self -o study/
  tunescope subspace run/checkpoint-100 run/checkpoint-900 --base base-model/ -o study/
"""


@click.command(epilog=EPILOG, short_help="In which directions weights changed, against chance.")
@click.argument("sources", nargs=-1, required=True, metavar="[LABEL=]SOURCE...")
@click.option("--layers", help="Only these layers, counted from 0, such as 0,31,63,95.")
@click.option("--modules", help="Only these modules or families, such as q_proj,v_proj.")
@click.option(
    "--of",
    multiple=True,
    type=click.Choice(["A", "B", "delta"]),
    help="Whose directions; repeatable [default: all three].",
)
@click.option("--side", multiple=True, type=click.Choice(["input", "output"]), help="[default: both]")
@click.option("--max-rank", type=click.IntRange(1, 4096), help="Grids only up to so many directions.")
@click.option(
    "--against-self",
    is_flag=True,
    help="The sources are ranks of one model: titles without primes, and each also against itself.",
)
@click.option("--base", help="The base checkpoint: also measure amplification and intruder dimensions.")
@click.option(
    "--ranks", default="", help="With --base: further ranks for the amplification table, such as 4,16."
)
@click.option(
    "--intruders",
    default=10,
    show_default=True,
    type=click.IntRange(1, 256),
    help="With --base: how many leading vectors are looked at.",
)
@click.option(
    "--epsilon",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="With --base: an intruder's best cosine lies below it.",
)
@click.option("--vmax", type=float, help="End of the colour scale [default: the largest φ shown].")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="Where the large products are done: auto, cpu, cuda or cuda:N.",
)
@click.option(
    "--scale", "scales", multiple=True, metavar="LABEL=X", help="Scale of a source that does not say it."
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write a study folder here.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier study in that folder.")
@click.option("--spreadsheet-safe", is_flag=True, help="Quote CSV texts that a spreadsheet would run.")
@click.option("--json", "as_json", is_flag=True, help="Print the readout document on stdout.")
@click.option("--strict", is_flag=True, help="Exit 1 when a finding is a warning.")
def command(sources: tuple[str, ...], out: Path | None, as_json: bool, strict: bool, **options: Any) -> int:
    """Compare the directions in which two or more adapters change each weight.

    Every overlap φ(i, j) stands beside the one that chance would give. SOURCE is an adapter folder or
    file, or a hub id; ranks, formats and training steps may differ. Without -o the readout is printed.
    """
    # Deferred: --help must not load the numeric libraries.
    from tunescope.source import selection as compare

    settings = _settings(options)
    if out is not None:
        _check(out, [*sources, *([options["base"]] if options["base"] else [])], options["overwrite"])
    modules = compare.Selection(compare.layer_set(options["layers"]), parse_words(options["modules"]))
    opened = compare.select(compare.open_labelled(sources, parse_scales(options["scales"])), modules)
    study = _measure(opened, settings, out, list(sources), options)
    _print(study, as_json)
    if out is not None:
        click.echo(f"Study written to {out}: start with {out / 'readout.md'}.", err=True)
    return int(strict and any(f["severity"] == "warning" for f in study.document["findings"]))


def _settings(options: dict[str, Any]) -> Any:
    from tunescope.linalg.device import resolve
    from tunescope.questions.subspace.amplification import AgainstBase
    from tunescope.questions.subspace.directions import SIDES, Selection
    from tunescope.questions.subspace.study import Settings

    if options["vmax"] is not None and not (0 < options["vmax"] <= 1 and math.isfinite(options["vmax"])):
        raise UsageError(
            "bad-vmax", "--vmax is out of range", expected="0 < vmax <= 1", found=options["vmax"]
        )
    if math.isnan(options["epsilon"]):
        raise UsageError("bad-epsilon", "--epsilon is out of range", expected="0 < epsilon < 1", found="nan")
    if options["ranks"].strip() and not options["base"]:
        raise UsageError(
            "no-base", "--ranks belong to the amplification table", fix="give the base with --base"
        )
    of = tuple(dict.fromkeys(options["of"])) or ("A", "B", "delta")
    sides = tuple(dict.fromkeys(options["side"])) or SIDES
    selection = Selection(of, sides, options["max_rank"], resolve(options["device"]))
    selection.wanted()
    return Settings(
        selection,
        options["against_self"],
        options["layers"] is not None,
        options["modules"] is not None,
        AgainstBase(_ranks(options["ranks"]), options["intruders"], options["epsilon"]),
    )


def _ranks(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() and 1 <= int(word) <= 4096 for word in words):
        raise UsageError(
            "bad-ranks", "--ranks cannot be read", expected="such as 4,16 (1 to 4096)", found=text
        )
    return tuple(int(word) for word in words)


def _check(out: Path, places: list[str], overwrite: bool) -> None:
    from tunescope.source.spec import parse_spec
    from tunescope.study.folder import check_output

    named = [Path(parse_spec(place)[1]) for place in places]
    check_output(out, [path for path in named if os.path.lexists(path)], overwrite)


def _measure(
    opened: Any, settings: Any, out: Path | None, sources: list[str], options: dict[str, Any]
) -> Any:
    from tunescope.questions.subspace.study import GridSink, subspace_study
    from tunescope.source.checkpoint import open_checkpoint
    from tunescope.source.ledger import provenance
    from tunescope.study.folder import study_folder

    base = open_checkpoint(options["base"]) if options["base"] else None
    if out is None:
        return subspace_study(opened, settings, base=base)
    # Deferred: what follows draws.
    from tunescope.questions.subspace.writing import write_subspace

    arguments = {"command": "subspace", "sources": sources, **options}
    arguments |= {name: list(options[name]) for name in ("of", "side", "scales")}
    with study_folder(
        out, arguments=arguments, sources=provenance(opened), overwrite=options["overwrite"]
    ) as folder:
        sink = GridSink(folder.root / "parts")
        study = subspace_study(opened, settings, sink, base)
        write_subspace(study, folder, sink, settings, vmax=options["vmax"], safe=options["spreadsheet_safe"])
    return study


def _print(study: Any, as_json: bool) -> None:
    from tunescope.questions.subspace.readout import subspace_markdown
    from tunescope.source.ledger import coverage
    from tunescope.study.coverage import coverage_lines
    from tunescope.writing import strict_json

    if as_json:
        click.echo(strict_json(study.document))
        return
    click.echo(subspace_markdown(study.document, coverage_lines(coverage(study.sources).frame)), nl=False)
