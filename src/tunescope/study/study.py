"""What one question found: its tables, its readout, its findings, and where everything came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tunescope.errors import UsageError
from tunescope.study.finding import Finding
from tunescope.study.progress import Tell, silent
from tunescope.study.question import Drawing, Question
from tunescope.study.recorded import Recorded, recorded, telling
from tunescope.table import Table
from tunescope.writing import plain

# The pictures that a study writes unless others are asked for.
FORMATS = ("png", "svg")


@dataclass(frozen=True, eq=False)
class Study:
    """One frozen value that every sentence, picture, page and file is made from.

    `tables` by file name, `readout` is the document that `--json` prints, `arguments` are those of the
    command line (live objects by label), `sources` say label, location, revision, bytes and digest of all
    that was read, `written` how it was last saved. `tunescope.read(folder)` gives back what `save(folder)`
    wrote.
    """

    question: Question
    tables: Mapping[str, Table]
    readout: Mapping[str, Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sources: Sequence[Mapping[str, Any]] = ()
    written: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def __post_init__(self) -> None:
        # What is saved is what is held: JSON would turn a tuple into a list and a NaN into null.
        for name in ("readout", "arguments", "sources", "written"):
            held = plain(getattr(self, name))
            object.__setattr__(self, name, held if self.folder is None else recorded(held, self.folder))
        if self.folder is not None:
            object.__setattr__(self, "tables", Recorded(self.tables, self.folder))

    @property
    def kind(self) -> str:
        """Which question was asked, such as `norms`."""
        return self.question.kind

    @property
    def table(self) -> Table:
        """The main table."""
        return self.tables[self.question.main]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, as the readout lists it."""
        return tuple(_finding(record) for record in self.readout["findings"])

    def markdown(self) -> str:
        """The readout in words, as Markdown."""
        with telling(self.folder):
            return self.question.words(self)

    def figures(self) -> dict[str, str]:
        """Every picture of the study: name and caption."""
        return {drawing.name: drawing.caption for drawing in self.drawings()}

    def drawings(self) -> Sequence[Drawing]:
        """Every picture of the study as what makes it."""
        with telling(self.folder):
            return list(self.question.pictures(self))

    def figure(self, name: str, ax: Any = None, limits: str | None = None) -> Any:
        """Draw one picture as a matplotlib figure, or one panel of it (`NAME/PANEL`), on `ax` where given.

        `limits` of colours are from `zero`, to the `largest` or of the `data`; left out, as last saved.
        Raises `UsageError` for a name that `figures()` does not list, and for a panel that is not there.
        """
        stem, _, panel = name.partition("/")
        study = self if limits is None else replace(self, written={**self.written, "limits": limits})
        with telling(self.folder):
            return study._drawing(stem).draw(ax, panel or None)

    def _drawing(self, name: str) -> Drawing:
        drawings = {drawing.name: drawing for drawing in self.drawings()}
        if name not in drawings:
            known = ", ".join(drawings) or "this study has no pictures"
            raise UsageError("no-such-figure", f"there is no figure {name!r}", expected=known, found=name)
        return drawings[name]

    def save(
        self,
        folder: str | Path,
        *,
        overwrite: bool = False,
        figures: Sequence[str] | None = None,
        spreadsheet_safe: bool | None = None,
        report: bool | None = None,
        limits: str | None = None,
        tell: Tell = silent,
    ) -> Path:
        """Write tables, readout, page and pictures as one folder, which appears whole or not at all.

        `figures` are the formats of the pictures (`png`, `svg`, `pdf`; none for an empty sequence; with
        `all` also those that are drawn on request only), `spreadsheet_safe` quotes texts that a
        spreadsheet would run, `report` is whether `report.html` is written, `limits` (`zero`, `largest`,
        `data`) where the colour scales of pictures begin and end; left out, all are as last saved.
        `tell` takes progress. With `overwrite` an earlier study there is replaced; other files stay.
        Raises `UsageError` for a folder that cannot be used, `Exhausted` where the disk takes no more.
        """
        # Deferred: a study that is only looked at writes nothing.
        from tunescope.study.saving import save

        written = {"figures": figures, "spreadsheet_safe": spreadsheet_safe, "report": report}
        written["limits"] = limits
        return save(self, Path(folder), overwrite, written, tell)

    def equals(self, other: "Study") -> bool:
        """Whether both hold the same: kind, arguments, sources, readout, and every table cell by cell."""
        mine, theirs = ((s.kind, s.arguments, s.sources, s.readout, list(s.tables)) for s in (self, other))
        return mine == theirs and all(t.equals(other.tables[name]) for name, t in self.tables.items())

    def __repr__(self) -> str:
        labels = ", ".join(str(source.get("label")) for source in self.sources)
        return f"Study(kind={self.kind!r}, sources=[{labels}], tables={list(self.tables)})"

    def _repr_html_(self) -> str:
        # Deferred: only notebooks ask for it.
        from tunescope.study.notebook import card

        return card(self)


def _finding(record: Mapping[str, Any]) -> Finding:
    lists = {name: tuple(record[name]) for name in ("models", "components")}
    return Finding(**{one.name: record[one.name] for one in fields(Finding)} | lists)


def asked(given: Mapping[str, Any]) -> dict[str, Any]:
    """A call's arguments as its study keeps them: all but those that change nothing that is found."""
    return {name: value for name, value in given.items() if name not in ("tell", "hash_all")}
