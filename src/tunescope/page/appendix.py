"""The end of the page: methods to paste, the command, what was read with its hash, the tables."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from typing import Any

from tunescope.page.markup import Markup, element, joined, name
from tunescope.page.merging import sentences_of
from tunescope.page.panels import Data, Part
from tunescope.version import YEAR, __version__
from tunescope.words import counted, named

_HEADS = ("label", "place", "format", "revision", "bytes", "digest")
# What computes: the versions of these decide the last digits.
_COMPUTE = ("numpy", "polars", "safetensors", "torch", "transformers", "peft")
# What a paragraph of methods cites in short.
REFERENCES = {
    "Hu et al. 2021": "Hu, E. J. et al. (2021). LoRA: Low-Rank Adaptation of Large Language Models. "
    "arXiv:2106.09685.",
    "Molchanov et al. 2019": "Molchanov, P. et al. (2019). Importance Estimation for Neural Network Pruning. "
    "arXiv:1906.10771.",
    "Roy & Vetterli 2007": "Roy, O. and Vetterli, M. (2007). The effective rank: A measure of effective "
    "dimensionality. EUSIPCO.",
    "Shuttleworth et al. 2024": "Shuttleworth, R. et al. (2024). LoRA vs Full Fine-tuning: An Illusion of "
    "Equivalence. arXiv:2410.21228.",
    "Sun et al. 2023": "Sun, M. et al. (2023). A Simple and Effective Pruning Approach for Large Language "
    "Models. arXiv:2306.11695.",
    "Sundararajan et al. 2017": "Sundararajan, M., Taly, A. and Yan, Q. (2017). Axiomatic Attribution for "
    "Deep Networks. arXiv:1703.01365.",
}
_CITATION = (
    "@software{tunescope, author = {{The tunescope authors}}, "
    "title = {tunescope: where did fine-tuning change this model?}, "
    f"year = {{{YEAR}}}, version = {{{__version__}}}, howpublished = {{Python package}}}}"
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


def _methods(parts: Sequence[Part]) -> Iterator[Markup]:
    """A paragraph for each kind of study, which says once what several have in common; what they cite."""
    told = [part for part in parts if part.content.methods or part.read]
    texts = {
        kind: _paragraph([p for p in told if p.kind == kind]) for kind in dict.fromkeys(p.kind for p in told)
    }
    for kind, text in texts.items():
        yield element("h4", kind.replace("_", " ").capitalize())
        yield _copied(element("p", element("bdi", text), class_="methods"))
    cited = [full for short, full in REFERENCES.items() if any(short in text for text in texts.values())]
    if cited:
        yield element("h4", "References")
        yield element("ul", *(element("li", full) for full in cited), class_="references")


def _paragraph(parts: Sequence[Part]) -> str:
    """The methods of studies of one kind: what all say, what each says besides, and what was read."""
    said = {part.content.methods: sentences_of(part.content.methods) for part in parts}
    shared = [text for text in next(iter(said.values())) if all(text in own for own in said.values())]
    lines = list(shared)
    for methods, own in said.items():
        if rest := [text for text in own if text not in shared]:
            labels = dict.fromkeys(n for p in parts if p.content.methods == methods for n in p.labels)
            lines.append(f"{named(labels, 6)}: {' '.join(rest)}" if len(said) > 1 else " ".join(rest))
    lead = f"tunescope {__version__}."
    reads = dict.fromkeys(part.read.removeprefix(lead).strip() for part in parts)
    return " ".join([*lines, lead, *filter(None, reads)])


def _command(part: Part) -> Markup:
    return _copied(element("code", part.content.command), class_="command")


def _copied(body: Markup, class_: str = "copied") -> Markup:
    return element("div", body, element("button", "copy", type="button", class_="copy"), class_=class_)


def _sources(parts: Sequence[Part]) -> Markup:
    every = [source for part in parts for source in part.sources]
    # Only what came from a hub has a revision; local files are told apart by their hashes alone.
    heads = [head for head in _HEADS if head != "revision" or any(s.get("revision") for s in every)]
    rows = dict.fromkeys(_row(source, heads) for source in every)
    head = element("tr", *(element("th", text, scope="col") for text in heads))
    return element(
        "div", element("table", element("thead", head), element("tbody", *rows)), class_="wide read"
    )


def _row(source: Mapping[str, Any], heads: Sequence[str]) -> Markup:
    digest = source.get("digest") or {}
    size = source.get("bytes")
    cells = {
        "label": name(str(source.get("label"))),
        "place": name(str(source.get("location")), 72),
        "format": str(source.get("format") or ""),
        "revision": str(source.get("revision") or "local files"),
        "bytes": f"{size:,}" if isinstance(size, int) and size else "",
        "digest": element("code", " ".join(str(digest[k]) for k in ("kind", "value") if digest.get(k))),
    }
    return element(
        "tr",
        *(
            element("td", cells[head], class_="number" if head == "bytes" else None, data_head=head)
            for head in heads
        ),
    )


def _table(key: str, item: Data, kinds: Sequence[str]) -> Markup:
    number, _, table = key.partition(".")
    kind = kinds[int(number)]
    columns = [
        joined(element("dt", element("code", column)), element("dd", _meaning(item.meanings.get(column, {}))))
        for column in item.frame.columns
    ]
    title = f"{kind}: {table.replace('_', ' ')} ({counted(item.frame.height, 'row')})"
    csv = element("button", "CSV", type="button", class_="csv", data_csv=key)
    note = element("p", item.note) if item.note else Markup("")
    return element("details", element("summary", title), csv, note, element("dl", *columns), class_="table")


def _meaning(said: Mapping[str, str]) -> str:
    """What a column holds, and in which unit or range.

    >>> _meaning({"meaning": "share of values", "unit": "[0, 1]"})
    'share of values, in [0, 1]'
    >>> _meaning({"meaning": "loss", "unit": "nats/token"})
    'loss [nats/token]'
    """
    unit = said.get("unit") or ""
    return said.get("meaning", "") + (
        f", in {unit}" if unit.startswith("[") else f" [{unit}]" if unit else ""
    )
