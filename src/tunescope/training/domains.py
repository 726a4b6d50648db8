"""The data of a sweep: each domain's training examples and the held-out ones that losses are taken on."""

import json
import logging
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunescope.corpus import Example, Row, Rows, data_hash, read_rows
from tunescope.corpus.encoding import ENDLESS
from tunescope.corpus.rows import record_of
from tunescope.corpus.unread import ignored_in
from tunescope.errors import BadInput, concerning
from tunescope.lm.texts import Limits, cut_by_model, encoded
from tunescope.training.recipe import Recipe
from tunescope.words import counted
from tunescope.writing import write_text

HELD_OUT = "held_out"

logger = logging.getLogger("tunescope")


@dataclass(frozen=True)
class Domain:
    """One domain, encoded: examples to train on, held-out ones, and a `record` of where they came from.

    `held_out_rows` are the rows that no run of the sweep trains on.
    """

    name: str
    train: list[Example]
    held_out: list[Example]
    record: dict[str, Any] = field(default_factory=dict)
    held_out_rows: Sequence[Row] = ()


def read_domains(
    data: Mapping[str, str], tokenizer: Any, recipe: Recipe, limits: Limits | None = None
) -> dict[str, Domain]:
    """Read, split and encode every domain; the split depends on the rows alone, never on a run's seed.

    Rows are cut at `--max-length` or at the model's own length. Raises `BadInput` for tokens that the model
    has no embedding for.
    """
    limits = limits or Limits()
    domains = {}
    for name, source in data.items():
        with concerning(source):
            domains[name] = _domain(name, read_rows(source), tokenizer, recipe, limits)
    for domain in domains.values():
        cut = cut_by_model(domain.train + domain.held_out, recipe.max_length, limits)
        for notice in [*_notices(domain), *(notice.text for notice in cut)]:
            logger.warning("tunescope: %s: %s", domain.name, notice)
    return domains


def write_held_out(root: Path, domains: Iterable[Domain]) -> None:
    """Write `held_out/<domain>.jsonl`: what every other question can be asked on without training data."""
    (root / HELD_OUT).mkdir(parents=True, exist_ok=True)
    for domain in domains:
        lines = [json.dumps(record_of(row), ensure_ascii=False) + "\n" for row in domain.held_out_rows]
        write_text(root / HELD_OUT / f"{domain.name}.jsonl", "".join(lines))


def _notices(domain: Domain) -> Iterator[str]:
    record = domain.record
    if rejected := record["rejected"]:
        named = "; ".join(f"line {bad['line']}: {bad['reason']}" for bad in rejected[:3])
        more = f" and {record['rejected_rows'] - 3} more" if record["rejected_rows"] > 3 else ""
        yield f"{counted(record['rejected_rows'], 'row')} rejected ({named}{more})"
    if record["unread"]:
        yield record["unread"]
    if record["cut_rows"]:
        yield f"{counted(record['cut_rows'], 'row')} left out, for the answer lies behind the last token kept"
    if record["truncated_rows"]:
        yield f"{counted(record['truncated_rows'], 'row')} lost the end, after {record['max_length']} tokens"
    if record["endless_rows"]:
        yield ENDLESS.format(counted(record["endless_rows"], "chat"))
    if record["also_held_out"]:
        yield f"{counted(record['also_held_out'], 'row')} not trained on, equal to held-out ones"


def _domain(name: str, rows: Rows, tokenizer: Any, recipe: Recipe, limits: Limits) -> Domain:
    train_rows, held_rows = split(rows, recipe.held_out, recipe.held_out_rows)
    if not train_rows:
        raise BadInput(
            "data-too-few",
            f"domain {name} has too few different rows to hold one out and train on the rest",
            file=rows.source,
            expected="2 or more",
            found=len(rows),
            fix="give the domain more rows that differ",
        )
    train = encoded(train_rows, tokenizer, recipe.max_length, limits)
    held_out = encoded(held_rows, tokenizer, recipe.max_length, limits)
    record = {
        "source": rows.source,
        "sha256": data_hash(rows),
        "rows": len(rows),
        "rejected": [{"line": bad.line, "reason": bad.reason} for bad in rows.rejected[:100]],
        "rejected_rows": len(rows.rejected),
        "unread": ignored_in(rows),
        "max_length": limits.within(recipe.max_length),
        "train_rows": len(train),
        "held_out_rows": len(held_out),
        "held_out_sha256": data_hash(held_rows),
        "also_held_out": len(rows) - len(train_rows) - len(held_rows),
        "truncated_rows": sum(example.truncated for example in train + held_out),
        "endless_rows": sum(example.endless for example in train + held_out),
        "cut_rows": len(train_rows) + len(held_rows) - len(train) - len(held_out),
        "train_tokens": sum(len(example.input_ids) for example in train),
    }
    return Domain(name, train, held_out, record, held_rows)


def split(rows: Rows, fraction: float, limit: int) -> tuple[list[Row], list[Row]]:
    """Rows to train on and rows held out; a row that equals a held-out one is in neither."""
    order = list(range(len(rows)))
    random.Random(0).shuffle(order)
    count = max(1, min(limit, round(fraction * len(rows))))
    held = sorted(order[:count])
    secret = {data_hash([rows[index]]) for index in held}
    train = [row for index, row in enumerate(rows) if data_hash([row]) not in secret]
    return train, [rows[index] for index in held]
