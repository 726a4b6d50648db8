"""What files should hold: hashes that sidecars beside them and the hub state, compared where asked for."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tunescope.errors import BadInput, Notice, printable
from tunescope.paths import resolved
from tunescope.reader import current

# By the number of hexadecimal digits.
_KINDS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
_OWN = re.compile(r"(?P<of>.+)\.(md5|sha1|sha256|sha512)(sums?)?(\.txt)?", re.IGNORECASE)
_LIST = re.compile(
    r"((md5|sha1|sha256|sha512)(sums?)?|checksums?)(\.(txt|md5|sha1|sha256|sha512))?", re.IGNORECASE
)
# `HEX  name` and `HEX *name` of sha256sum, `SHA256 (name) = HEX` of BSD, and a hash alone.
_LINE = re.compile(r"\\?(?P<hash>[0-9a-fA-F]{32,128})(?:\s+\*?(?P<name>\S.*))?")
_BSD = re.compile(r"[\w-]+ ?\((?P<name>.+)\) ?= ?(?P<hash>[0-9a-fA-F]{32,128})")
_LARGEST_SIDECAR = 1 << 24
# How many folders above a file are searched for a list that names it with its folder.
_ABOVE = 3
_HUB_RECORDS = Path(".cache", "huggingface", "download")


@dataclass(frozen=True)
class Stated:
    """A hash of one file: who states it, of what kind (`git` as git names a blob), and its digits."""

    by: str
    kind: str
    digits: str


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    return _digits_of(path, "sha256")


def check(path: Path) -> None:
    """Compare a file with every hash that is stated of it, where `reading(check_hashes=True)` asks for it.

    Each file is read once for it. Raises `BadInput` where it holds something else, and for a sidecar of its
    own that states nothing.
    """
    now = current()
    key = path.absolute()
    if not now.check_hashes or key in now.checked:
        return
    stated = tuple(stated_of(key))
    for one in stated:
        _compare(path, one)
    now.checked[key] = tuple(dict.fromkeys(one.by for one in stated))


def unstated(paths: Iterable[Path]) -> tuple[Notice, ...]:
    """What to say of files that were to be compared and of which nobody states a hash."""
    now = current()
    listed = list(paths)
    silent = [path.name for path in listed if not now.checked.get(path.absolute())]
    if not now.check_hashes or not silent:
        return ()
    names = ", ".join(map(printable, silent[:3])) + (", …" if len(silent) > 3 else "")
    text = (
        f"no sidecar and no hub states a hash of {names} ({len(silent)} of {len(listed)} files): unverified"
    )
    return (Notice("hash-unknown", text),)


def stated_of(path: Path) -> Iterator[Stated]:
    """Every hash that is stated of a file: by sidecars, by lists beside or above it, by the hub's cache."""
    yield from _by_hub(path)
    for above in range(_ABOVE):
        folder = path.parents[above] if above < len(path.parents) else None
        if folder is None:
            return
        yield from _by_sidecars(path, folder, own=above == 0)
        record = folder / _HUB_RECORDS / f"{path.relative_to(folder)}.metadata"
        if record.is_file():
            # Commit, hash and time, a line each.
            yield from _hub_hash(record.read_text(errors="replace").splitlines()[1:2])


def _by_hub(path: Path) -> Iterator[Stated]:
    """The hub's cache names every file by its hash."""
    blob = resolved(path)
    if blob.parent.name == "blobs":
        yield from _hub_hash([blob.name])


def _hub_hash(texts: Iterable[str]) -> Iterator[Stated]:
    for text in texts:
        if re.fullmatch("[0-9a-f]{64}", text):
            yield Stated("the hub", "sha256", text)
        elif re.fullmatch("[0-9a-f]{40}", text):
            yield Stated("the hub", "git", text)


def _by_sidecars(path: Path, folder: Path, own: bool) -> Iterator[Stated]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError:
        # A folder that may be passed through but not listed holds no list for us.
        return
    for name in names:
        match = _OWN.fullmatch(name)
        mine = own and match is not None and match["of"] in (path.name, path.stem)
        if mine or _LIST.fullmatch(name) or match is not None:
            yield from _read(folder / name, path, mine)


def _read(sidecar: Path, path: Path, mine: bool) -> Iterator[Stated]:
    """What a sidecar says of a file; one of its own (`mine`) must say something that can be read."""
    lines = [_parsed(text, sidecar, path) for text in _texts(sidecar)]
    listed = [line for line in lines if line is not None]
    if mine and not listed:
        _refuse(sidecar, "no such line")
    # The only line of a file's own sidecar is of that file, whatever it was called then.
    alone = mine and len(listed) == 1
    for digits, name in listed:
        if alone or (mine and name is None) or (name is not None and _means(name, sidecar, path)):
            yield Stated(sidecar.name, _KINDS[len(digits)], digits)


def _parsed(text: str, sidecar: Path, path: Path) -> tuple[str, str | None] | None:
    """Digits and name in a line; what names our file and states no hash of it is refused."""
    match = _BSD.fullmatch(text) or _LINE.fullmatch(text)
    if match is not None and len(match["hash"]) in _KINDS:
        return match["hash"].lower(), match["name"]
    if sidecar.parent == path.parent and path.name in re.split(r"[\s*()]+", text):
        _refuse(sidecar, printable(text))
    return None


def _texts(sidecar: Path) -> list[str]:
    if sidecar.stat().st_size > _LARGEST_SIDECAR:
        _refuse(sidecar, f"{sidecar.stat().st_size} bytes")
    lines = sidecar.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _means(name: str, sidecar: Path, path: Path) -> bool:
    """Whether a list means this file: by its place below the list, or by its name right beside it."""
    if os.path.normpath(sidecar.parent / name) == os.path.normpath(path):
        return True
    elsewhere = name.startswith("/") or ".." in Path(name).parts
    return elsewhere and sidecar.parent == path.parent and Path(name).name == path.name


def _compare(path: Path, stated: Stated) -> None:
    found = _digits_of(path, stated.kind)
    if found != stated.digits:
        raise BadInput(
            "hash-mismatch",
            "the file does not hold what is stated of it",
            file=path,
            expected=f"{stated.kind} {stated.digits}, says {printable(stated.by)}",
            found=f"{stated.kind} {found}",
            fix="download or copy the file again; if it was changed on purpose, state its new hash",
        )


def _digits_of(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        if kind == "git":
            head = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
            return hashlib.file_digest(file, lambda: head).hexdigest()
        return hashlib.file_digest(file, kind).hexdigest()


def _refuse(sidecar: Path, found: str) -> NoReturn:
    raise BadInput(
        "bad-sidecar",
        "the file that should state a hash does not",
        file=sidecar,
        expected="lines such as HASH  NAME, or a hash alone",
        found=found,
        fix="write it again (sha256sum NAME > NAME.sha256), or remove it",
    )
