"""Find the raw bytes of a `torch.distributed.checkpoint` folder, in a process of its own with a memory limit.

Run as a script with the folder and a file to write: reads `.metadata` and the small pickle of every chunk
with an unpickler that knows a fixed list of names, each of which stands for plain data, and writes as JSON
where in which file the values of every tensor lie. Nothing of torch or of this package is imported.
"""

import contextlib
import io
import json
import pickle
import re
import struct
import sys
import traceback
import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import IO, Any

_DTYPES = {
    "float64": ("F64", 8), "float32": ("F32", 4), "float16": ("F16", 2), "bfloat16": ("BF16", 2),
    "float8_e4m3fn": ("F8_E4M3", 1), "float8_e5m2": ("F8_E5M2", 1),
    "int64": ("I64", 8), "int32": ("I32", 4), "int16": ("I16", 2), "int8": ("I8", 1), "uint8": ("U8", 1),
    "bool": ("BOOL", 1),
}  # fmt: skip
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16",
    "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": "",
}  # fmt: skip
_LARGEST_PICKLE = 1 << 16
# What can be addressed, in elements of up to eight bytes, along as many axes as numpy knows at least.
_MOST, _MOST_AXES = 1 << 60, 32


class Refusal(Exception):
    """What is wrong: a slug, a sentence, what was found, and the tensor meant."""

    def __init__(self, slug: str, what: str, found: object = None, tensor: str | None = None) -> None:
        super().__init__(what)
        try:
            said = str(found)[:300]
        except (ValueError, RecursionError):
            # Numbers of more digits than Python writes, lists within lists.
            said = type(found).__name__
        self.document = {"slug": slug, "what": what, "found": said, "tensor": tensor}


class Record:
    """Stands for a data class of torch: holds the state that the pickle gives it, and does nothing."""

    def __init__(self, *values: object) -> None:
        self.values = values

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update({name: value for name, value in state.items() if isinstance(name, str)})


def _first(*values: Any) -> Any:
    return values[0] if values else None


def _path(*parts: object) -> str:
    return "/".join(part for part in parts if isinstance(part, str))


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> dict[str, Any]:
    own = storage.get("dtype") if isinstance(storage, dict) else None
    dtype = next((value for value in rest if isinstance(value, str) and value in _DTYPES), own)
    return {"storage": storage, "offset": offset, "size": size, "stride": stride, "dtype": dtype}


_METADATA = "torch.distributed.checkpoint.metadata"
_KNOWN: dict[tuple[str, str], Any] = {
    **{(_METADATA, name): Record for name in (
        "Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata",
        "TensorProperties", "MetadataIndex", "StorageMeta",
    )},
    (_METADATA, "_MEM_FORMAT_ENCODING"): _first,
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"): Record,
    ("torch.distributed.checkpoint.filesystem", "_StoragePrefix"): Record,
    ("torch.serialization", "_get_layout"): _first,
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): dict,
    **{(module, f"{name}Path"): _path for module in ("pathlib", "pathlib._local")
       for name in ("Posix", "PurePosix", "Windows", "PureWindows")},
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
}  # fmt: skip


class Reader(pickle.Unpickler):
    """An unpickler that knows the names of plain tensors and their index, and refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        """The harmless stand-in of a known name."""
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module == "torch" and name in _DTYPES:
            return name
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        called = f"{module}.{name}"
        raise Refusal("unsafe-pickle", "the pickle wants to call what plain weights never need", called)

    def persistent_load(self, pid: Any) -> Any:
        """A storage by its key in the archive."""
        if not isinstance(pid, tuple) or len(pid) != 5 or not isinstance(pid[2], str):
            raise Refusal("bad-pickle", "a storage in the checkpoint's index has no name", pid)
        return {"dtype": pid[1], "key": pid[2], "numel": pid[4]}


# What the library for pickles calls of ours.
_CALLED = ("find_class", "persistent_load", "__setstate__", "_tensor", "_path", "_first")


class Slice(io.RawIOBase):
    """A stretch of an open file as a file of its own."""

    def __init__(self, file: IO[bytes], begin: int, length: int) -> None:
        self._file, self._begin, self._length, self._at = file, begin, length, 0

    def seekable(self) -> bool:
        """It is, and readable."""
        return True

    readable = seekable

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move within the stretch."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = min(max(start + offset, 0), self._length)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read on, not beyond the stretch."""
        self._file.seek(self._begin + self._at)
        got = self._file.readinto(memoryview(buffer)[: self._length - self._at])  # type: ignore[attr-defined]
        self._at += got
        return int(got)


