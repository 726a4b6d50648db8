"""Frames as one compressed text: columns as typed arrays, their bytes sorted by weight, gzip, base64.

A float is kept as float32 (seven digits), a text as a number into a list of texts. Null, which is not a
NaN, is a value of its own in every type. Equal input gives equal text.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.page.panels import Data

# What stands for null: the largest float32, the least int32, the largest code.
NULL_FLOAT = np.float32(3.4028234663852886e38)
NULL_INT = -(2**31)
_WORDS = (np.uint8, np.uint16, np.uint32)


def packed(document: Mapping[str, Any], data: Mapping[str, Data]) -> str:
    """A document and its data as base64 text.

    Before compression: the length of the JSON head as little-endian uint32, the head, and the arrays; the
    head says of every column what it is and at which byte of the rest it starts.
    """
    arrays: list[bytes] = []
    at = 0
    described: dict[str, Any] = {}
    for name, item in data.items():
        columns = {}
        for column in item.frame.columns:
            record, body = _column(item.frame[column], item.bits)
            said = item.meanings.get(column, {})
            # In one order, however the meanings were kept.
            columns[column] = record | {"at": at} | {k: said[k] for k in ("unit", "meaning") if said.get(k)}
            arrays.append(body)
            at += len(body)
        described[name] = {"rows": item.frame.height, "columns": columns, "note": item.note}
    head = json.dumps({**document, "data": described}, ensure_ascii=True, separators=(",", ":")).encode()
    whole = len(head).to_bytes(4, "little") + head + b"".join(arrays)
    return base64.b64encode(gzip.compress(whole, compresslevel=9, mtime=0)).decode()


def _column(values: pl.Series, bits: int) -> tuple[dict[str, Any], bytes]:
    if values.dtype.is_float():
        return {"type": "float"}, _sorted_bytes(_rounded(_floats(values), bits))
    if values.dtype.is_integer():
        # Beyond int32 a number is a size, which a float tells as well.
        known = values.drop_nulls().cast(pl.Float64).to_numpy()
        if known.size and np.abs(known).max() >= 2**31 - 1:
            return {"type": "float"}, _sorted_bytes(_floats(values.cast(pl.Float64)))
        whole = values.cast(pl.Int64).fill_null(NULL_INT).to_numpy().astype("<i4")
        return {"type": "int"}, _sorted_bytes(whole)
    return _texts(values.cast(pl.String))


def _floats(values: pl.Series) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        numbers = values.cast(pl.Float64).fill_null(0.0).to_numpy().astype("<f4")
    numbers[values.is_null().to_numpy()] = NULL_FLOAT
    return numbers


def _rounded(numbers: NDArray[Any], bits: int) -> NDArray[Any]:
    """Each number to the nearest with so many binary digits; null, NaN and infinity stay what they are."""
    if bits >= 23:
        return numbers
    usable = np.isfinite(numbers) & (np.abs(numbers) < NULL_FLOAT / 2)
    words = numbers.view("<u4")
    half, mask = np.uint32(1 << (22 - bits)), np.uint32(0xFFFFFFFF << (23 - bits) & 0xFFFFFFFF)
    rounded: NDArray[Any] = np.where(usable, (words + half) & mask, words).astype("<u4").view("<f4")
    return rounded


def _texts(values: pl.Series) -> tuple[dict[str, Any], bytes]:
    levels = values.drop_nulls().unique(maintain_order=True).to_list()
    place = {level: i for i, level in enumerate(levels)}
    kind = next(w for w in _WORDS if len(levels) < np.iinfo(w).max)
    null = int(np.iinfo(kind).max)
    codes = np.array([null if v is None else place[v] for v in values.to_list()], dtype=kind)
    record = {"type": "text", "levels": levels, "bytes": codes.itemsize}
    return record, _sorted_bytes(codes.astype(f"<u{codes.itemsize}"))


def _sorted_bytes(numbers: NDArray[Any]) -> bytes:
    """All first bytes, then all second ones, and so on: neighbours are alike then, and pack well."""
    return numbers.view(np.uint8).reshape(len(numbers), numbers.itemsize).T.tobytes()
