"""What tells one version of a file from another: its sha256, the hub's own hash, or header and size."""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunescope.hashes import sha256_of
from tunescope.paths import resolved
from tunescope.reader import current
from tunescope.source.files.ranged import RangedFile

# Larger files are not read whole for their hash alone.
_WHOLE = 1_000_000_000
# The first bytes of a large file, which hold the header of every format that has one.
_HEAD = 1 << 20


def provenance(
    label: str,
    location: str,
    format: str,
    files: Sequence[Path],
    *,
    hash_all: bool = False,
    header: Callable[[Path], int] | None = None,
    ranged: Sequence[RangedFile] = (),
    root: Path | None = None,
) -> dict[str, Any]:
    """Label, location, format, revision, bytes and digest of one source, and of each of its files.

    `header` says how long a file's header is, for those who read no more: then the digest is of header
    and size. Of files that were read by `ranged` pieces it is the server's ETag. Files below `root` are
    named from there on.
    """
    described = [_file(path, hash_all, header, root) for path in files]
    described += [
        {"file": file.path.name, "bytes": file.size, "digest": {"kind": "hub_etag", "value": file.etag}}
        for file in ranged
    ]
    return {
        "label": label,
        "location": location,
        "format": format,
        "revision": _revision(location),
        "bytes": sum(entry["bytes"] for entry in described),
        "digest": _together(described),
        "files": described,
    }


def checkpoint(label: str, place: str) -> dict[str, Any]:
    """As `provenance`, of a whole model by its place; one that is live or not on this disk has no files."""
    folder = Path(place)
    files = sorted(folder.glob("*.safetensors")) if place and folder.is_dir() else []
    return provenance(label, place, "checkpoint", files)


def texts(label: str, place: str, token_ids: str) -> dict[str, Any]:
    """As `provenance`, of data that a model scored; `token_ids` is the sha256 of what was scored."""
    return {
        "label": label,
        "location": place,
        "format": "texts",
        "revision": None,
        "bytes": None,
        "digest": {"kind": "sha256_of_token_ids", "value": token_ids},
    }


def _revision(location: str) -> str | None:
    """The commit in `hf://org/name@commit/folder`."""
    found = re.match(r"hf://[^@]+@([^/]+)", location)
    return found.group(1) if found else None


def _file(
    path: Path, hash_all: bool, header: Callable[[Path], int] | None, root: Path | None
) -> dict[str, Any]:
    size = path.stat().st_size
    found = digest(path, size, hash_all) if header is None else _of_head(path, size, header(path))
    below = root is not None and path.is_relative_to(root)
    named = path.relative_to(root).as_posix() if root is not None and below else path.name
    entry = {"file": named, "bytes": size, "digest": found}
    # Who states the hash that the file was compared with, where that was asked for.
    return entry | {"verified": list(by)} if (by := current().checked.get(path.absolute())) else entry


def digest(path: Path, size: int, hash_all: bool = False) -> dict[str, str]:
    """`kind` and `value`: `sha256`, `hub_sha256` (the cache's name for it) or `sha256_of_head_and_size`."""
    blob = resolved(path)
    if not hash_all and blob.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", blob.name):
        return {"kind": "hub_sha256", "value": blob.name}
    if size < _WHOLE or hash_all:
        return {"kind": "sha256", "value": sha256_of(path)}
    return _of_head(path, size, _HEAD)


def _of_head(path: Path, size: int, length: int) -> dict[str, str]:
    with path.open("rb") as file:
        head = hashlib.sha256(file.read(length))
    head.update(str(size).encode())
    return {"kind": "sha256_of_head_and_size", "value": head.hexdigest()}


def _together(files: Sequence[dict[str, Any]]) -> dict[str, str] | None:
    """The digest of the only file, or of the list of all their names and digests."""
    if not files:
        return None
    if len(files) == 1:
        return dict(files[0]["digest"])
    kinds = sorted({entry["digest"]["kind"] for entry in files})
    lines = sorted(f"{entry['file']} {entry['digest']['value']}" for entry in files)
    listed = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return {"kind": f"sha256_of_list({', '.join(kinds)})", "value": listed}
