"""NumPy `.npz` archives of plain arrays: headers first, arrays on demand, never a pickled object."""

import struct
import tokenize
import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from tunescope.delta import Array, read_only
from tunescope.errors import BadInput, printable
from tunescope.source.files.container import DTYPE_NAMES, TensorFile, lazy
from tunescope.source.files.disk import Snapshot, take_snapshot
from tunescope.source.files.sniff import read_head
from tunescope.source.files.tensors import LazyTensor

# What the zip and NumPy readers raise for bytes that make no sense. Only their own calls stand under it.
DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, EOFError, NotImplementedError,
    ValueError, OSError, RuntimeError, SyntaxError, TypeError, KeyError, OverflowError,
)  # fmt: skip
# More than this many times the archive's own size is a decompression bomb, not weights.
_LARGEST_RATIO = 100


def read_npz(path: str | Path) -> TensorFile:
    """Open an `.npz` archive; every member is checked, none is read yet."""
    path = Path(path)
    snapshot = take_snapshot(path)
    read_head(snapshot, "NumPy .npz archive or empty zip archive or zip archive")
    with open_archive(path) as archive:
        members = check_members(archive, path)
        tensors = {t.name: t for t in (_tensor(archive, member, snapshot) for member in members)}
    return TensorFile(path, {}, tensors, [], snapshot)


def open_archive(path: Path) -> zipfile.ZipFile:
    """The zip archive at `path`; raises `BadInput` where it is damaged or cut short."""
    try:
        return zipfile.ZipFile(path)
    except DAMAGE as error:
        raise BadInput(
            "bad-archive",
            "the archive is damaged or cut short",
            file=path,
            found=error,
            expected="a complete zip archive",
            fix="download or copy the file again",
        ) from error


def check_members(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """The members of a zip archive, refused where they are doubled, encrypted or a decompression bomb."""
    members = archive.infolist()
    seen: set[str] = set()
    for member in members:
        if member.filename in seen:
            _refuse(path, "the archive holds a member twice", "every member once", member.filename)
        if member.flag_bits & 0x1:
            _refuse(path, "the archive is encrypted", "a plain archive", member.filename)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            _refuse(
                path, "the archive is packed in an unusual way", "stored or deflated members", member.filename
            )
        seen.add(member.filename)
    total, size = sum(m.file_size for m in members), path.stat().st_size
    if total > _LARGEST_RATIO * size + 2**20:
        _refuse(
            path,
            "the archive would unpack to far more than weights do",
            f"at most {_LARGEST_RATIO} times its size",
            f"{total} bytes from {size}",
        )
    return members


def _refuse(path: Path, what: str, expected: str, found: str) -> None:
    raise BadInput(
        "bad-archive",
        what,
        file=path,
        expected=expected,
        found=printable(found),
        fix="copy or download the file again",
    )


def _tensor(archive: zipfile.ZipFile, member: zipfile.ZipInfo, snapshot: Snapshot) -> LazyTensor:
    name = member.filename.removesuffix(".npy")
    shape, dtype, header = _array_header(archive, member, snapshot.path, name)
    nbytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if nbytes != member.file_size - header:
        raise BadInput(
            "size-mismatch",
            "an array's bytes do not fit its shape",
            file=snapshot.path,
            tensor=name,
            expected=f"{nbytes} bytes for {dtype} {list(shape)}",
            found=f"{member.file_size - header} bytes",
            fix="save the array again with numpy.savez",
        )
    # A 2-byte void is how NumPy alone writes bfloat16, but also anything else of two bytes.
    spelled = DTYPE_NAMES.get(dtype.newbyteorder("<"), str(dtype))
    return lazy(name, spelled, shape, nbytes, partial(_read, snapshot, member.filename, name))


def _array_header(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, name: str
) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    """Shape and dtype of a member, and the number of bytes before its data."""
    npy = np.lib.format
    try:
        with archive.open(member) as stream:
            version = npy.read_magic(stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(stream)
            length = stream.tell()
    except DAMAGE as error:
        raise BadInput(
            "bad-array",
            "a member of the archive is not a NumPy array",
            file=path,
            tensor=name,
            expected="a .npy array",
            found=error,
            fix="save the arrays again with numpy.savez",
        ) from error
    if dtype.hasobject:
        raise BadInput(
            "pickled-array",
            "an array holds Python objects, which are never unpickled",
            file=path,
            tensor=name,
            expected="plain numbers",
            found=str(dtype),
            fix="save it as numbers: numpy.asarray(values, dtype=float)",
        )
    return shape, dtype, length


def _read(snapshot: Snapshot, member: str, name: str) -> Array:
    snapshot.verify()
    try:
        with zipfile.ZipFile(snapshot.path) as archive, archive.open(member) as stream:
            array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    except DAMAGE as error:
        raise BadInput(
            "bad-archive",
            "a member of the archive is damaged",
            file=snapshot.path,
            tensor=name,
            expected="the bytes that its header states",
            found=error,
            fix="download or copy the file again",
        ) from error
    return read_only(array.astype(array.dtype.newbyteorder("="), copy=False))
