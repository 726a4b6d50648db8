"""A saved study read back: every file as it was written, or a refusal that names the one that is not."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tunescope.errors import BadInput, Missing, printable
from tunescope.hashes import sha256_of
from tunescope.paths import resolved
from tunescope.source.files.disk import unreachable
from tunescope.source.files.documents import read_object
from tunescope.study.question import Question
from tunescope.study.saving import RECORD
from tunescope.study.study import Study
from tunescope.table import SCHEMA_VERSION, read_parquet


def load(folder: Path, question: Callable[[str], Question]) -> Study:
    """The study in `folder`; `question` gives the question of a kind.

    Raises `Missing` where there is no study, and `BadInput` for a file that is gone, is a link or differs
    from what was saved, for a record that cannot be read, and for one of a newer version.
    """
    record = _record(folder)
    _check_files(folder, record)
    tables = {
        name: read_parquet(folder / "tables" / f"{name}.parquet", sealed=True) for name in record["tables"]
    }
    readout = read_object(folder / "tables" / "readout.json", "bad-study", "the study's readout")
    asked = question(record["kind"])
    return Study(asked, tables, readout, record["arguments"], record["sources"], record["written"], folder)


def _record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    if not path.is_file():
        raise Missing(
            "no-study", "there is no study here", file=folder, expected=f"a folder with {RECORD}",
            fix="name a folder that a command wrote with -o",
        )  # fmt: skip
    record = read_object(path, "bad-study", "the study's record")
    if not isinstance(record.get("schema_version"), int):
        raise BadInput(
            "bad-study",
            "the record is none",
            file=path,
            expected="an object with schema_version",
            fix="run the command again with --overwrite",
        )
    if record["schema_version"] > SCHEMA_VERSION:
        raise BadInput(
            "newer-schema", "the study was written by a newer tunescope", file=path,
            expected=f"schema version {SCHEMA_VERSION} or older", found=record["schema_version"],
            fix="upgrade tunescope",
        )  # fmt: skip
    kinds = {"kind": str, "arguments": dict, "sources": list, "tables": list, "files": dict, "written": dict}
    for key, kind in kinds.items():
        if not isinstance(record.get(key), kind):
            raise BadInput(
                "bad-study", f"the record has no usable {key!r}", file=path, expected=kind.__name__,
                found=type(record.get(key)).__name__, fix="run the command again with --overwrite",
            )  # fmt: skip
    return record


def _check_files(folder: Path, record: Mapping[str, Any]) -> None:
    files: Mapping[str, Any] = record["files"]
    for name in ("tables/readout.json", *(f"tables/{table}.parquet" for table in record["tables"])):
        if name not in files:
            _refuse(folder / RECORD, f"{name} among its files", "a record without it")
    for name, digest in files.items():
        path = folder / name
        if not _is_plain(name):
            _refuse(folder / RECORD, "names of files in the study's folder", printable(name))
        if not resolved(path).is_relative_to(resolved(folder)) or path.is_symlink():
            _refuse(path, "a file of the study", "a path or link that leads elsewhere")
        if not path.is_file():
            _refuse(path, f"sha256 {digest}", "no such file")
        try:
            found = sha256_of(path)
        except OSError as error:
            raise unreachable(path, error) from None
        if found != digest:
            _refuse(path, f"sha256 {digest}", f"sha256 {found}")


def _is_plain(name: str) -> bool:
    """Whether a name of the record can be one that a study was saved under."""
    return len(name) < 500 and "\0" not in name and all(0 < len(p.encode()) < 256 for p in name.split("/"))


def _refuse(path: Path, expected: str, found: str) -> None:
    raise BadInput(
        "study-changed", "a file is not as the study was saved", file=path, expected=expected, found=found,
        fix="run the command again, or restore the file",
    )  # fmt: skip
