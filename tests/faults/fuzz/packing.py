"""Value-wise damage within containers: what lies inside is changed, and the container made sound again."""

import gzip
import io
import json
import random
import zipfile
import zlib
from typing import Any

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .mutations import HOSTILE, Apply, Change, bytewise, json_values, tokenwise

# What the readers of zip and gzip raise for an archive that an earlier change damaged.
_DAMAGE = (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def safetensors_header(data: bytes, change: Change, damage: Apply = json_values) -> bytes:
    """A value of the header, whose length is stated rightly afterwards."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data):
        return bytewise(data, change)
    header = damage(data[8 : 8 + length], change)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


_SIDES = (0, 1, 1, 2, 2, 3, 4, 5, 6, 12)
_TYPES = (np.float32, np.float32, np.float32, np.float64, np.float16, np.int64, np.int8, np.uint64, np.bool_)
_FILLS = (0.5, 0, 1, -1, 3, 1e30, float("nan"), float("inf"), -7, 1e-40)


def other_tensors(data: bytes, change: Change) -> bytes:
    """One tensor of another shape, type or value, one gone, or one under another's name."""
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, TypeError):
        return bytewise(data, change)
    names = sorted(tensors)
    if not names:
        return bytewise(data, change)
    name, dice = names[change.a % len(names)], random.Random(change.b)
    with np.errstate(all="ignore"):
        match change.c % 6:
            case 0:
                del tensors[name]
            case 1:
                tensors[names[change.b % len(names)]] = tensors.pop(name)
            case 2:
                fill = dice.choice(_FILLS)
                tensors[name] = np.full(tensors[name].shape, fill).astype(dice.choice(_TYPES))
            case 3:
                tensors[name] = np.ascontiguousarray(tensors[name].T)
            case _:
                shape = tuple(dice.choice(_SIDES) for _ in range(dice.choice((0, 1, 1, 2, 2, 3, 4))))
                tensors[name] = np.full(shape, dice.choice((0.5, 1, 3))).astype(dice.choice(_TYPES))
    return save(tensors)


def floats(data: bytes, change: Change) -> bytes:
    """One number among the last bytes: huge, denormal, NaN or infinite."""
    values = (
        b"\x00\x00\xc0\x7f",
        b"\x00\x00\x80\x7f",
        b"\xff\xff\x7f\x7f",
        b"\x01\x00\x00\x00",
        b"\x00\x00\x80\xff",
    )
    place = max(len(data) - 4 * (1 + change.a % 20), 0)
    return data[:place] + values[change.b % 5] + data[place + 4 :]


def zip_members(data: bytes, change: Change) -> bytes:
    """A member's bytes or name, its checksum right again."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(m.filename, archive.read(m)) for m in archive.infolist()]
    except _DAMAGE:
        return bytewise(data, change)
    if not members:
        return bytewise(data, change)
    place = change.a % len(members)
    name, content = members[place]
    cut = Change(change.how, change.a // 7, change.b, change.c)
    match change.c % 4:
        case 0:
            name = tokenwise(name.encode(), cut).decode(errors="replace") or "x"
        case 1:
            content = tokenwise(content[:128], cut) + content[128:]
        case _:
            content = bytewise(content[:128], cut) + content[128:]
    members[place] = (name, content)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for filename, content in dict(members).items():
            archive.writestr(zipfile.ZipInfo(filename), content)
    return out.getvalue()


_FIELDS = (0, 1, 2, 3, 7, 8, 9, 12, 13, 30, 31, 32, 255, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1)


def gguf_fields(data: bytes, change: Change) -> bytes:
    """A number of 4 or 8 bytes of the header: a count, a length, a type, a dimension, an offset."""
    end = max(len(data) - 200, 32)
    width = (4, 8)[change.b % 2]
    place = 4 + 4 * (change.a % (end // 4))
    value = _FIELDS[change.c % len(_FIELDS)] % 2 ** (8 * width)
    return data[:place] + value.to_bytes(width, "little") + data[place + width :]


def gzip_content(data: bytes, change: Change) -> bytes:
    """A word of the packed text."""
    try:
        return gzip.compress(tokenwise(gzip.decompress(data), change), 1, mtime=0)
    except _DAMAGE:
        return bytewise(data, change)


def parquet_values(data: bytes, change: Change) -> bytes:
    """A column's type or values, its name, or the text that the file says about itself."""
    try:
        frame = pl.read_parquet(io.BytesIO(data))
        metadata = {k: v for k, v in pl.read_parquet_metadata(io.BytesIO(data)).items() if k == "tunescope"}
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return bytewise(data, change)
    if change.b % 4 == 0 and metadata:
        metadata["tunescope"] = json_values(metadata["tunescope"].encode(), change).decode(errors="replace")
    out = io.BytesIO()
    try:
        if frame.width and change.b % 4:
            frame = _column_changed(frame, frame.columns[change.a % frame.width], change)
        frame.write_parquet(out, metadata=metadata)
    except pl.exceptions.PolarsError:
        return bytewise(data, change)
    return out.getvalue()


def _column_changed(frame: pl.DataFrame, name: str, change: Change) -> pl.DataFrame:
    match change.b % 6:
        case 1:
            return frame.drop(name)
        case 2:
            return frame.rename({name: f"{('', 'x', 'layer ', 'model_a')[change.c % 4]}_{change.c}"})
        case 3:
            return frame.with_columns(pl.col(name).cast(pl.String).alias(name))
        case 5:
            return frame.head(change.c % 2)
    value = HOSTILE[change.c % len(HOSTILE)]
    try:
        made = pl.Series(name, [value] + [None] * (frame.height - 1), strict=False)
    except (TypeError, ValueError, OverflowError):
        return frame.with_columns(pl.lit(None).alias(name))
    return frame.with_columns(made) if len(made) == frame.height else frame.clear()


def text_of(value: Any) -> bytes:
    """A JSON text."""
    return json.dumps(value).encode()
