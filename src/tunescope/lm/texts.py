"""Rows of text as the batches that a model scores: cut to its length, within its vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tunescope.corpus.encoding import ENDLESS, IGNORED, Example, encode
from tunescope.corpus.reading import read_rows
from tunescope.corpus.rows import Row, Rows
from tunescope.corpus.unread import ignored_in
from tunescope.errors import BadInput, Notice
from tunescope.lm.batches import padded
from tunescope.lm.loss import predicts_next_token
from tunescope.words import counted

# Share of the tokens that a masked language model is asked for [Devlin et al. 2018, arXiv 1810.04805].
MASKED_SHARE = 0.15


@dataclass(frozen=True)
class Limits:
    """The number of token ids and the longest sequence that a model takes; None where it does not say."""

    vocabulary: int | None = None
    length: int | None = None

    def within(self, max_length: int) -> int:
        """How many tokens of a row are kept where `max_length` are asked for."""
        return min(max_length, self.length or max_length)


def limits_of(config: Any) -> Limits:
    """What a config says that its model takes."""
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    sizes = (getattr(config, size, None) for size in ("vocab_size", "max_position_embeddings"))
    return Limits(*(size if isinstance(size, int) and size > 0 else None for size in sizes))


def encoded(rows: Sequence[Row], tokenizer: Any, max_length: int, limits: Limits) -> list[Example]:
    """Rows as examples that the model takes: cut at its length, every token known to it.

    Raises as `encode`, and `BadInput` for tokens that the model has no embedding for.
    """
    examples = encode(rows, tokenizer, limits.within(max_length))
    largest = max(max(example.input_ids) for example in examples)
    if limits.vocabulary is not None and largest >= limits.vocabulary:
        raise BadInput(
            "token-range",
            "the tokenizer gives tokens that the model has no embedding for",
            expected=f"0 to {limits.vocabulary - 1}",
            found=largest,
            fix="use the tokenizer that belongs to the model",
        )
    return examples


def read_batches(
    data: str | Path,
    tokenizer: Any,
    model: Any = None,
    *,
    sequences: int = 128,
    max_length: int = 512,
    batch_size: int = 8,
    seed: int = 0,
) -> tuple[list[dict[str, torch.Tensor]], list[Notice]]:
    """The first `sequences` rows of a data file as batches, and what was noticed on the way.

    They are cut and checked as the `model` takes them; for a masked language model 15 % of every sequence's
    tokens are hidden, at places that `seed` fixes.
    Raises as `read_rows` and `encoded`.
    """
    limits = limits_of(getattr(model, "config", None))
    rows = read_rows(str(data))
    examples = encoded(rows.rows[:sequences], tokenizer, max_length, limits)
    notices = _noticed(rows, min(sequences, len(rows)), examples)
    notices += cut_by_model(examples, max_length, limits)
    if model is not None and not predicts_next_token(model):
        examples = [hidden(example, tokenizer, seed) for example in examples]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    return padded(examples, batch_size, pad), notices


def cut_by_model(examples: Sequence[Example], max_length: int, limits: Limits) -> list[Notice]:
    """The notice that rows were cut because the model takes no more, where that is so."""
    limit = limits.within(max_length)
    if limit == max_length or not any(example.truncated for example in examples):
        return []
    text = f"the model takes {limit} tokens, so sequences were cut there and not at {max_length}"
    return [Notice("model-length", text)]


def _noticed(read: Rows, rows: int, examples: list[Example]) -> list[Notice]:
    data, cut, lost = read.source, sum(e.truncated for e in examples), rows - len(examples)
    found = []
    if read.rejected:
        bad = read.rejected[0]
        text = f"{counted(len(read.rejected), 'record')} of {data} left out: no example can be made of it"
        found.append(Notice("data-rejected", f"{text} (line {bad.line}: {bad.reason})"))
    if (unread := ignored_in(read.rows[:rows])) is not None:
        found.append(Notice("data-keys-unread", f"{data}: {unread}"))
    if endless := sum(example.endless for example in examples):
        text = ENDLESS.format(f"{counted(endless, 'chat')} of {data}")
        found.append(Notice("turns-without-end", text))
    if lost:
        text = (
            f"{lost} of {counted(rows, 'sequence')} of {data} {'has' if lost == 1 else 'have'} "
            f"nothing to score within the length and {'was' if lost == 1 else 'were'} left out"
        )
        found.append(Notice("data-left-out", text))
    if cut:
        found.append(
            Notice(
                "data-cut",
                f"{cut} of {counted(rows, 'sequence')} of {data} "
                f"{'was' if cut == 1 else 'were'} cut at the end",
            )
        )
    return found


def hidden(example: Example, tokenizer: Any, seed: int = 0) -> Example:
    """The example with 15 % of its tokens behind the mask token, and labels only there.

    Special tokens stay; which tokens are hidden depends on `seed` and on the example's row alone.
    """
    if tokenizer.mask_token_id is None:
        raise BadInput(
            "no-mask-token", "the model's tokenizer has no mask token", expected="a mask token",
            found=type(tokenizer).__name__, fix="use a causal model, or its own tokenizer",
        )  # fmt: skip
    special = set(tokenizer.all_special_ids)
    places = [i for i, token in enumerate(example.input_ids) if token not in special]
    generator = torch.Generator().manual_seed(seed * 1_000_003 + example.row)
    count = min(len(places), max(1, round(MASKED_SHARE * len(places))))
    chosen = {places[i] for i in torch.randperm(len(places), generator=generator)[:count].tolist()}
    pairs = list(enumerate(example.input_ids))
    ids = [tokenizer.mask_token_id if i in chosen else token for i, token in pairs]
    return Example(ids, [t if i in chosen else IGNORED for i, t in pairs], example.row, example.truncated)
