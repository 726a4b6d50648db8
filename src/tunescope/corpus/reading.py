"""Text data from JSONL, JSON, Parquet or CSV files, or from a hub data set."""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from tunescope.corpus.rows import ACCEPTED, NoRowError, Rejected, Row, Rows, row_of
from tunescope.errors import BadInput, Missing, printable
from tunescope.hashes import check
from tunescope.paths import exists, local_path

Numbered = Iterable[tuple[int, object]]

SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv")
# Text shrinks tenfold, at most a hundredfold where it repeats itself; a bomb a thousandfold.
_LARGEST_RATIO = 200
_LONGEST_REASON = 500
_READABLE = "JSONL, JSON, Parquet or CSV"
_HUB = re.compile(r"^(hf://datasets/)?[\w.-]+/[\w.-]+(@[\w./-]+)?(:[\w.-]+)*$")


def read_rows(path_or_spec: str | Path) -> Rows:
    """The examples of a file or of a hub data set (`org/name[@revision][:config][:split]`).

    A file's format follows from its content, then its suffix; gzip is undone. Records that are no example
    stand in `Rows.rejected` with their line.

    Raises `Missing` for a path that is not there and `BadInput` where nothing usable is left.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "sums.jsonl"
    >>> _ = path.write_text('{"prompt": "1+1=", "completion": "2"}\\n{"prompt": "2+2="}\\n')
    >>> rows = read_rows(path)
    >>> rows[0].completion, rows.rejected[0].line
    ('2', 2)
    """
    spec = str(path_or_spec)
    path = local_path(path_or_spec)
    if exists(path):
        records = _file_records(path)
    elif _looks_like_hub(spec):
        records = _hub_records(spec)
    else:
        raise Missing(
            "data-missing", f"there is no data file {spec}", file=spec, fix="check the path; hub: org/name"
        )
    return _collect(spec, records)


def check_local(path_or_spec: str | Path) -> None:
    """Refuse a file that is missing or unusable before a large model is loaded; data sets on the hub wait.

    Raises as `read_rows`.
    """
    if exists(local_path(path_or_spec)) or not _looks_like_hub(str(path_or_spec)):
        read_rows(path_or_spec)


def _collect(source: str, records: Numbered) -> Rows:
    rows: list[Row] = []
    rejected: list[Rejected] = []
    for line, record in records:
        try:
            rows.append(replace(row_of(_checked(record)), line=line))
        except NoRowError as problem:
            rejected.append(Rejected(line, printable(str(problem), _LONGEST_REASON)))
    if not rows:
        first = f"line {rejected[0].line}: {rejected[0].reason}" if rejected else "no records at all"
        raise BadInput(
            "data-no-rows",
            f"no usable row in {source} ({len(rejected)} rejected)",
            file=source,
            expected=ACCEPTED,
            found=first,
            fix="rename the columns to one of the accepted shapes",
        )
    return Rows(tuple(rows), rejected, source)


def _checked(record: object) -> object:
    if isinstance(record, NoRowError):
        raise record
    return record


def _looks_like_hub(spec: str) -> bool:
    return bool(_HUB.match(spec)) and not spec.lower().endswith((*SUFFIXES, ".gz", ".txt"))


def _hub_records(spec: str) -> Numbered:
    # Deferred: `datasets` is an extra, and only hub data sets need it.
    from tunescope.corpus.hub import hub_records

    return hub_records(spec.removeprefix("hf://datasets/"))


def _file_records(path: Path) -> Numbered:
    if not path.is_file():
        raise BadInput(
            "data-not-a-file",
            f"{path} is no regular file",
            file=path,
            expected="a regular file",
            fix="name one data file",
        )
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
        check(path)
        if head[:4] == b"PAR1":
            return _parquet(path)
        return _text_records(path, head)
    except PermissionError as problem:
        raise Missing(
            "data-denied",
            f"{path} may not be read",
            file=path,
            found=problem,
            fix="change its mode, or copy it to where you may read it",
        ) from problem


