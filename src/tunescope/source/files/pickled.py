"""PyTorch pickles (`.bin`, `.pt`): checked, converted by a guarded process, then read like any other file."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import weakref
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Array
from tunescope.errors import BadInput, Exhausted, Missing, Notice, TunescopeError
from tunescope.source.files.container import TensorFile, fill_values, lazy, read_range, read_values
from tunescope.source.files.disk import Snapshot, reader_failed, take_snapshot
from tunescope.source.files.npz import DAMAGE, check_members, open_archive
from tunescope.source.files.sniff import read_head
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.locate import NEVER_OPENED

_SCRIPT = Path(__file__).with_name("unpickle.py")
_PICKLE = "Python pickle or zip archive of PyTorch"
_TWO_WAYS = "convert the file to safetensors where it comes from, or pip install 'torch>=2.10'"
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_WHOLE_MODEL = re.compile(r"^(torch\.nn\.|torch\.optim\.|transformers\.|peft\.|diffusers\.)")
# Nobody stores a tensor that unpacks to more than this many times its file.
_LARGEST_RATIO = 4


class _Folder:
    """A temporary folder that lives as long as something still reads from it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="tunescope-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def read_pickled(path: str | Path) -> TensorFile:
    """Open a PyTorch pickle without running anything that it holds.

    `torch.load(weights_only=True)` of torch 2.10 or newer reads it in a process of its own, whose memory is
    limited by the file's size. Raises `BadInput` for whatever is not plain tensors.
    """
    path = Path(path)
    if NEVER_OPENED.match(path.name):
        raise BadInput(
            "trainer-state",
            "this file belongs to a trainer and holds no adapter; it is never opened",
            file=path,
            expected="adapter_model.bin or another file of weights",
            found=path.name,
            fix="name the folder of the adapter, or its adapter_model file",
        )
    snapshot = take_snapshot(path)
    _check_container(path, snapshot)
    folder = _Folder()
    document = _convert(path, snapshot, folder)
    if "refusal" in document:
        raise _refusal(path, **document["refusal"])
    snapshot.verify()
    raw = take_snapshot(folder.path / "tensors.bin")
    tensors = {entry["name"]: _tensor(entry, raw, folder) for entry in document["tensors"]}
    notices = []
    if (level := document["unwrapped"]) is not None:
        notices.append(
            Notice("unwrapped", f"the weights stand under {level!r} in the pickle; that level was taken off")
        )
    return TensorFile(path, {}, tensors, notices, snapshot, document["listed"])


def _check_container(path: Path, snapshot: Snapshot) -> None:
    head = read_head(snapshot, _PICKLE)
    if not head.startswith(b"PK"):
        return
    with open_archive(path) as archive:
        members = check_members(archive, path)
        compressed = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED]
        damaged = None if compressed else _damaged_member(archive, path)
    if compressed:
        _refuse_archive(
            path, "the archive is compressed, as PyTorch never does", "stored members", compressed[0]
        )
    if damaged is not None:
        _refuse_archive(path, "a member of the archive fails its checksum", "matching CRC-32", damaged)


def _damaged_member(archive: zipfile.ZipFile, path: Path) -> str | None:
    try:
        return archive.testzip()
    except DAMAGE as error:
        _refuse_archive(path, "the archive is damaged or cut short", "a complete zip archive", str(error))


def _refuse_archive(path: Path, what: str, expected: str, found: str) -> NoReturn:
    fix = "download or copy the file again"
    raise BadInput("bad-archive", what, file=path, expected=expected, found=found, fix=fix)


def _convert(path: Path, snapshot: Snapshot, folder: _Folder) -> dict[str, Any]:
    budget = int(_LARGEST_RATIO * snapshot.size) + 2**24
    # -I: nothing of the working directory or the environment can be imported in the place of torch.
    command = [sys.executable, "-I", str(_SCRIPT), str(path.absolute()), str(folder.path), str(budget)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    index = folder.path / "index.json"
    if done.returncode > 0:
        raise reader_failed("pickles", done.stderr)
    if done.returncode < 0:
        raise BadInput(
            "bad-pickle",
            "the pickle could not be loaded",
            file=path,
            expected="a state dict of plain tensors",
            found=f"ended by signal {-done.returncode}",
            fix=_TWO_WAYS,
        )
    document: dict[str, Any] = json.loads(index.read_text())
    return document


def _refusal(path: Path, slug: str, what: str, found: str | None, tensor: str | None) -> TunescopeError:
    wanted = _GLOBAL.search(found or "")
    if slug in ("no-torch", "old-torch"):
        return (
            Missing(slug, what, file=path, expected="torch 2.10 or newer", found=found, fix=_TWO_WAYS)
            if (slug == "no-torch")
            else BadInput(slug, what, file=path, expected="torch 2.10 or newer", found=found, fix=_TWO_WAYS)
        )
    if slug == "pickle-memory":
        return Exhausted(slug, what, file=path, fix="convert the file to safetensors where it comes from")
    if slug == "unsafe-pickle" and wanted is not None:
        if _WHOLE_MODEL.match(wanted[1]):
            return BadInput(
                "not-a-state-dict",
                "a whole object was pickled, not a state dict",
                file=path,
                expected="tensors only",
                found=wanted[1],
                fix="save model.state_dict()",
            )
        what, found = f"the pickle wants to call {wanted[1]}, which plain weights never need", wanted[1]
    fix = (
        "do not load this file anywhere; ask its author for safetensors" if slug == "unsafe-pickle" else None
    )
    return BadInput(
        slug,
        what,
        file=path,
        tensor=tensor,
        expected="a state dict of plain tensors",
        found=found,
        fix=fix or "save the adapter again, best as safetensors",
    )


def _tensor(entry: dict[str, Any], raw: Snapshot, folder: _Folder) -> LazyTensor:
    shape, nbytes, dtype = tuple(entry["shape"]), entry["nbytes"], entry["dtype"]
    read: Callable[[], Array] = partial(_read, folder, raw, entry["offset"], nbytes, dtype, shape)
    part = partial(_read_part, folder, raw, entry["offset"], dtype)
    fill = partial(_fill, folder, raw, entry["offset"], dtype)
    return lazy(entry["name"], dtype, shape, nbytes, read, part, fill)


def _fill(
    _folder: _Folder, raw: Snapshot, offset: int, dtype: str, start: int, stop: int, memory: NDArray[np.uint8]
) -> Array:
    return fill_values(raw, offset, dtype, start, stop, memory)


def _read_part(_folder: _Folder, raw: Snapshot, offset: int, dtype: str, start: int, stop: int) -> Array:
    return read_values(raw, offset, dtype, start, stop)


def _read(
    _folder: _Folder, raw: Snapshot, offset: int, nbytes: int, dtype: str, shape: tuple[int, ...]
) -> Array:
    """The partial that calls this holds the folder, and with it the file, alive."""
    return read_range(raw, offset, nbytes, dtype, shape)
