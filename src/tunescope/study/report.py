"""Studies as one page: what every study has, beside what its question says it shows."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from tunescope.page.document import page
from tunescope.page.panels import Check, Part
from tunescope.study.finding import answers, only_said
from tunescope.study.markdown import read_line
from tunescope.study.recorded import telling
from tunescope.study.study import Study
from tunescope.words import counted


def report(studies: Sequence[Study], *, title: str = "", about: str = "") -> str:
    """One self-contained HTML file of one or several studies; equal studies give equal text.

    `title` heads the page, and `about` says below it what was studied; without a title the models name it.
    """
    return page([_part(study) for study in studies], title=title, about=about)


def _part(study: Study) -> Part:
    with telling(study.folder):
        return _told(study)


def _told(study: Study) -> Part:
    frame = study.table.frame
    column = next((name for name in ("model_id", "run") if name in frame.columns), None)
    named = frame[column].unique(maintain_order=True).to_list() if column else []
    labels = study.readout.get("models") or named
    return Part(
        kind=study.kind,
        content=study.question.content(study),
        labels=[str(label) for label in labels],
        findings=[finding.record() for finding in answers(study.findings)],
        sources=study.sources,
        base=_base(study),
        read=read_line(study.sources),
        checks=list(_checks(study)),
    )


def _base(study: Study) -> str | None:
    """The base model, where the study says it."""
    base = study.readout.get("base") or study.arguments.get("base")
    if isinstance(base, Mapping):
        base = base.get("location")
    return base if isinstance(base, str) else None


def _checks(study: Study) -> Iterator[Check]:
    """What can be said of any study: how much of the files was read, and what may be wrong with them."""
    if study.sources:
        known = all(source.get("digest") for source in study.sources)
        lead = "every source is named and hashed. " if known else ""
        yield Check(
            "sources", "good" if known else "unknown", f"{study.kind}: {lead}{read_line(study.sources)}"
        )
    if "coverage" in study.tables:
        yield _coverage(study.kind, study.tables["coverage"].frame)
    warned = [finding for finding in study.findings if finding.severity == "warning"]
    for finding in warned:
        yield Check(finding.kind.replace("_", " "), "warning", finding.text)
    for finding in study.findings:
        if only_said(finding.record()):
            yield Check("noticed", "note", finding.text)


def _coverage(kind: str, rows: pl.DataFrame) -> Check:
    used = rows.filter(pl.col("status") == "used")
    left = rows.height - used.height
    text = (
        f"{kind}: {used.height:,} of {counted(rows.height, 'tensor')} of the files "
        f"{'is' if used.height == 1 else 'are'} part of what was measured"
    )
    if not left:
        return Check("coverage", "good", f"{text}.")
    reasons = rows.filter(pl.col("status") != "used")["reason"].fill_null("no reason").unique().sort()
    return Check("coverage", "note", f"{text}; the others: {', '.join(reasons.to_list()[:6])}.")