def _text_records(path: Path, head: bytes) -> Numbered:
    packed = head[:2] == b"\x1f\x8b"
    suffix = Path(path.stem if packed else path.name).suffix.lower()
    text = _decode(path, packed)
    start = text[:512].lstrip()
    _refuse_other_type(path, start, suffix)
    if suffix in (".csv", ".tsv"):
        return _csv(text, "\t" if suffix == ".tsv" else ",")
    if start.startswith("["):
        return _json(path, text)
    if start.startswith("{") or suffix in (".jsonl", ".ndjson"):
        _refuse_one_object(path, text)
        return _jsonl(text)
    raise _unknown(path, start)


def _refuse_other_type(path: Path, start: str, suffix: str) -> None:
    if start.startswith("version https://git-lfs"):
        raise BadInput(
            "lfs-pointer",
            f"{path} is a Git LFS pointer",
            file=path,
            expected=_READABLE,
            fix="run git lfs pull",
        )
    page = start[:14].lower().startswith(("<!doctype html", "<html"))
    # Nothing that is read here but a CSV may begin with a tag: comments and XML may stand before a page.
    if page or (start.startswith("<") and suffix not in (".csv", ".tsv")):
        raise BadInput(
            "html-page",
            f"{path} is an HTML page",
            file=path,
            expected=_READABLE,
            found=start[:60],
            fix="download it again",
        )


def _unknown(path: Path, start: str) -> BadInput:
    if not start:
        return BadInput(
            "data-empty",
            f"{path} is empty",
            file=path,
            expected=_READABLE,
            found="no text",
            fix="is the download complete?",
        )
    return BadInput(
        "data-format",
        f"{path} is in no known format",
        file=path,
        expected=_READABLE,
        fix='a plain text file becomes JSONL with one {"text": ...} per line',
    )


def _decode(path: Path, packed: bool) -> str:
    data = path.read_bytes()
    if packed:
        data = _unpacked(path, data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise BadInput(
            "data-encoding",
            f"{path} is not UTF-8",
            file=path,
            expected="UTF-8",
            found=f"byte {data[problem.start]:#x} at {problem.start}",
            fix="convert it",
        ) from problem


def _unpacked(path: Path, data: bytes) -> bytes:
    """A gzip file's content, refused where it unpacks to far more than text does."""
    most = _LARGEST_RATIO * len(data) + 2**20
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            unpacked = stream.read(most + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
        raise BadInput(
            "data-truncated",
            f"{path} is a broken gzip file",
            file=path,
            expected="a whole gzip file",
            found=problem,
            fix="copy or download it again",
        ) from problem
    if len(unpacked) > most:
        raise BadInput(
            "data-bomb",
            f"{path} unpacks to far more than its size allows for",
            file=path,
            expected=f"at most {_LARGEST_RATIO} times its {len(data)} bytes",
            found=f"more than {most} bytes",
            fix="unpack it by hand if it can be trusted",
        )
    return unpacked


def _jsonl(text: str) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _parsed(line)


def _refuse_one_object(path: Path, text: str) -> None:
    """One JSON object over many lines is no list of records, whatever lies inside it."""
    if text.lstrip().partition("\n")[0].rstrip() != "{":
        return
    document = _parsed(text)
    if isinstance(document, dict):
        raise BadInput(
            "data-json",
            f"{path} holds one JSON object",
            file=path,
            expected="a list of records, or one record a line",
            found=f"fields {', '.join(map(str, list(document)[:8]))}",
            fix="save the list of records that lies inside it",
        )


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as problem:
        return NoRowError(f"not JSON: {problem}")


def _json(path: Path, text: str) -> Numbered:
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise BadInput(
            "data-json",
            f"{path} is not valid JSON",
            file=path,
            expected="a JSON list of records",
            found=problem,
            fix="copy or save the file again",
        ) from problem
    return enumerate(records, 1)


def _csv(text: str, delimiter: str) -> Iterator[tuple[int, object]]:
    # One field may be a whole document; the limit is of 128 KiB, and for the whole process.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            yield reader.reader.line_num, NoRowError(f"not CSV: {problem}")
            continue
        if record.pop(None, None) is not None:
            yield reader.line_num, NoRowError("more fields than the header names")
        else:
            yield reader.line_num, record


def _parquet(path: Path) -> Iterator[tuple[int, object]]:
    # Deferred: only Parquet needs polars, which is slow to import.
    from tunescope.tabular import read_parquet

    frame, _ = read_parquet(path, "data-parquet")
    yield from enumerate(frame.iter_rows(named=True), 1)
