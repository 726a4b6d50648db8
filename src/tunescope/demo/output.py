"""The folder that a demonstration fills, and empties when it is made again."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunescope.documents import parse_json
from tunescope.errors import UsageError
from tunescope.writing import clear_remains, write_json

RECORD = "demo.json"
# One page of all studies.
PAGE = "report.html"


def prepared(root: Path, kind: str, folders: Sequence[str], overwrite: bool) -> Path:
    """An empty folder, marked by a file that says which demonstration it is and which `folders` it will hold.

    With `overwrite` those of an earlier demonstration of the same `kind` are removed, and nothing else is.
    Raises `UsageError` for a file, and for a folder that holds something else.
    """
    if root.exists() and not root.is_dir():
        raise UsageError("output-exists", f"{root} is a file", file=root, fix="name a folder")
    begun = list(root.glob(f".{RECORD}.*.part"))
    if root.is_dir() and {*root.iterdir()} - {*begun}:
        record = _record(root / RECORD)
        ours = record.get("kind") == kind
        if not (ours and overwrite):
            fix = "--overwrite, or another -o" if ours else "choose another -o"
            raise UsageError("output-exists", "the output folder is not empty", file=root, fix=fix)
        for name in record["folders"]:
            if name in folders:
                shutil.rmtree(root / name, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    # Of one that was killed before it had a record; nothing else bears such a name.
    for path in begun:
        path.unlink(missing_ok=True)
    clear_remains(root / PAGE)
    write_json(root / RECORD, {"schema_version": 1, "kind": kind, "folders": list(folders)})
    return root


def _record(path: Path) -> dict[str, Any]:
    """What an earlier demonstration wrote of itself; empty where none did."""
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("folders"), list) else {}
