"""What a question declares to the house: how its studies are told, drawn and written."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from tunescope.source.spec import default_label, parse_spec

if TYPE_CHECKING:
    from tunescope.page.panels import Content
    from tunescope.study.study import Study


class Drawing(Protocol):
    """A picture that can be made: its name, its caption, and the making."""

    @property
    def name(self) -> str:
        """The stem of its files."""

    @property
    def caption(self) -> str:
        """What it shows, in words that stand beside it."""

    @property
    def on_request(self) -> bool:
        """Whether it is written only where all pictures are asked for."""

    def draw(self, ax: Any = None, panel: str | None = None) -> Any:
        """The matplotlib figure, or one of its panels, on `ax` where that is given."""

    def write(self, folder: Path, formats: Sequence[str]) -> list[Path]:
        """Write it in each format; the paths that were written."""


def adapters_of(study: "Study", without: Collection[str] = ()) -> list[str]:
    """The adapters that a study read but those of some labels, for the command that asks the next question.

    Each is its location, after `LABEL=` where the location alone would give another label.
    """
    return [_argument(s) for s in study.sources if _on_disk(s) and s["label"] not in without]


def _argument(source: Mapping[str, Any]) -> str:
    label, place = source["label"], str(source["location"])
    return (
        place if parse_spec(place) == (None, place) and default_label(place) == label else f"{label}={place}"
    )


def _on_disk(source: Mapping[str, Any]) -> bool:
    """Whether a source is an adapter in files, neither a base, a table, texts nor a live object."""
    others = ("checkpoint", "published-norms", "texts", "whole-model")
    return source["format"] not in others and bool(source["files"])


def _findings_alone(_: "Study") -> "Content":
    # Deferred: only a page needs it.
    from tunescope.page.panels import Content

    return Content("trust")


@dataclass(frozen=True, eq=False)
class Question:
    """One question: its `kind`, the name of its `main` table, and functions of a `Study` alone.

    `words` gives the readout as Markdown and `pictures` the drawings. `views` are further CSV files that
    are made from the tables, `pages` further Markdown files. `following` are commands that answer the next
    question, given the study and the folder it was written to; `answer` is whether what was asked turned
    out as it should. Tables named in `bulky` are kept as Parquet alone. `content` is what the report page
    shows of a study; left out, its findings alone. `incomplete` are kinds of notes that say what of the data
    is not there: a terminal names them too.
    """

    kind: str
    main: str
    words: Callable[["Study"], str]
    pictures: Callable[["Study"], Sequence[Drawing]]
    views: Callable[["Study"], Mapping[str, pl.DataFrame]] = lambda _: {}
    pages: Callable[["Study"], Mapping[str, str]] = lambda _: {}
    following: Callable[["Study", Path | None], Sequence[str]] = lambda *_: ()
    answer: Callable[["Study"], bool] = lambda _: True
    bulky: tuple[str, ...] = ()
    content: Callable[["Study"], "Content"] = _findings_alone
    incomplete: tuple[str, ...] = ()
