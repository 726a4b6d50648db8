"""The JSON header of a safetensors file, parsed strictly: every breach names itself."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tunescope.errors import BadInput, Notice, printable, raised_by

LARGEST_HEADER = 100_000_000
METADATA = "__metadata__"
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")

# Bits per element; F4 and F6 are packed and cannot be read as numbers here.
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F16": 16, "BF16": 16,
    "F32": 32, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor of a header: its dtype's name, shape and byte range behind the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A parsed header: tensors in the order of their bytes, and the file's own metadata."""

    slots: Mapping[str, Slot]
    metadata: Mapping[str, str]
    notices: tuple[Notice, ...]


def parse_header(raw: bytes, data_bytes: int, path: Path, salvage: bool = False) -> Header:
    """Parse a header and check that its tensors tile the `data_bytes` behind it exactly.

    With `salvage` tensors may end beyond the `data_bytes` that are there, which is noticed.
    """
    notices = []
    if raw[:1] in b" \t\r\n":
        text = "the header starts with a space, which the format forbids; it was read all the same"
        notices.append(Notice("header-space", text))
    document = _load(raw, path)
    metadata = _metadata(document.pop(METADATA, None), path)
    slots = {name: _slot(name, value, path) for name, value in document.items()}
    ordered = sorted(slots.items(), key=lambda item: (item[1].begin, item[1].end))
    end = _check_tiling(ordered, path)
    if salvage and end > data_bytes:
        notices.append(_salvaged(ordered, data_bytes, end, path))
    else:
        _check_end(ordered, data_bytes, end, path)
    return Header(dict(ordered), metadata, tuple(notices))


def _load(raw: bytes, path: Path) -> dict[str, Any]:
    if raw.endswith(b"\0"):
        _refuse(
            "header-padding",
            "the header is padded with NUL bytes",
            path,
            "padding with spaces",
            "NUL bytes",
            "write the file with the safetensors library, or pad its header with spaces",
        )
    try:
        document = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        found = f"{error.reason} at byte {8 + error.start}"
        _refuse("header-utf8", "the header is not UTF-8", path, "UTF-8", found)
    except _DuplicateKey as error:
        _refuse_duplicate(error, path)
    except json.JSONDecodeError as error:
        position = 8 + len(error.doc[: error.pos].encode())
        _refuse("header-json", "the header is not JSON", path, "JSON", f"{error.msg} at byte {position}")
    except ValueError as error:
        if not (isinstance(error, _ConstantError) or raised_by(error, "json")):
            raise
        _refuse("header-json", "the header is not JSON", path, "JSON", error)
    except RecursionError:
        what = "the header is nested far too deeply"
        _refuse("header-nesting", what, path, "an object of objects", "deep nesting")
    if _HALF.search(raw):
        _refuse_half_characters(document, path)
    if not isinstance(document, dict):
        _refuse("header-json", "the header is not a JSON object", path, "an object", type(document).__name__)
    return document


