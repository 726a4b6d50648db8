"""The data of a page read back in Python: frames as the page's script decodes them."""

import base64
import gzip
import json
from html.parser import HTMLParser
from typing import Any

import numpy as np
import polars as pl

from tunescope.page.packing import NULL_FLOAT, NULL_INT


def unpacked(text: str) -> tuple[dict[str, Any], bytes]:
    """The head of packed data and its arrays."""
    whole = gzip.decompress(base64.b64decode(text))
    length = int.from_bytes(whole[:4], "little")
    return json.loads(whole[4 : 4 + length]), whole[4 + length :]


def column(text: str, table: str, name: str, width: int, dtype: str) -> np.ndarray[Any, Any]:
    """The numbers of one column as they are kept."""
    head, body = unpacked(text)
    frame = head["data"][table]
    at, rows = frame["columns"][name]["at"], frame["rows"]
    planes = np.frombuffer(body[at : at + rows * width], np.uint8).reshape(width, rows)
    return np.ascontiguousarray(planes.T).view(dtype).ravel()


def frame_of(text: str, table: str) -> pl.DataFrame:
    """One table of packed data, nulls as nulls."""
    found = {}
    for name, kept in unpacked(text)[0]["data"][table]["columns"].items():
        if kept["type"] == "text":
            codes = column(text, table, name, kept["bytes"], f"<u{kept['bytes']}").tolist()
            levels = kept["levels"]
            found[name] = pl.Series([levels[c] if c < len(levels) else None for c in codes], dtype=pl.String)
        else:
            whole = kept["type"] == "int"
            values = column(text, table, name, 4, "<i4" if whole else "<f4")
            null = values == (NULL_INT if whole else NULL_FLOAT)
            numbers = pl.Series(values.astype(np.int64 if whole else np.float64))
            found[name] = numbers.set(pl.Series(null), None)
    return pl.DataFrame(found)


class PageText(HTMLParser):
    """What a page says in words, and its packed data."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.data = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember which text follows."""
        self._inside = "data" if ("id", "data") in attrs else tag if tag in ("script", "style") else ""

    def handle_data(self, data: str) -> None:
        """Keep the packed data apart from the words, and scripts out."""
        if self._inside == "data":
            self.data += data
        elif not self._inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All words; those of different elements stand apart."""
        return " ".join(self.words)

    def table(self, name: str) -> pl.DataFrame:
        """The table of this name, of whichever study it is."""
        tables = unpacked(self.data)[0]["data"]
        return frame_of(self.data, next(key for key in tables if key.partition(".")[2] == name))
