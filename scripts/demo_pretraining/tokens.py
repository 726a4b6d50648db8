"""Documents as token numbers: one stream to train on, one list of whole documents to be judged by."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo_pretraining.corpus import Document
from demo_pretraining.vocabulary import END

Ids = NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Tokens:
    """Each document opens with the end token; ``held_ends`` close the held-out documents in ``held_out``."""

    stream: Ids
    starts: NDArray[np.int64]
    held_out: Ids
    held_ends: NDArray[np.int64]
    held_sources: tuple[str, ...]
    record: dict[str, Any]

    def documents(self) -> list[Ids]:
        return np.split(self.held_out, self.held_ends[:-1])


def encode(training: Sequence[Document], held_out: Sequence[Document], dropped: int, folder: Path) -> Tokens:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    shuffled = Random(0).sample(list(training), len(training))
    stream, ends = _encoded(tokenizer, shuffled)
    held, held_ends = _encoded(tokenizer, held_out, closed=True)
    record = {
        "sha256": data_hash(training),
        "held_out_sha256": data_hash(held_out),
        "training": _counts(shuffled, ends),
        "held_out": _counts(held_out, held_ends),
        "held_out_documents_dropped_as_near_duplicates": dropped,
    }
    starts = np.concatenate([[0], ends[:-1]])
    return Tokens(stream, starts, held, held_ends, tuple(d.source for d in held_out), record)


def _encoded(
    tokenizer: Any, documents: Sequence[Document], closed: bool = False
) -> tuple[Ids, NDArray[np.int64]]:
    end = tokenizer.token_to_id(END)
    parts = []
    for start in range(0, len(documents), 512):
        batch = tokenizer.encode_batch([d.text for d in documents[start : start + 512]])
        parts += [np.array([end, *item.ids, *([end] if closed else [])], dtype=np.uint16) for item in batch]
    return np.concatenate(parts), np.cumsum([len(part) for part in parts])


def data_hash(documents: Sequence[Document]) -> str:
    digest = hashlib.sha256()
    for document in sorted(documents, key=lambda d: (d.source, d.name)):
        digest.update(hashlib.sha256(document.text.encode()).digest())
    return digest.hexdigest()


def _counts(documents: Sequence[Document], ends: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    files, characters, tokens = Counter[str](), Counter[str](), Counter[str]()
    for document, length in zip(documents, np.diff(ends, prepend=0), strict=True):
        files[document.source] += 1
        characters[document.source] += len(document.text)
        tokens[document.source] += int(length)
    return {
        s: {"documents": files[s], "characters": characters[s], "tokens": tokens[s]} for s in sorted(files)
    }


def save(tokens: Tokens, path: Path) -> None:
    record = json.dumps({"record": tokens.record, "held_sources": tokens.held_sources})
    np.savez_compressed(
        path,
        stream=tokens.stream,
        starts=tokens.starts,
        held_out=tokens.held_out,
        held_ends=tokens.held_ends,
        record=np.array(record),
    )


def load(path: Path) -> Tokens:
    with np.load(path) as file:
        said = json.loads(str(file["record"]))
        return Tokens(
            file["stream"],
            file["starts"],
            file["held_out"],
            file["held_ends"],
            tuple(said["held_sources"]),
            said["record"],
        )
