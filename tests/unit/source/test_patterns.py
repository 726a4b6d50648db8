"""Patterns of a config: matched as PEFT matches them, in bounded time, or refused."""

import re

import pytest

from tunescope.errors import BadInput
from tunescope.source.tuners.patterns import fits

NAMES = [
    "model.layers.0.self_attn.q_proj",
    "q_proj",
    "eq_proj",
    "model.layers.12.mlp.up_proj",
    "h.1.attn.c_attn",
]
PATTERNS = [
    "q_proj", r".*\.self_attn\.(q_proj|k_proj)", r"layers\.\d+\.mlp\.up_proj", r"^model\.layers\.0\..*",
    "[qk]_proj", r"(\w+\.)*(\w+)_proj", r"(?:layers\.(0|1)\.)+.*\..*\..*", r"(?!.*mlp).*_proj", r"x|q_proj",
    r"h\.1\..*", r"^(model|visual)(?!.*(lm_head|output|emb|wte|shared)).*",
    "|".join(f"x{i}" for i in range(999)),
    r"(?:model\.)?(?:h|layers)\.(?:0|1|12)\.(?:self_attn|mlp|attn)\.(?:q|k|v|o|gate|up|down)_proj",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_means_what_it_means_to_peft(pattern: str) -> None:
    for name in NAMES:
        assert fits(pattern, name) == (re.match(rf"(.*\.)?({pattern})$", name) is not None), name


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("(a+)+b", "a" * 40),
        ("(a|aa)+$b", "a" * 60),
        ("(.*)*x", "a" * 500),
        (".*.*.*.*.*.*b", "a" * 10_000),
        ("(a|a)" * 60 + "b", "a" * 99),
        ("a?" * 60 + "a" * 60 + "b", "a" * 60),
        ("(a?|a)" * 60 + "b", "a" * 99),
    ],
)
def test_a_pattern_that_backtracks_for_ever_is_matched_without_it(pattern: str, name: str) -> None:
    assert not fits(pattern, f"layers.0.{name}.q_proj")


@pytest.mark.parametrize(
    "pattern", [r"((a+)+)\2b", r"(?=(a+)+b)a*", r"(?<=x)(a|aa)+b", r"(?!x)" + "(a|a)" * 60]
)
def test_what_only_a_backtracking_matcher_knows_is_refused_where_it_could_take_for_ever(pattern: str) -> None:
    with pytest.raises(BadInput) as caught:
        fits(pattern, "a" * 60)
    assert caught.value.slug == "unbounded-pattern"
