"""GGUF files [ggml-org/ggml: docs/gguf.md]: names, shapes and plain floats, read strictly and on demand."""

import math
import struct
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from tunescope.errors import BadInput
from tunescope.reader import current
from tunescope.source.files.container import TensorFile, lazy, read_range
from tunescope.source.files.disk import Bytes, take_snapshot
from tunescope.source.files.header import BITS
from tunescope.source.files.sniff import read_head
from tunescope.source.files.tensors import LazyTensor

_VERSIONS = (2, 3)
# Value types of the metadata by number, as struct formats; 8 is a string, 9 an array.
_VALUES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
# Tensor types that hold one number for each element; all others are packed in blocks.
_FLOATS = {0: "F32", 1: "F16", 28: "F64", 30: "BF16"}
_MOST_DIMENSIONS = 8
# No name or text of a header is longer.
_LONGEST_TEXT = 1 << 24


def read_gguf(path: str | Path) -> TensorFile:
    """Open a GGUF file; its metadata are given as text, packed tensors by name and shape only.

    Raises `BadInput` for a header that does not fit the file, and for versions before 2.
    """
    return gguf_of(take_snapshot(Path(path)))


def gguf_of(snapshot: Bytes) -> TensorFile:
    """As `read_gguf`, of a file wherever it lies."""
    read_head(snapshot, "GGUF model")
    header = _Header(snapshot)
    header.take(4)
    version = header.number("I")
    if version not in _VERSIONS:
        header.refuse(
            "a version that is not read here", f"version {' or '.join(map(str, _VERSIONS))}", version
        )
    count, pairs = header.number("Q"), header.number("Q")
    metadata = {header.text(): header.value() for _ in range(header.plausible(pairs, 13))}
    infos = [_info(header) for _ in range(header.plausible(count, 24))]
    alignment = _alignment(header, metadata.get("general.alignment", 32))
    start = -(-header.position // alignment) * alignment
    tensors = {name: _tensor(header, start, infos, i) for i, (name, *_) in enumerate(infos)}
    if len(tensors) < len(infos):
        header.refuse("a tensor's name that stands twice", "every name once", f"{len(infos)} tensors")
    return TensorFile(
        snapshot.path, {k: str(v) for k, v in metadata.items() if v is not None}, tensors, [], snapshot
    )


def _alignment(header: "_Header", stated: object) -> int:
    if not isinstance(stated, int) or stated < 1:
        header.refuse("an alignment that is no number above 0", "such as 32", stated)
    return stated


class _Header:
    """The bytes from the start of the file on, taken one after the other."""

    def __init__(self, snapshot: Bytes) -> None:
        self.snapshot, self.position, self._held = snapshot, 0, b""

    def take(self, count: int) -> bytes:
        """The next bytes, refused where the file ends before them."""
        end = self.position + count
        if end > self.snapshot.size:
            self.refuse(
                "cut short within its header", f"{end} bytes", f"{self.snapshot.size} bytes", "truncated"
            )
        while end > len(self._held):
            size = min(self.snapshot.size, max(2 * len(self._held), end, 1 << 16))
            self._held = self.snapshot.read(0, size).tobytes()
        taken = self._held[self.position : end]
        self.position = end
        return taken

    def number(self, kind: str) -> Any:
        """One little-endian number of a struct format."""
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0]

    def plausible(self, count: int, least: int) -> int:
        """A count of things of at least so many bytes each, refused where the file cannot hold them."""
        if count * least > self.snapshot.size:
            self.refuse("a count that the file cannot hold", f"at most {self.snapshot.size // least}", count)
        return int(count)

    def text(self) -> str:
        """A string: its length, then UTF-8."""
        length = self.number("Q")
        if length > _LONGEST_TEXT:
            self.refuse("a text of impossible length", f"at most {_LONGEST_TEXT} bytes", length)
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            self.refuse("a text that is not UTF-8", "UTF-8", error.reason)

    def value(self, nested: bool = False) -> Any:
        """One value of the metadata; of an array, which no adapter needs, nothing is kept."""
        kind = self.number("I")
        if kind == _STRING:
            return self.text()
        if kind in _VALUES:
            return self.number(_VALUES[kind])
        if kind != _ARRAY or nested:
            self.refuse("metadata of an unknown type", "types 0 to 12", kind)
        inner, count = self.number("I"), self.number("Q")
        if inner == _STRING:
            for _ in range(self.plausible(count, 8)):
                self.text()
        elif inner in _VALUES:
            self.take(
                self.plausible(count, struct.calcsize(_VALUES[inner])) * struct.calcsize(_VALUES[inner])
            )
        else:
            self.refuse("an array of an unknown type", "types 0 to 8 and 10 to 12", inner)
        return None

    def refuse(self, what: str, expected: object, found: object, slug: str = "bad-gguf") -> NoReturn:
        """Refuse the file."""
        only = "; --salvage reads what is whole of safetensors alone" if current().salvage else ""
        raise BadInput(
            slug, f"the GGUF file has {what}" if slug == "bad-gguf" else f"the GGUF file is {what}",
            file=self.snapshot.path, expected=expected, found=found,
            fix=f"download or convert the file again{only}",
        )  # fmt: skip


def _info(header: _Header) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape (slowest dimension first), type and offset of a tensor."""
    name, dimensions = header.text(), header.number("I")
    if dimensions > _MOST_DIMENSIONS:
        header.refuse("a tensor of too many dimensions", f"at most {_MOST_DIMENSIONS}", dimensions)
    shape = tuple(header.number("Q") for _ in range(dimensions))
    return name, shape[::-1], header.number("I"), header.number("Q")


def _tensor(
    header: _Header, start: int, infos: list[tuple[str, tuple[int, ...], int, int]], i: int
) -> LazyTensor:
    name, shape, kind, offset = infos[i]
    snapshot = header.snapshot
    later = [other for *_, other in infos if other > offset]
    room = (start + min(later) if later else snapshot.size) - start - offset
    dtype = _FLOATS.get(kind)
    size = max(room, 0) if dtype is None else math.prod(shape) * BITS[dtype] // 8
    if size > room or start + offset + size > snapshot.size:
        header.refuse(
            f"a tensor, {name}, that does not fit into the file", f"{size} bytes", f"{max(room, 0)} bytes"
        )
    if dtype is None:
        return lazy(name, f"ggml type {kind}, packed", shape, size, partial(_never, header, name))
    return lazy(name, dtype, shape, size, partial(read_range, snapshot, start + offset, size, dtype, shape))


def _never(header: _Header, name: str) -> NoReturn:
    header.refuse(f"a packed tensor, {name}", "F32, F16 or BF16", "a packed type", "unsupported-dtype")
