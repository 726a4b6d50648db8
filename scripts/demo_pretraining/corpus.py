"""Text for the small model: this interpreter's library, the system's headers, generated exercises."""

import hashlib
import re
import sysconfig
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from demo_pretraining.exercises import exercises, is_held_out

LARGEST_DOCUMENT = 150_000
LARGEST_HEADER_FOLDER = 5_000_000
LONG_LINE = 24
LEAKED_SHARE = 0.15
SKIPPED_MODULES = (
    "encodings",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "idlelib/Icons",
)
SKIPPED_HEADERS = ("node", "unicode")
MOSTLY_NUMBERS = 0.18


@dataclass(frozen=True)
class Document:
    source: str
    name: str
    text: str
    held_out: bool


def standard_library() -> Iterator[Document]:
    """Every readable module; held out by the name of the file, so the choice holds for any Python version."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not any(part in name for part in SKIPPED_MODULES):
            yield from _read(path, "library", name)


def headers(root: Path = Path("/usr/include")) -> Iterator[Document]:
    """C and C++ headers, at most five megabytes from one folder directly under the root."""
    taken: dict[str, int] = defaultdict(int)
    paths = [p for p in root.rglob("*") if p.suffix in (".h", ".hpp", ".tcc", "") and p.is_file()]
    for path in Random(0).sample(sorted(paths), len(paths)):
        name = path.relative_to(root).as_posix()
        folder = name.split("/")[0]
        if folder not in SKIPPED_HEADERS and taken[folder] < LARGEST_HEADER_FOLDER:
            for document in _read(path, "headers", name):
                taken[folder] += len(document.text)
                yield document


def _read(path: Path, source: str, name: str) -> Iterator[Document]:
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):
        return
    digits = sum(map(text.count, "0123456789"))
    if 200 <= len(text) <= LARGEST_DOCUMENT and digits < MOSTLY_NUMBERS * len(text):
        yield Document(source, name, text, is_held_out(name))


def generated(count: int) -> Iterator[Document]:
    for index, (area, text, held_out) in enumerate(exercises(count)):
        yield Document(area, f"{area}/{index}", text, held_out)


def long_lines(text: str) -> list[bytes]:
    """Digests of the lines that are long enough for a repetition to mean copied text."""
    lines = (re.sub(r"\s+", " ", line).strip() for line in text.splitlines())
    return [
        hashlib.md5(line.encode(), usedforsecurity=False).digest() for line in lines if len(line) >= LONG_LINE
    ]


def without_leaks(documents: list[Document]) -> tuple[list[Document], list[Document], int]:
    """Training documents, held-out documents, and how many held-out ones were dropped as partly trained on.

    A held-out file is dropped when over 15 % of its long lines occur in the training files: such a file is
    a near-duplicate. Generated exercises are split by their numbers and need no such test.
    """
    distinct = list({document.text: document for document in documents}.values())
    training = [d for d in distinct if not d.held_out]
    known = {digest for d in training if d.source in ("library", "headers") for digest in long_lines(d.text)}
    kept, dropped = [], 0
    for document in (d for d in distinct if d.held_out):
        lines = long_lines(document.text) if document.source in ("library", "headers") else []
        if sum(line in known for line in lines) > LEAKED_SHARE * len(lines):
            dropped += 1
        else:
            kept.append(document)
    return training, kept, dropped


def gather(count: int) -> tuple[list[Document], list[Document], int]:
    return without_leaks([*standard_library(), *headers(), *generated(count)])
