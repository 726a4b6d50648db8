"""Commands that ask the next question: as they are run, or with a word for what only the reader knows."""

import os
import shlex
from collections.abc import Iterable, Sequence
from glob import escape
from pathlib import Path

from tunescope.paths import local_path
from tunescope.source.spec import parse_hub_id

# Words of a command that stand for something, and for what.
_STANDS_FOR = {
    "ADAPTER": "an adapter of this model",
    "BASE": "the model that was tuned",
    "TEXTS": "texts to measure on (JSONL, JSON, Parquet or CSV)",
}
# Files by which transformers finds a tokenizer.
_TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model",
    "sentencepiece.bpe.model", "tekken.json",
)  # fmt: skip


def next_line(command: str) -> str:
    """The line that names a command; where words of it stand for something, it says for what.

    >>> next_line("tunescope norms a/ -o norms/")
    'Next: tunescope norms a/ -o norms/'
    >>> next_line("tunescope norms a/ --base BASE")
    'Next, with BASE for the model that was tuned: tunescope norms a/ --base BASE'
    """
    stand = [f"{word} for {means}" for word, means in _STANDS_FOR.items() if word in shlex.split(command)]
    return f"Next{', with ' if stand else ''}{' and '.join(stand)}: {command}"


def several(places: Sequence[str], most: int) -> str:
    """Adapters as words of a command: all of a few, else a pattern that a shell expands to all of them.

    Where no pattern is exactly them, the first.
    """
    if len(places) <= most:
        return shlex.join(places)
    paths = [Path(place) for place in places]
    same = Path(os.path.commonpath(paths)) if len({path.is_absolute() for path in paths}) == 1 else Path()
    below = [path.relative_to(same).parts for path in paths]
    if same.is_dir() and len({len(parts) for parts in below}) == 1:
        stars = [of[0] if len(set(of)) == 1 else "*" for of in zip(*below, strict=True)]
        found = same.glob("/".join(part if part == "*" else escape(part) for part in stars))
        if sorted(found) == sorted(paths):
            front = [shlex.quote(str(same))] if same != Path() else []
            return "/".join([*front, *(part if part == "*" else shlex.quote(part) for part in stars)])
    return shlex.join(places[:most])


def attributing(adapter: str, base: str | None, stacks: Iterable[str]) -> str | None:
    """The command that attributes the gain of an adapter; `None` where its base is known to score no texts.

    `base` is what was given or what the adapter's config names, `stacks` those of the adapter's weights.
    """
    if base is not None and os.path.lexists(local_path(base)):
        if not _scores_texts(local_path(base)):
            return None
    elif "model" not in stacks:
        return None
    elif base is None or parse_hub_id(base) is None:
        base = "BASE"
    return f"tunescope attribute {shlex.quote(adapter)} --base {shlex.quote(base)} --data TEXTS -o effect/"


def _scores_texts(folder: Path) -> bool:
    """Whether a folder holds a model with a tokenizer beside it."""
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in _TOKENIZERS)
