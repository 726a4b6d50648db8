"""The study of `tunescope attribute`: tuned model, base and data in, tables, figures and readout out."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from tunescope.corpus.reading import SUFFIXES, read_rows
from tunescope.errors import Missing, Notice, UsageError
from tunescope.paths import local_path
from tunescope.questions.attribution import views as view
from tunescope.questions.attribution.findings import attribution_findings, difference_findings
from tunescope.source.ledger import provenance as source_provenance
from tunescope.source.spec import default_label, parse_hub_id, parse_spec
from tunescope.study.finding import Finding, ordered
from tunescope.study.folder import StudyFolder
from tunescope.study.names import file_stems
from tunescope.table import SCHEMA_VERSION, Table, spreadsheet_safe, write_csv
from tunescope.writing import strict_json, write_json, write_text

if TYPE_CHECKING:
    from tunescope.questions.attribution.attribution import Attribution
    from tunescope.questions.attribution.subject import Subject

Progress = Callable[[str, int, int], None]
# Differences are drawn for all pairs up to this many data sets, else against the first.
ALL_PAIRS = 4


@dataclass(frozen=True)
class Request:
    """What is attributed, on what and how; the names are those of the command's options."""

    tuned: str
    base: str
    data: tuple[str, ...]
    nodes: int = 8
    verify: int = 0
    sequences: int = 128
    max_length: int = 512
    batch_size: int = 8
    dtype: str = "auto"
    device: str = "auto"
    scale: float | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class AttributionStudy:
    """What was measured, per data set, before anything is drawn or written."""

    label: str
    found: Mapping[str, "Attribution"]
    findings: Sequence[Finding]
    document: Mapping[str, Any]
    sources: Sequence[Mapping[str, Any]] = field(default=())

    @property
    def table(self) -> Table:
        """All rows; with several data sets a column `data` leads."""
        tables = {data: found.table() for data, found in self.found.items()}
        first, *others = tables.values()
        if not others:
            return first
        frames = [t.frame.select(pl.lit(data).alias("data"), pl.all()) for data, t in tables.items()]
        return Table(
            pl.concat(frames), "attribution", {"units": first.meta["units"], "document": self.document}
        )


def attribution_study(
    request: Request, progress: Progress | None = None, state: Path | None = None
) -> AttributionStudy:
    """Load, attribute on every data set, and read out; with `state`, a killed run goes on from there.

    Raises `Missing`, `BadInput` or `Exhausted` for models, data or a device that cannot be used.
    """
    said, tuned = parse_spec(request.tuned)
    _check_there(tuned, labelled_data(request.data).values())
    # Deferred: loading torch takes seconds, and a refused argument should not wait for it.
    from tunescope.lm.device import chosen_device
    from tunescope.lm.pretrained import load_model
    from tunescope.questions.attribution.attribution import attribute_data, path_of
    from tunescope.questions.attribution.subject import open_subject

    device, notices = chosen_device(request.device)
    model = load_model(request.base, request.dtype, device)
    read, noticed = _batches(request, model)
    subject = open_subject(tuned, model, dtype=request.dtype, device=device, scale=request.scale)
    options: dict[str, Any] = {"nodes": request.nodes, "verified": request.verify, "seed": request.seed}
    with path_of(subject, request.seed) as path:
        found = {
            name: attribute_data(
                path, subject.changes, batches, progress=_named(progress, name), state=state, **options
            )
            for name, batches in read.items()
        }
    notices = [*notices, *subject.changes.notices, *noticed]
    return _read_out(said or default_label(tuned), request, subject, found, notices)


def _batches(request: Request, model: Any) -> tuple[dict[str, list[Any]], list[Notice]]:
    """The batches of every data set, and what was noticed on the way."""
    # Deferred, as above.
    from tunescope.lm.pretrained import load_tokenizer
    from tunescope.lm.texts import read_batches

    tokenizer = load_tokenizer(request.base)
    limits = {
        "sequences": request.sequences,
        "max_length": request.max_length,
        "batch_size": request.batch_size,
        "seed": request.seed,
    }
    read = {
        name: read_batches(place, tokenizer, model, **limits)
        for name, place in labelled_data(request.data).items()
    }
    notices = [notice for _, noticed in read.values() for notice in noticed]
    return {name: batches for name, (batches, _) in read.items()}, notices


def state_folder(out: Path) -> Path:
    """Where a run keeps what it has finished so far: a hidden folder beside its output."""
    return out.absolute().parent / f".{out.name}.attribute-state"


def labelled_data(specs: Sequence[str]) -> dict[str, str]:
    """`[NAME=]FILE` arguments by name; `UsageError` for a name given twice.

    >>> labelled_data(["maths=sums.jsonl", "runs/code.jsonl"])
    {'maths': 'sums.jsonl', 'code': 'runs/code.jsonl'}
    """
    found: dict[str, str] = {}
    for spec in specs:
        said, place = parse_spec(spec)
        label = said or _data_label(place)
        if label in found:
            text = f"two data sets are called {label!r}"
            raise UsageError("duplicate-label", text, fix="name them: --data NAME=FILE")
        found[label] = place
    if not found:
        raise UsageError("no-data", "no data set is named", expected="--data FILE")
    return found


def _data_label(place: str) -> str:
    """A file's name without what says its format; the last part of a hub id."""
    name = default_label(place)
    while (stem := name.removesuffix(".gz")) != name or stem.lower().endswith(SUFFIXES):
        name = stem.rpartition(".")[0] if stem == name else stem
    return name


