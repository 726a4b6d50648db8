"""The folder that a demonstration fills, and empties when it is made again."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunescope.documents import parse_json
from tunescope.errors import UsageError
from tunescope.writing import clear_remains, held, write_json

RECORD = "demo.json"
# One page of all studies.
PAGE = "report.html"


@contextmanager
def filling(
    root: Path, kind: str, folders: Sequence[str], overwrite: bool, goes_on: Sequence[str] = ()
) -> Iterator[Path]:
    """The folder of `prepared`, held against other runs; marked as whole after a block without an error."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with held(root):
        yield prepared(root, kind, folders, overwrite, goes_on)
        _mark(root, kind, folders, True)


def prepared(
    root: Path, kind: str, folders: Sequence[str], overwrite: bool, goes_on: Sequence[str] = ()
) -> Path:
    """An empty folder, marked by a file that says which demonstration it is and which `folders` it will hold.

    With `overwrite` those of an earlier demonstration of the same `kind` are removed, and nothing else is.
    So they are of one that came to no end, but for what `goes_on` where it stopped. Raises `UsageError` for
    a file, for a folder that holds something else, and for a whole demonstration without `overwrite`.
    """
    if root.exists() and not root.is_dir():
        raise UsageError("output-exists", f"{root} is a file", file=root, fix="name a folder")
    begun = list(root.glob(f".{RECORD}.*.part"))
    if root.is_dir() and {*root.iterdir()} - {*begun}:
        record = _record(root / RECORD)
        ours, begun_only = record.get("kind") == kind, record.get("complete") is False
        if not (ours and (overwrite or begun_only)):
            fix = "--overwrite, or another -o" if ours else "choose another -o"
            raise UsageError("output-exists", "the output folder is not empty", file=root, fix=fix)
        for name in record["folders"]:
            if name in folders and (overwrite or name not in goes_on):
                shutil.rmtree(root / name, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    # Of one that was killed before it had a record; nothing else bears such a name.
    for path in begun:
        path.unlink(missing_ok=True)
    clear_remains(root / PAGE)
    _mark(root, kind, folders, False)
    return root


def _mark(root: Path, kind: str, folders: Sequence[str], complete: bool) -> None:
    said = {"schema_version": 1, "kind": kind, "folders": list(folders), "complete": complete}
    write_json(root / RECORD, said)


def _record(path: Path) -> dict[str, Any]:
    """What an earlier demonstration wrote of itself; empty where none did."""
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("folders"), list) else {}