def main(folder: str, out: str) -> None:
    """Write the index of the checkpoint in `folder`, or why there is none, to `out`."""
    root = Path(folder)
    try:
        _limit_memory((root / ".metadata").stat().st_size)
        document = _index(root)
    except Refusal as refusal:
        document = {"refusal": refusal.document}
    except OSError as error:
        document = {"unreadable": [error.errno, error.strerror, error.filename]}
    Path(out).write_text(json.dumps(document))


def _limit_memory(size: int) -> None:
    with contextlib.suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2**29 + 64 * size,) * 2)


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """Around calls of the libraries for pickles and archives, which raise anything over damaged bytes.

    What a function of this file that they call raises is a bug, and what the disk raises is the disk's.
    """
    try:
        yield
    except Refusal:
        raise
    except Exception as problem:
        ours = traceback.extract_tb(problem.__traceback__)[-1].name in _CALLED
        if ours or (isinstance(problem, OSError) and problem.errno):
            raise
        raise Refusal("bad-pickle", "the checkpoint's index cannot be read", repr(problem)[:300]) from None


def _loaded(stream: IO[bytes]) -> Any:
    with _damage():
        return Reader(stream).load()


def _field(record: Any, name: str, *kinds: type) -> Any:
    """A field of a record, of one of these kinds."""
    value = getattr(record, name, None)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise Refusal("bad-pickle", f"the checkpoint's index has no usable {name}", value)
    return value


def _numbers(values: Any, what: str) -> list[int]:
    whole = isinstance(values, tuple | list) and all(type(n) is int and 0 <= n < _MOST for n in values)
    if not whole or len(values) > _MOST_AXES or prod(n or 1 for n in values) >= _MOST:
        raise Refusal("bad-pickle", f"{what} in the checkpoint's index are none of a tensor", values)
    return list(values)


def _index(root: Path) -> dict[str, Any]:
    with (root / ".metadata").open("rb") as file:
        metadata = _loaded(file)
    stored = {}
    for index, info in _field(metadata, "storage_data", dict).items():
        offset = getattr(index, "offset", None)
        place = None if offset is None else tuple(_numbers(offset, "offsets"))
        stored[_field(index, "fqn", str), place] = info
    tensors = []
    for name, about in _field(metadata, "state_dict_metadata", dict).items():
        if not hasattr(about, "chunks"):
            continue
        if not isinstance(name, str):
            raise Refusal("bad-pickle", "a tensor in the checkpoint's index has no name", name)
        size = _numbers(_field(about, "size", tuple, list), "sizes")
        chunks = [_chunk(root, name, chunk, stored) for chunk in _field(about, "chunks", list, tuple)]
        dtypes = {chunk.pop("dtype") for chunk in chunks}
        if len(dtypes) != 1:
            raise Refusal("bad-shape", "the chunks of a tensor have several dtypes", dtypes, name)
        tensors.append({"name": name, "dtype": dtypes.pop(), "shape": size, "chunks": chunks})
    return {"tensors": tensors}


