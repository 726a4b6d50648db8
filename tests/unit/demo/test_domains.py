"""The five domains: as the generator writes them, short, distinct, and not in the pre-training text."""

import re
from collections import Counter

import pytest

from tunescope.demo import domain_paths, model_path

Rows = dict[str, list[dict[str, str]]]
NAMES = ("cpp", "python", "math_solutions", "math_reasoning", "physics")


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_writes_the_shipped_bytes(name: str) -> None:
    from make_domains import text

    assert domain_paths()[name].read_bytes() == text(name).encode()


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_many_distinct_and_complete(rows: Rows, name: str) -> None:
    found = rows[name]
    assert 300 <= len(found) <= 400
    assert len({tuple(row.values()) for row in found}) == len(found)
    assert {tuple(row) for row in found} <= {("prompt", "completion"), ("question", "solution")}
    assert all(value.strip() for row in found for value in row.values())


def test_rows_fit_into_128_tokens(rows: Rows) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model_path() / "tokenizer.json"))
    longest = max(len(tokenizer.encode("".join(r.values())).ids) for found in rows.values() for r in found)
    assert longest <= 126


def test_no_row_is_part_of_the_pretraining_text(rows: Rows) -> None:
    from demo_pretraining.exercises import exercises

    seen = {line for _, text, _ in exercises(20_000) for line in text.splitlines() if len(line) > 24}
    for found in rows.values():
        for row in found:
            lines = [line for value in row.values() for line in value.splitlines() if len(line) > 24]
            assert not lines or not set(lines) <= seen


def test_a_word_model_tells_the_domains_apart(rows: Rows) -> None:
    def words(row: dict[str, str]) -> list[str]:
        return re.findall(r"[A-Za-z_]+|[^\sA-Za-z_\d]", " ".join(row.values()))

    known = {name: Counter(w for row in found[:200] for w in words(row)) for name, found in rows.items()}

    def guess(row: dict[str, str]) -> str:
        return max(known, key=lambda name: sum(known[name][w] > 0 for w in words(row)))

    checked = [(name, guess(row)) for name, found in rows.items() for row in found[200:]]
    assert sum(a == b for a, b in checked) >= 0.97 * len(checked)