def _check_there(tuned: str, data: Iterable[str]) -> None:
    """Refuse what is missing or unreadable before a large base is loaded; ids on the hub wait."""
    if not os.path.lexists(local_path(tuned)) and parse_hub_id(tuned) is None:
        raise Missing(
            "not-found",
            "there is no such file or folder",
            file=tuned,
            found="nothing at this path; it looks local, so this was not a hub lookup",
            fix="check the path; a hub model or adapter is written org/name[@revision][:folder]",
        )
    for place in data:
        if os.path.lexists(place) or place.lower().endswith(SUFFIXES):
            read_rows(place)


def _named(progress: Progress | None, label: str) -> Progress | None:
    if progress is None:
        return None
    return lambda what, done, total: progress(f"{label}: {what}", done, total)


def _read_out(
    label: str,
    request: Request,
    subject: "Subject",
    found: Mapping[str, "Attribution"],
    notices: Sequence[Notice],
) -> AttributionStudy:
    findings = [
        finding
        for data, one in found.items()
        for finding in attribution_findings(one.frame, one.summary, label, data, one.verification)
    ]
    summaries = {data: one.summary for data, one in found.items()}
    findings += difference_findings({d: one.frame for d, one in found.items()}, summaries, label)
    document = {
        "schema_version": SCHEMA_VERSION,
        "tuned": request.tuned,
        "base": request.base,
        "kind": subject.kind,
        **(next(iter(summaries.values())) if len(summaries) == 1 else {}),
        "data_sets": summaries,
        "findings": [finding.record() for finding in ordered(findings)],
        "notices": [str(notice) for notice in notices],
    }
    return AttributionStudy(label, found, findings, document, _provenance(request, subject, found))


def _provenance(
    request: Request, subject: "Subject", found: Mapping[str, "Attribution"]
) -> list[Mapping[str, Any]]:
    tuned = {"label": "tuned", "location": request.tuned, "files": _sizes(parse_spec(request.tuned)[1])}
    data = labelled_data(request.data).items()
    return [
        *(source_provenance([subject.source]) if subject.source else [tuned]),
        {"label": "base", "location": request.base, "files": _sizes(request.base)},
        *(
            {"label": name, "location": place, "sha256": found[name].summary["data_sha256"]}
            for name, place in data
        ),
    ]


def _sizes(place: str) -> list[dict[str, Any]]:
    """Names and sizes of a local folder's weights; hashing them could take longer than scoring."""
    files = sorted(p for p in Path(place).glob("*") if p.suffix in (".safetensors", ".bin", ".json"))
    return [{"file": path.name, "bytes": path.stat().st_size} for path in files]


def write_attribution(study: AttributionStudy, folder: StudyFolder, *, safe: bool = False) -> None:
    """Write tables, figures and readout of a study into an open folder."""
    # Deferred: drawing needs matplotlib, measuring does not.
    from tunescope.questions.attribution.readout import attribution_markdown

    clean = spreadsheet_safe if safe else pl.DataFrame.clone
    write_csv(clean(study.table.frame), folder.tables / "attribution.csv")
    study.table.write_parquet(folder.tables / "attribution.parquet")
    write_json(folder.tables / "attribution_summary.json", study.document)
    rows = [
        one.verification.select(*([pl.lit(data).alias("data")] if len(study.found) > 1 else []), pl.all())
        for data, one in study.found.items()
        if one.verification is not None
    ]
    if rows:
        write_csv(clean(pl.concat(rows)), folder.tables / "verification.csv")
    if pairs := list(differences(study)):
        write_csv(
            clean(pl.concat([frame for _, _, frame in pairs])), folder.tables / "attribution_difference.csv"
        )
    _write_figures(study, folder)
    write_text(folder.tables / "readout.json", strict_json(study.document) + "\n")
    write_text(folder.root / "readout.md", attribution_markdown(study.document))


def differences(study: AttributionStudy) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """Two data sets and, cell by cell, the second's attribution minus the first's."""
    names = list(study.found)
    pairs = combinations(names, 2) if len(names) <= ALL_PAIRS else ((names[0], name) for name in names[1:])
    for a, b in pairs:
        frame = view.difference(study.found[a].frame, study.found[b].frame)
        yield a, b, frame.select(pl.lit(a).alias("data_a"), pl.lit(b).alias("data_b"), pl.all())


def _write_figures(study: AttributionStudy, folder: StudyFolder) -> None:
    # Deferred: drawing needs matplotlib, measuring does not.
    from tunescope.picture.style import figure_of, save
    from tunescope.questions.attribution import figures as render

    stems = file_stems(list(study.found))
    # Equal models have no cell, and nothing to draw.
    drawable = {data: one for data, one in study.found.items() if one.frame.height}
    for data, one in drawable.items():
        title, tail = f"{study.label} on {data}", f"_{stems[data]}" if len(stems) > 1 else ""
        drawn = render.attribution_maps(view.maps(one.frame, title), view.caption(one.summary))
        save(drawn, folder.figures / f"attribution{tail}")
        points = view.scatter(one.frame, title, one.summary["spearman_change_effect"])
        save(figure_of(render.change_effect(points)), folder.figures / f"change_effect{tail}")
        if one.verification is not None:
            checks = view.checks(one.verification, title, view.agreement(one.summary["verification"]))
            save(figure_of(render.verification(checks)), folder.figures / f"verification{tail}")
    for a, b, frame in differences(study) if drawable else ():
        maps = view.difference_maps(frame, f"{study.label}: {b} − {a}", a, b)
        drawn = render.attribution_maps(maps, view.difference_caption(a, b))
        save(drawn, folder.figures / f"attribution_difference_{stems[b]}_minus_{stems[a]}")
