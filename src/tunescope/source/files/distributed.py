"""Folders of `torch.distributed.checkpoint`: tensors in chunks over several files, read without torch."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tunescope.delta import Array, read_only
from tunescope.errors import BadInput, Missing
from tunescope.source.files.container import NUMPY_DTYPES, TensorFile, lazy
from tunescope.source.files.disk import (
    Snapshot,
    check_links,
    reader_failed,
    take_snapshot,
    unreachable,
)
from tunescope.source.files.tensors import LazyTensor

METADATA = ".metadata"
# What else stands in a distributed checkpoint.
_NO_MODEL = re.compile(r"^(optim\w*|(lr_)?scheduler\w*|dataloader\w*|train_state|rng\w*|ema\w*)\b")
_SCRIPT = Path(__file__).with_name("distributed_index.py")


def is_distributed(names: Sequence[str]) -> bool:
    """Whether a folder's files are a checkpoint of `torch.distributed.checkpoint`."""
    return METADATA in names and any(name.endswith(".distcp") for name in names)


def read_distributed(folder: Path, follow_symlinks: bool = False) -> TensorFile:
    """Open a distributed checkpoint: no process group, no torch, nothing of the pickles is run.

    Raises `BadInput` for an index that names anything but plain tensors, or that its files contradict, for
    files that are links out of the folder unless those are followed, and `Missing` where a file is not
    there. Entries that are no tensors (a step, a rate) are left alone.
    """
    if not follow_symlinks:
        check_links(folder, [folder / METADATA, *sorted(folder.glob("*.distcp"))])
    snapshot = take_snapshot(folder / METADATA)
    document = _indexed(folder)
    if "refusal" in document:
        _refuse(folder, **document["refusal"])
    names = {chunk["file"] for tensor in document["tensors"] for chunk in tensor["chunks"]}
    files = {name: take_snapshot(folder / name) for name in sorted(names)}
    tensors = {entry["name"]: _tensor(entry, files, folder) for entry in document["tensors"]}
    parts = tuple(folder / name for name in sorted(names))
    return TensorFile(folder / METADATA, {}, tensors, [], snapshot, parts=parts)


def read_model(folder: Path, follow_symlinks: bool = False) -> TensorFile:
    """As `read_distributed`, of the model alone: no optimizer, no data, and the model's own names."""
    file = read_distributed(folder, follow_symlinks)
    tensors = {name: tensor for name, tensor in file.tensors.items() if not _NO_MODEL.match(name)}
    nested = all(n.startswith("model.") for n in tensors) and any(
        n.startswith(("model.model.", "model.base_model.")) for n in tensors
    )
    if nested:
        tensors = {(n := name.removeprefix("model.")): replace(t, name=n) for name, t in tensors.items()}
    return replace(file, tensors=tensors)


def _indexed(folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="tunescope-") as scratch:
        out = Path(scratch) / "index.json"
        # -I: nothing of the working directory or the environment can be imported.
        command = [sys.executable, "-I", str(_SCRIPT), str(folder.absolute()), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode < 0:
            last = f"ended by signal {-done.returncode}"
            _refuse(folder, "bad-pickle", "the checkpoint's index cannot be read", last, None)
        if done.returncode != 0:
            raise reader_failed("the index", done.stderr)
        document: dict[str, Any] = json.loads(out.read_text())
    if (disk := document.get("unreadable")) is not None:
        number, said, file = disk
        raise unreachable(Path(file or folder), OSError(number, said))
    return document


def _refuse(folder: Path, slug: str, what: str, found: str, tensor: str | None) -> NoReturn:
    kind = Missing if slug == "missing-shards" else BadInput
    raise kind(
        slug,
        what,
        file=folder / METADATA,
        tensor=tensor,
        expected="the index of a checkpoint of plain tensors that torch.distributed.checkpoint wrote",
        found=found,
        fix="copy the folder again, or save the weights as safetensors",
    )


def _tensor(entry: Mapping[str, Any], files: Mapping[str, Snapshot], folder: Path) -> LazyTensor:
    name, dtype, shape, chunks = entry["name"], entry["dtype"], tuple(entry["shape"]), entry["chunks"]
    inside = all(
        len(chunk["sizes"]) == len(shape)
        and all(
            o >= 0 and o + n <= d for o, n, d in zip(chunk["offsets"], chunk["sizes"], shape, strict=True)
        )
        for chunk in chunks
    )
    full = sum(prod(chunk["sizes"]) for chunk in chunks) == prod(shape)
    if not inside or not full or _overlap(chunks):
        _refuse(folder, "index-mismatch", "the chunks of a tensor do not make it up", str(shape), name)
    nbytes = prod(shape) * (NUMPY_DTYPES[dtype].itemsize if dtype in NUMPY_DTYPES else 1)
    part: Callable[[int, int], Array] | None = None
    if all(_in_order(chunk) and chunk["sizes"][1:] == list(shape[1:]) for chunk in chunks):
        part = partial(_rows, sorted(chunks, key=lambda chunk: chunk["offsets"]), files, dtype)
    return lazy(name, dtype, shape, nbytes, partial(_whole, chunks, files, dtype, shape), part)


def _overlap(chunks: Sequence[Mapping[str, Any]]) -> bool:
    """Whether two chunks of a tensor hold values of the same place."""
    begins = np.array([chunk["offsets"] for chunk in chunks if prod(chunk["sizes"])], np.int64)
    ends = begins + np.array([chunk["sizes"] for chunk in chunks if prod(chunk["sizes"])], np.int64)
    return any(
        bool(((begins[i] < ends[:i]) & (begins[:i] < ends[i])).all(axis=1).any())
        for i in range(1, len(begins))
    )


def _in_order(chunk: Mapping[str, Any]) -> bool:
    """Whether the values lie in the order of the axes; along an axis of one any stride will do."""
    sizes, strides = chunk["sizes"], chunk["strides"]
    return all(n == 1 or strides[i] == prod(sizes[i + 1 :]) for i, n in enumerate(sizes))


def _values(
    chunk: Mapping[str, Any], files: Mapping[str, Snapshot], dtype: str, start: int, stop: int
) -> Array:
    kind = NUMPY_DTYPES[dtype]
    raw = files[chunk["file"]].read(chunk["begin"] + start * kind.itemsize, (stop - start) * kind.itemsize)
    return raw.view(kind)


def _whole(
    chunks: Sequence[Mapping[str, Any]], files: Mapping[str, Snapshot], dtype: str, shape: tuple[int, ...]
) -> Array:
    out = np.empty(shape, NUMPY_DTYPES[dtype])
    for chunk in chunks:
        place = tuple(slice(o, o + n) for o, n in zip(chunk["offsets"], chunk["sizes"], strict=True))
        values = _values(chunk, files, dtype, 0, chunk["count"])
        strides = [stride * values.itemsize for stride in chunk["strides"]]
        # The index process has checked that the last value lies inside.
        out[place] = as_strided(values, chunk["sizes"], strides, writeable=False)
    return read_only(out)


def _rows(
    chunks: Sequence[Mapping[str, Any]], files: Mapping[str, Snapshot], dtype: str, start: int, stop: int
) -> Array:
    """Values `start` to `stop` of a tensor whose chunks are whole rows, one after the other."""
    found, begin = [], 0
    for chunk in chunks:
        end = begin + prod(chunk["sizes"])
        if begin < stop and end > start:
            found.append(_values(chunk, files, dtype, max(start, begin) - begin, min(stop, end) - begin))
        begin = end
    return read_only(np.concatenate(found) if found else np.empty(0, NUMPY_DTYPES[dtype]))
