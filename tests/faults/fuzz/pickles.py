"""Value-wise damage within pickles: one number or text of the stream is another, the stream is whole."""

import io
import pickletools
import random
import re
import struct
import zlib

from .mutations import Change, bytewise

_NUMBERS = (0, 1, -1, 2, 3, 7, 255, 2**16, -(2**31), 2**31 - 1, 2**40, -(2**63), 2**63, 2**80, 10**300)
_TEXTS = (
    "",
    "x",
    "../x",
    "/etc/passwd",
    "a" * 10_000,
    "\u202e",
    "😀",
    "float64",
    "int8",
    "__0_1.distcp",
    "\0",
)
# A pickle of torch's between its name in an archive and the checksum behind it.
_PACKED = re.compile(rb"\x80\x02[^\x80].*?\.(?=PK\x07\x08)", re.DOTALL)
_WIDTHS = {"BININT1": 1, "BININT2": 2, "BININT": 4}


def _long(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def _text(value: str) -> bytes:
    raw = value.encode(errors="surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def pickle_values(data: bytes, change: Change) -> bytes:
    """One number, text or constant of a pickle in another's place; its calls and its shape stay."""
    try:
        every = list(pickletools.genops(io.BytesIO(data)))
    # The library raises anything over what an earlier change damaged.
    except Exception:
        return bytewise(data, change)
    ends = [place for _, _, place in every[1:]] + [len(data)]
    # Frames state lengths, which the change would make wrong: readers need none.
    parts = [
        (op.name, data[place or 0 : end])
        for (op, _, place), end in zip(every, ends, strict=True)
        if op.name != "FRAME"
    ]
    places = [i for i, (name, _) in enumerate(parts) if _made(name, change) is not None]
    if not places:
        return bytewise(data, change)
    changed = places[change.a % len(places)]
    return b"".join(
        (_made(name, change) or raw) if i == changed else raw for i, (name, raw) in enumerate(parts)
    )


def _made(name: str, change: Change) -> bytes | None:
    dice = random.Random(change.b)
    anything = (b"N", b"\x88", b")", b"]", b"}", _long(dice.choice(_NUMBERS)), _text(dice.choice(_TEXTS)))
    if change.c % 3 == 0 and (
        name in _WIDTHS or "UNICODE" in name or name in ("NEWTRUE", "NEWFALSE", "NONE")
    ):
        return dice.choice(anything)
    if name in _WIDTHS or name == "LONG1":
        return _long(dice.choice(_NUMBERS))
    return _text(dice.choice(_TEXTS)) if "UNICODE" in name else None


def packed_numbers(data: bytes, change: Change) -> bytes:
    """One small number of a pickle that lies unpacked in an archive, whose checksums are right again."""
    pickles = list(_PACKED.finditer(data))
    if not pickles:
        return bytewise(data, change)
    found = pickles[change.a % len(pickles)]
    old = found.group()
    places = [i for i in range(len(old) - 2) if old[i : i + 1] in b"KM"]
    place = places[change.b % len(places)] if places else 0
    new = old[: place + 1] + bytes([(0, 1, 2, 3, 5, 127, 255)[change.c % 7]]) + old[place + 2 :]
    before, after = (zlib.crc32(part).to_bytes(4, "little") for part in (old, new))
    return (data[: found.start()] + new + data[found.end() :]).replace(before, after)
