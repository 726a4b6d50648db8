"""Adapters split into shards: the index, the shards it names, and whether both agree."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from tunescope.errors import BadInput, Missing, Notice, printable
from tunescope.source.files.container import Read, TensorFile, read_safetensors
from tunescope.source.files.disk import check_links
from tunescope.source.files.documents import read_object
from tunescope.source.locate import SHARD, Located
from tunescope.words import counted


def read_shards(located: Located, read: Read | None = None) -> tuple[list[TensorFile], list[Notice]]:
    """All shards of one save, checked against their index, or without one against their own names."""
    read = read or read_shard
    if located.index is None:
        paths, notices = list(located.files), [_without_index(located.files)]
        _check_one_save(paths)
        files = _opened(paths, located, read)
    else:
        weight_map, total = _read_index(located.index)
        folder = located.index.parent
        paths = [folder / name for name in dict.fromkeys(weight_map.values())]
        _check_present(paths, located.index)
        _check_one_save(paths)
        files = _opened(paths, located, read)
        notices = _compare(files, weight_map, total, located.index)
    _check_no_doubles(files)
    return files, notices


def _opened(paths: list[Path], located: Located, read: Read) -> list[TensorFile]:
    if not located.follow_symlinks:
        check_links(paths[0].parent, paths)
    return [read(path) for path in paths]


def read_shard(path: Path) -> TensorFile:
    """Open one file of a save, safetensors or a pickle."""
    if path.suffix != ".bin":
        return read_safetensors(path)
    # Deferred: shards of pickles are rare, and the reader starts a process of its own.
    from tunescope.source.files.pickled import read_pickled

    return read_pickled(path)


def _read_index(index: Path) -> tuple[Mapping[str, str], int | None]:
    document = read_object(index, "bad-index", "the shard index")
    weight_map = document.get("weight_map")
    usable = isinstance(weight_map, dict) and all(isinstance(v, str) for v in weight_map.values())
    if not weight_map or not usable:
        raise BadInput(
            "bad-index",
            "the shard index has no usable weight_map",
            file=f"{index}:1",
            expected='{"weight_map": {tensor: file}}',
            found="an empty one" if usable else type(weight_map).__name__,
            fix="download the index again, or remove it: it is rebuilt from the shards",
        )
    for tensor, name in weight_map.items():
        _check_name(name, tensor, index)
    metadata = document.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return weight_map, total if isinstance(total, int) else None


def _check_name(name: str, tensor: str, index: Path) -> None:
    """A shard is a plain file name: nothing that could lead out of the folder."""
    plain = re.fullmatch(r"[^/\\\0:]+", name) and name not in (".", "..")
    # An index speaks of its own kind: one of safetensors that names a pickle leads somewhere else.
    kind = ".bin" if index.name.endswith(".bin.index.json") else ".safetensors"
    if not plain or not name.endswith(kind):
        raise BadInput(
            "unsafe-shard-name",
            "the shard index names something that is no plain file beside it",
            file=index,
            tensor=tensor,
            expected=f"a file name ending in {kind}",
            found=printable(name),
            fix="do not use these files; ask their author for shards beside the index",
        )


def _check_present(paths: list[Path], index: Path) -> None:
    if missing := [path.name for path in paths if not os.path.lexists(path)]:
        raise Missing(
            "missing-shards",
            f"{len(missing)} of {counted(len(paths), 'shard')} "
            f"{'is' if len(missing) == 1 else 'are'} not there",
            file=index,
            found="missing: " + ", ".join(missing),
            fix="download the missing files",
        )


def _check_one_save(paths: list[Path]) -> None:
    found = {match["total"] for path in paths if (match := SHARD.match(path.name))}
    if len(found) > 1:
        raise BadInput(
            "mixed-shards",
            "the shards belong to different saves",
            file=paths[0].parent,
            expected="one total in all names",
            found=", ".join(f"-of-{t}" for t in sorted(found)),
            fix="remove the shards of the other save",
        )


def _without_index(paths: tuple[Path, ...]) -> Notice:
    totals = {int(m["total"]) for p in paths if (m := SHARD.match(p.name))}
    numbers = {int(m["number"]) for p in paths if (m := SHARD.match(p.name))}
    if len(totals) == 1 and (missing := sorted(set(range(1, max(totals) + 1)) - numbers)):
        raise Missing(
            "missing-shards",
            f"{len(missing)} of {max(totals)} shards are not there",
            file=paths[0].parent,
            found="missing numbers: " + ", ".join(map(str, missing)),
            fix="download the missing files",
        )
    return Notice("no-index", "the shard index is missing; it was rebuilt from the shards' headers")


def _compare(
    files: list[TensorFile], weight_map: Mapping[str, str], total: int | None, index: Path
) -> list[Notice]:
    held = {name: file.path.name for file in files for name in file.tensors}
    if lost := [
        n
        for n, shard in weight_map.items()
        if n not in next(f for f in files if f.path.name == shard).tensors
    ]:
        raise BadInput(
            "index-mismatch",
            f"the shards lack {counted(len(lost), 'tensor')} of their index",
            file=index,
            tensor=lost[0],
            expected=f"in {weight_map[lost[0]]}",
            found=", ".join(printable(n) for n in lost[:5]),
            fix="download shards and index of one save again",
        )
    notices = []
    if extra := [n for n in held if n not in weight_map]:
        text = (
            f"{counted(len(extra), 'tensor stands', 'tensors stand')} in the shards "
            f"but not in the index, such as {printable(extra[0])}"
        )
        notices.append(Notice("not-in-index", text + "; they were included", extra[0]))
    size = sum(t.nbytes for file in files for t in file.tensors.values())
    if total is not None and total != size:
        notices.append(Notice("wrong-total-size", f"the index states {total} bytes, the shards hold {size}"))
    return notices


def _check_no_doubles(files: list[TensorFile]) -> None:
    seen: dict[str, TensorFile] = {}
    for file in files:
        for name, tensor in file.tensors.items():
            if name in seen and tensor.read().tobytes() != seen[name].tensors[name].read().tobytes():
                _refuse_double(name, seen[name].path, file.path)
            seen[name] = file


def _refuse_double(name: str, first: Path, second: Path) -> NoReturn:
    raise BadInput(
        "tensor-in-two-shards",
        "two shards hold the same tensor with different bytes",
        file=second,
        tensor=name,
        expected="every tensor in one shard",
        found=f"also in {first.name}",
        fix="remove the shard of another save, or save the model again",
    )