def _chunk(root: Path, name: str, chunk: Any, stored: dict[Any, Any]) -> dict[str, Any]:
    offsets = _numbers(_field(chunk, "offsets", tuple, list), "offsets")
    sizes = _numbers(_field(chunk, "sizes", tuple, list), "sizes")
    info = stored.get((name, tuple(offsets)))
    if info is None:
        raise Refusal("index-mismatch", "a chunk of a tensor is stored nowhere", offsets, name)
    file = _field(info, "relative_path", str)
    if not re.fullmatch(r"[^/\\\0:]+\.distcp", file):
        raise Refusal("unsafe-shard-name", "the index names no plain file beside it", file, name)
    if found := getattr(info, "transform_descriptors", None):
        raise Refusal("unsupported-dtype", "the chunks are stored compressed", found, name)
    if not (root / file).is_file():
        raise Refusal("missing-shards", "a file of the checkpoint is not there", file, name)
    place = _place(root / file, _field(info, "offset", int), _field(info, "length", int), sizes, name)
    return {"file": file, "offsets": offsets, "sizes": sizes, **place}


def _place(path: Path, begin: int, length: int, sizes: list[int], name: str) -> dict[str, Any]:
    """Where in a file the values of one chunk begin, how many there are, their dtype and their strides."""
    with path.open("rb") as file:
        if begin < 0 or length < 0 or begin + length > path.stat().st_size:
            raise Refusal("truncated", "a file of the checkpoint is shorter than stated", path.name, name)
        with _damage():
            archive = zipfile.ZipFile(Slice(file, begin, length))
        with archive:
            members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
            tensor = _described(archive, members, name)
            values = _member(members, f"data/{tensor['storage'].get('key')}", name)
            if values.compress_type != zipfile.ZIP_STORED or values.flag_bits & 1:
                raise Refusal("bad-archive", "the values of a tensor are compressed", values.filename, name)
        file.seek(begin + values.header_offset + 26)
        if len(lengths := file.read(4)) < 4:
            raise Refusal("truncated", "a file of the checkpoint ends within a chunk", path.name, name)
    dtype, width = _DTYPES.get(tensor["dtype"], (None, 0))
    strides, stated = _numbers(tensor["stride"], "strides"), _numbers(tensor["size"], "sizes")
    (offset,) = _numbers([tensor["offset"]], "offsets")
    if dtype is None or stated != sizes or len(strides) != len(sizes):
        raise Refusal("bad-shape", "a chunk is not stored as its index says", tensor["size"], name)
    # Values up to the last one in any order of the axes; repeated ones (stride 0) nobody stores.
    count = 1 + sum((n - 1) * stride for n, stride in zip(sizes, strides, strict=True)) if prod(sizes) else 0
    if (offset + count) * width > values.file_size or count < prod(sizes):
        raise Refusal("bad-shape", "a chunk has fewer values than its shape", values.file_size, name)
    data = begin + values.header_offset + 30 + sum(struct.unpack("<HH", lengths)) + offset * width
    return {"begin": data, "count": count, "dtype": dtype, "strides": strides}


def _described(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str) -> dict[str, Any]:
    order = members.get("byteorder")
    if order is not None and _content(archive, order) != b"little":
        raise Refusal("unsupported-dtype", "the values are not in little-endian order", None, name)
    described = _member(members, "data.pkl", name)
    if described.file_size > _LARGEST_PICKLE:
        raise Refusal("bad-pickle", "what describes a tensor is too large", described.file_size, name)
    tensor = _loaded(io.BytesIO(_content(archive, described)))
    plain = isinstance(tensor, dict) and {"storage", "offset", "size", "stride", "dtype"} <= set(tensor)
    if not plain or not isinstance(tensor["storage"], dict) or not isinstance(tensor["dtype"], str):
        found = type(tensor).__name__
        raise Refusal("not-a-state-dict", "a chunk holds something that is no tensor", found, name)
    return dict(tensor)


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with _damage():
        return archive.read(member)


def _member(members: dict[str, zipfile.ZipInfo], key: str, name: str) -> zipfile.ZipInfo:
    if key not in members:
        raise Refusal("bad-archive", "the archive of a chunk lacks a member", key, name)
    return members[key]


if __name__ == "__main__":
    main(*sys.argv[1:])
