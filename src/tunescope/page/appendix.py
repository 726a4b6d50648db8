"""The end of the page: methods to paste, the command, what was read with its hash, the tables."""

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from typing import Any

from tunescope.page.markup import Markup, element, joined, name
from tunescope.page.panels import Data, Part
from tunescope.version import __version__

_HEADS = ("label", "place", "format", "revision", "bytes", "digest")
_BYTES = _HEADS.index("bytes")
# What computes: the versions of these decide the last digits.
_COMPUTE = ("numpy", "polars", "safetensors", "torch", "transformers", "peft")
_CITATION = (
    "@software{tunescope, author = {{The tunescope authors}}, "
    "title = {tunescope: where did fine-tuning change this model?}, "
    f"version = {{{__version__}}}}}"
)


def appendix(parts: Sequence[Part], data: Mapping[str, Data], kinds: Sequence[str]) -> Markup:
    """Methods, commands, sources, tables and versions of all parts.

    A name in `data` begins with a number, the place in `kinds` of the kind of study that it is from.
    """
    return joined(
        element("h3", "Methods"), *_methods(parts),
        element("h3", "Commands"), *(_command(part) for part in parts if part.content.command),
        element("h3", "What was read"), _sources(parts),
        element("h3", "Versions"), element("p", _versions()),
        element("h3", "Citation"), _copied(element("code", _CITATION), class_="command"),
        element("h3", "Tables"), *(_table(key, item, kinds) for key, item in data.items()),
        element("p", f"Page made by tunescope {__version__} from {_count(parts)}; it needs no network.",
                class_="made"),
    )  # fmt: skip


def _versions() -> str:
    """The versions of what is installed where the page is made."""
    told = [f"tunescope {__version__}", f"Python {platform.python_version()}"]
    for package in _COMPUTE:
        with suppress(metadata.PackageNotFoundError):
            told.append(f"{package} {metadata.version(package)}")
    return f"This page was made with {', '.join(told)}."


def _count(parts: Sequence[Part]) -> str:
    kinds = ", ".join(dict.fromkeys(part.kind for part in parts))
    return f"{len(parts)} {'study' if len(parts) == 1 else 'studies'} ({kinds})"


def _methods(parts: Sequence[Part]) -> list[Markup]:
    texts = dict.fromkeys(part.content.methods for part in parts if part.content.methods)
    return [_copied(element("p", element("bdi", text), class_="methods")) for text in texts]


def _command(part: Part) -> Markup:
    return _copied(element("code", part.content.command), class_="command")


def _copied(body: Markup, class_: str = "copied") -> Markup:
    return element("div", body, element("button", "copy", type="button", class_="copy"), class_=class_)


def _sources(parts: Sequence[Part]) -> Markup:
    rows = {_row(source): None for part in parts for source in part.sources}
    head = element("tr", *(element("th", text, scope="col") for text in _HEADS))
    return element("div", element("table", element("thead", head), element("tbody", *rows)), class_="wide")


def _row(source: Mapping[str, Any]) -> Markup:
    digest = source.get("digest") or {}
    size = source.get("bytes")
    cells = (
        name(str(source.get("label"))),
        name(str(source.get("location")), 72),
        str(source.get("format") or ""),
        str(source.get("revision") or "none: local files"),
        f"{size:,}" if isinstance(size, int) and size else "",
        element("code", " ".join(str(digest[k]) for k in ("kind", "value") if digest.get(k))),
    )
    return element(
        "tr",
        *(element("td", cell, class_="number" if i == _BYTES else None) for i, cell in enumerate(cells)),
    )


def _table(key: str, item: Data, kinds: Sequence[str]) -> Markup:
    number, _, table = key.partition(".")
    kind = kinds[int(number)]
    columns = [
        joined(element("dt", element("code", column)), element("dd", _meaning(item.meanings.get(column, {}))))
        for column in item.frame.columns
    ]
    title = f"{kind}: {table.replace('_', ' ')} ({item.frame.height:,} rows)"
    csv = element("button", "CSV", type="button", class_="csv", data_csv=key)
    note = element("p", item.note) if item.note else Markup("")
    return element("details", element("summary", title), csv, note, element("dl", *columns), class_="table")


def _meaning(said: Mapping[str, str]) -> str:
    unit = said.get("unit")
    return f"{said.get('meaning', '')}{f' [{unit}]' if unit else ''}"
