"""Value-wise damage within containers: what lies inside is changed, and the container made sound again."""

import gzip
import io
import json
import zipfile
import zlib
from typing import Any

import polars as pl

from .mutations import HOSTILE, Change, bytewise, json_values, tokenwise


def safetensors_header(data: bytes, change: Change) -> bytes:
    """A value of the header, whose length is stated rightly afterwards."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data):
        return bytewise(data, change)
    header = json_values(data[8 : 8 + length], change)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


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
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error):
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


def gzip_content(data: bytes, change: Change) -> bytes:
    """A word of the packed text."""
    try:
        return gzip.compress(tokenwise(gzip.decompress(data), change), 1, mtime=0)
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error):
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