def _refuse_half_characters(document: object, path: Path) -> None:
    """JSON can spell half of a surrogate pair, which no table, file or terminal takes."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        found = ascii(error.object[max(error.start - 40, 0) : error.start + 1])
        _refuse("header-utf8", "the header holds half of a character", path, "whole characters", found)


class _DuplicateKey(Exception):
    def __init__(self, key: str, first: object, second: object) -> None:
        super().__init__(key)
        self.key, self.first, self.second = key, first, second


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise _DuplicateKey(key, seen[key], value)
            seen[key] = value
    return made


class _ConstantError(ValueError):
    """A number that JSON does not have."""


def _no_constant(name: str) -> NoReturn:
    raise _ConstantError(f"{name} is not JSON")


def _refuse_duplicate(error: _DuplicateKey, path: Path) -> NoReturn:
    raise BadInput(
        "duplicate-tensor",
        "the header names a tensor twice",
        file=path,
        tensor=error.key,
        expected="every name once",
        found=f"{_brief(error.first)} and {_brief(error.second)}",
        fix="save the file again; one of the two would silently win",
    )


def _brief(value: object) -> str:
    return printable(json.dumps(value, default=str), 200)


def _metadata(value: object, path: Path) -> dict[str, str]:
    if value is None:
        # As the safetensors library has it: no metadata.
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        wanted = "an object of strings"
        _refuse("header-metadata", "the header's __metadata__ is not text", path, wanted, _brief(value))
    return value


def _slot(name: str, value: object, path: Path) -> Slot:
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end], **rest} if not rest:
            pass
        case _:
            _refuse(
                "header-entry",
                "a tensor's entry is malformed",
                path,
                "dtype, shape and data_offsets",
                _brief(value),
                tensor=name,
            )
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        _refuse(
            "bad-shape",
            "a shape or offset is not a whole number of zero or more",
            path,
            "non-negative integers",
            _brief(value),
            tensor=name,
        )
    slot = Slot(dtype, tuple(shape), begin, end)
    _check_bytes(name, slot, path)
    return slot


def _check_bytes(name: str, slot: Slot, path: Path) -> None:
    if slot.end < slot.begin:
        _refuse(
            "bad-offsets",
            "a tensor ends before it begins",
            path,
            "begin <= end",
            f"[{slot.begin}, {slot.end}]",
            tensor=name,
        )
    if slot.dtype not in BITS:
        return
    numel, bits = math.prod(slot.shape), BITS[slot.dtype]
    if numel >= 2**63:
        _refuse(
            "bad-shape",
            "a shape has more elements than any file could hold",
            path,
            "fewer than 2**63 elements",
            list(slot.shape),
            tensor=name,
        )
    if numel * bits != 8 * (slot.end - slot.begin):
        _refuse(
            "size-mismatch",
            "a tensor's bytes do not fit its shape",
            path,
            f"{-(-numel * bits // 8)} bytes for {slot.dtype} {list(slot.shape)}",
            f"{slot.end - slot.begin} bytes",
            tensor=name,
        )


def _check_tiling(ordered: list[tuple[str, Slot]], path: Path) -> int:
    """Where the tensors end, which follow one another without a gap."""
    end, before = 0, "the start of the data"
    for name, slot in ordered:
        if slot.begin != end:
            slug, what = ("overlap", "overlaps") if slot.begin < end else ("hole", "leaves a hole behind")
            _refuse(
                slug,
                f"a tensor {what} the one before it",
                path,
                f"to begin at byte {end}, where {printable(before)} ends",
                f"begins at byte {slot.begin}",
                "save the file again; nothing in it can be trusted",
                tensor=name,
            )
        end, before = slot.end, name
    return end


def _salvaged(ordered: list[tuple[str, Slot]], data_bytes: int, end: int, path: Path) -> Notice:
    """What is said of a file of which only the beginning is there."""
    lost = [name for name, slot in ordered if slot.end > data_bytes]
    whole = len(ordered) - len(lost)
    text = (
        f"{printable(path.name)} is cut short, {data_bytes} of {end} data bytes are present: {whole} of "
        f"{len(ordered)} tensors are complete and were salvaged; {printable(lost[0])} is the first cut off"
    )
    return Notice("salvaged", text, lost[0])


def _check_end(ordered: list[tuple[str, Slot]], data_bytes: int, end: int, path: Path) -> None:
    if end > data_bytes:
        first = next(name for name, slot in ordered if slot.end > data_bytes)
        _refuse(
            "truncated",
            f"the file is cut short: {data_bytes} of {end} data bytes are present",
            path,
            f"{end} bytes of tensors",
            f"{data_bytes}; the first incomplete tensor is named above",
            "download or copy the file again; where it is all there is, --salvage reads the complete tensors",
            tensor=first,
        )
    if end < data_bytes:
        _refuse(
            "trailing-bytes",
            "there are bytes behind the last tensor",
            path,
            f"{end} bytes of tensors",
            f"{data_bytes}",
            "save the file again; the extra bytes belong to no tensor",
        )


def _refuse(
    slug: str,
    what: str,
    path: Path,
    expected: object,
    found: object,
    fix: str | None = None,
    *,
    tensor: str | None = None,
) -> NoReturn:
    raise BadInput(
        slug,
        what,
        file=path,
        tensor=tensor,
        expected=expected,
        found=found,
        fix=fix or "download or save the file again",
    )
