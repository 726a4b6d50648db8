"""A study as a folder: `study.json`, `report.html`, `readout.md`, `tables/`, `figures/`; what may go."""

import gc
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunescope.errors import Exhausted, UsageError
from tunescope.hashes import sha256_of
from tunescope.paths import check_possible, exists, is_link, resolved
from tunescope.study.options import check_limits, parse_formats
from tunescope.study.progress import Tell
from tunescope.study.recorded import telling
from tunescope.study.report import report
from tunescope.study.study import FORMATS, Study
from tunescope.table import SCHEMA_VERSION, spreadsheet_safe, write_csv
from tunescope.version import __version__
from tunescope.writing import published, write_json, write_text

RECORD = "study.json"
REPORT = "report.html"
# New objects after which garbage is looked for while pictures are drawn: a picture has some thousands.
_YOUNG = 20_000
# How a study is written that was not saved before and of which nothing is asked.
_DEFAULTS: dict[str, Any] = {"figures": FORMATS, "spreadsheet_safe": False, "report": True, "limits": "zero"}


def save(study: Study, folder: Path, overwrite: bool, written: Mapping[str, Any], tell: Tell) -> Path:
    """Write a study; see `Study.save`. What `written` leaves open is as the study was last saved."""
    how = _DEFAULTS | dict(study.written) | {k: v for k, v in written.items() if v is not None}
    how["figures"] = list(parse_formats(",".join(how["figures"]) or "none"))
    check_limits(how["limits"])
    study = replace(study, written=how)
    check_output(folder, (), overwrite)
    with published(folder) as work:
        with telling(study.folder), _settled():
            _write(study, work, how, tell)
        _record(study, work, how)
        _carry_over(folder, work)
    return folder


def _write(study: Study, work: Path, how: Mapping[str, Any], tell: Tell) -> None:
    tables = work / "tables"
    tables.mkdir()
    for name, table in study.tables.items():
        table.write_parquet(tables / f"{name}.parquet")
    views = {n: table.frame for n, table in study.tables.items() if n not in study.question.bulky}
    for name, frame in (views | dict(study.question.views(study))).items():
        write_csv(spreadsheet_safe(frame) if how["spreadsheet_safe"] else frame, tables / f"{name}.csv")
    write_json(tables / "readout.json", study.readout)
    write_text(work / "readout.md", study.markdown())
    for name, text in study.question.pages(study).items():
        write_text(work / name, text)
    if how["report"]:
        write_text(work / REPORT, report([study]))
    if how["figures"]:
        _draw(study, work / "figures", how["figures"], tell)


@contextmanager
def _settled() -> Iterator[None]:
    """Spare the collector of garbage what is there already: pictures are many objects of short lives."""
    young, *older = gc.get_threshold()
    # What someone else set aside stays so.
    ours = not gc.get_freeze_count()
    if ours:
        gc.freeze()
    gc.set_threshold(max(young, _YOUNG) if young else 0, *older)
    try:
        yield
    finally:
        gc.set_threshold(young, *older)
        if ours:
            gc.unfreeze()


def _draw(study: Study, figures: Path, formats: Sequence[str], tell: Tell) -> None:
    every, kinds = "all" in formats, [kind for kind in formats if kind != "all"] or list(FORMATS)
    drawings = [d for d in study.drawings() if every or not d.on_request]
    if not drawings:
        return
    figures.mkdir()
    lines = ["# Captions", ""]
    for done, drawing in enumerate(drawings):
        tell("drawing", done, len(drawings))
        drawing.write(figures, kinds)
        lines.append(f"- `{drawing.name}`: {drawing.caption}")
    write_text(figures / "captions.md", "\n".join(lines) + "\n")


def _record(study: Study, work: Path, how: Mapping[str, Any]) -> None:
    files = sorted(path for path in work.rglob("*") if path.is_file())
    document = {
        "schema_version": SCHEMA_VERSION,
        "tunescope": __version__,
        "kind": study.kind,
        "arguments": study.arguments,
        "written": {name: how[name] for name in _DEFAULTS},
        "sources": study.sources,
        "tables": list(study.tables),
        "files": {path.relative_to(work).as_posix(): sha256_of(path) for path in files},
    }
    write_json(work / RECORD, document)


def check_output(out: Path, inputs: Sequence[Path], overwrite: bool) -> None:
    """Refuse an output that cannot be written or would harm something, before anything is computed."""
    check_possible(out)
    if not out.absolute().parent.is_dir():
        raise UsageError(
            "no-parent", "the folder to write into is not there", file=out, fix="create its parent first"
        )
    if is_link(out) and not exists(out):
        raise UsageError(
            "output-exists", "the output is a link to nothing", file=out, fix="remove it, or name a folder"
        )
    place = resolved(out)
    for path in (resolved(p) for p in inputs):
        if place == path or (path.is_file() and place == path.parent) or place in path.parents:
            raise UsageError("output-is-input", "the output would lie on an input", file=out, found=path)
    if out.is_dir() and any(out.iterdir()):
        _check_overwrite(out, overwrite)
    elif os.path.lexists(out) and not out.is_dir():
        raise UsageError("output-exists", "the output is an existing file", file=out, fix="name a folder")
    if not os.access(place.parent, os.W_OK) or (out.exists() and not os.access(out, os.W_OK)):
        raise Exhausted("read-only", "the output cannot be written", file=out, fix="choose a writable place")


def _check_overwrite(out: Path, overwrite: bool) -> None:
    if not overwrite:
        raise UsageError(
            "output-exists", "the output folder is not empty", file=out, fix="--overwrite, or another -o"
        )
    if not (out / RECORD).is_file():
        raise UsageError(
            "not-ours",
            "the output folder was not written by tunescope, so it is not overwritten",
            file=out,
            expected=f"a folder with {RECORD}",
            fix="choose another -o",
        )
    for name in ("tables", "figures"):
        if (out / name).is_symlink():
            raise UsageError(
                "output-linked",
                "a folder of the earlier study is a link now, and what lies behind it is not overwritten",
                file=out / name,
                fix="remove the link, or choose another -o",
            )


def _carry_over(old: Path, work: Path) -> None:
    """Take along what lies in the old folder and is no file of its study."""
    if not (old / RECORD).is_file():
        return
    recorded = _recorded(old)
    for parent, folders, names in os.walk(old):
        linked = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in (*names, *linked):
            path = Path(parent) / name
            place = path.relative_to(old)
            if place.as_posix() not in recorded and not os.path.lexists(work / place):
                (work / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, work / place, follow_symlinks=False)


def _recorded(old: Path) -> set[str]:
    """The files of the earlier study, as its record lists them (a list in the first versions)."""
    try:
        names = json.loads((old / RECORD).read_text(encoding="utf-8"))["files"]
        return {RECORD, *(name for name in names if isinstance(name, str))}
    except (ValueError, KeyError, TypeError):
        return {RECORD}
