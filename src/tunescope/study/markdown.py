"""Markdown that every readout shares: escaping, tables, findings."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunescope.errors import brief
from tunescope.study.finding import only_said
from tunescope.version import __version__


def escaped(text: str) -> str:
    """Text that Markdown and a terminal show as it is.

    >>> escaped("<b>|x*")
    '&lt;b&gt;\\\\|x\\\\*'
    """
    safe = brief(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\`*|[]":
        safe = safe.replace(sign, f"\\{sign}")
    return safe


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table as lines, padded so that it also reads well on a terminal."""
    widths = [max(3, *(len(row[i]) for row in [header, *rows])) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return [line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)]


# More findings than this are folded below the first ones.
FIRST_PAGE = 5
_REPEAT = "nothing here says whether another seed or other data would repeat it."
ONE_RUN = f"One run each: {_REPEAT}"
# Of two models compared, another seed may be just what was compared.
ONE_PAIR = "Two runs in each pair: nothing here says whether two others would lie to each other so."


def finding_lines(
    findings: Sequence[Mapping[str, Any]],
    nothing: str = "Nothing stands out.",
    most: int = FIRST_PAGE,
    sources: Sequence[Mapping[str, Any]] = (),
    others: str = "",
    paired: bool = False,
) -> list[str]:
    """The ordered findings of a document as list items: `most` of them, the rest folded below.

    `nothing` is said where no effect was found, after what may be wrong with the data; `others` where one
    was, of the models without any. What only says how something was done stands below, and is no finding.
    `sources` say whether each is a run of its own, `paired` that findings are of two models each.
    """
    found = [f for f in findings if not only_said(f)]
    lines = _folded([f"- {_LEAD.get(f['severity'], '')}{escaped(f['text'])}" for f in found], most)
    blocks = [lines] if lines else []
    if nothing and all(f["severity"] == "warning" for f in found):
        blocks.append([f"Besides, {nothing[0].lower()}{nothing[1:]}" if found else nothing])
    else:
        blocks += [[escaped(others)]] if others else []
        blocks += (
            [[repeated(sources, paired)]] if any(f["evidence"].get("p") is not None for f in found) else []
        )
    if said := [escaped(f["text"]) for f in findings if only_said(f)]:
        blocks.append([" ".join(["Noticed on the way:", *said])])
    return [line for i, block in enumerate(blocks) for line in ([""] if i else []) + block]


def repeated(sources: Sequence[Mapping[str, Any]], paired: bool = False) -> str:
    """What findings rest on: one run for each model, or several checkpoints of the same runs.

    >>> steps = [{"location": f"runs/a/checkpoint-{step}"} for step in (10, 20)]
    >>> repeated(steps).partition(":")[0], repeated(steps[:1]).partition(":")[0]
    ('Checkpoints of one run', 'One run each')
    """
    places = [Path(str(source.get("location"))) for source in sources]
    steps = [place.parent for place in places if _STEP.search(place.name)]
    if len(steps) == len(set(steps)):
        return ONE_PAIR if paired else ONE_RUN
    alone = len(set(steps)) == 1 and len(steps) == len(places)
    return f"{'Checkpoints of one run' if alone else 'Some are checkpoints of one run'}: {_REPEAT}"


_STEP = re.compile(r"(checkpoint|step|epoch)[-_]?[0-9]+", re.IGNORECASE)


def _folded(lines: list[str], most: int) -> list[str]:
    if len(lines) <= most:
        return lines
    fold = f"<details><summary>{len(lines) - most} more</summary>"
    return [*lines[:most], "", fold, "", *lines[most:], "", "</details>"]


_LEAD = {"warning": "**Check first:** "}


def read_line(sources: Sequence[Mapping[str, Any]]) -> str:
    """What was read and by which version, for the end of a methods paragraph: labels, formats, hashes."""
    read = "; ".join(_source(source) for source in sources)
    return f"tunescope {__version__}." + (f" Read: {read}." if read else "")


# What the digest of a source is one of, in words.
_DIGESTS = {
    "hub_etag": "ETag of the hub",
    "hub_sha256": "sha256 of the hub",
    "sha256_of_token_ids": "sha256 of its tokens",
    "sha256_of_head_and_size": "sha256 of its head and size",
}


def _source(source: Mapping[str, Any]) -> str:
    revision = f"revision {source['revision']}" if source.get("revision") else ""
    parts = [_spoken(source.get("format") or ""), revision, _digest(source.get("digest"))]
    said = ", ".join(part for part in parts if part)
    return f"{source['label']} ({said})" if said else str(source["label"])


def _spoken(slug: str) -> str:
    """A slug as words.

    >>> _spoken("published-norms")
    'published norms'
    """
    return slug.replace("-", " ").replace("_", " ")


def _digest(digest: Mapping[str, str] | None) -> str:
    """What a hash is of, and its beginning.

    >>> _digest({"kind": "sha256_of_list(sha256)", "value": "18a3b5563ec1c0ffee"})
    "sha256 of its files' hashes 18a3b5563ec1"
    """
    if digest is None:
        return ""
    several = "sha256 of its files' hashes" if "list" in digest["kind"] else None
    kind = several or _DIGESTS.get(digest["kind"]) or _spoken(digest["kind"])
    return f"{kind} {digest['value'][:12]}"
