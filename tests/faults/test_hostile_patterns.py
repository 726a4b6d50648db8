"""Patterns that would be matched for ever, in every key of a config that holds patterns."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunescope
from tunescope.errors import BadInput
from tunescope.source.tuners.patterns import bound_patterns

from .fuzz.language import LANGUAGE
from .fuzz.trial import _alarm

# The names of a model's modules are long enough for these: each has more ways to fail than can be tried.
_ENDLESS = [r"(\w+\.?)+!", "(?:.|.)" * 28 + "!"]
_KEYS: dict[str, Callable[[str], dict[str, Any]]] = {
    "target_modules": lambda p: {"target_modules": rf".*\.q_proj|{p}"},
    "exclude_modules": lambda p: {"exclude_modules": p},
    "rank_pattern": lambda p: {"rank_pattern": {p: 4, "q_proj": 2}},
    "alpha_pattern": lambda p: {"alpha_pattern": {p: 4}},
    "layers_pattern": lambda p: {"layers_pattern": [p, "layers"], "layers_to_transform": [0]},
    "modules_to_save": lambda p: {"modules_to_save": [p]},
}


def _questions(adapter: Path, base: Path) -> dict[str, Callable[[], object]]:
    from tunescope.lm.pretrained import load_model
    from tunescope.questions.attribution.subject import open_subject

    return {
        "norms": lambda: tunescope.norms(adapter, base=base),
        "subspace": lambda: tunescope.subspace(f"a={adapter}", f"b={adapter}", base=base),
        "check": lambda: tunescope.check(adapter, base=base, deep=True),
        "verify": lambda: tunescope.verify(base, adapter, base=base),
        "attribute": lambda: open_subject(str(adapter), base=load_model(base)),
    }


def _answer(ask: Callable[[], object]) -> str | None:
    """The slug of a refusal."""
    try:
        ask()
    except BadInput as error:
        return error.slug
    return None


@pytest.mark.parametrize("key", _KEYS)
@pytest.mark.parametrize("method", ["lora_on_model", "oft_on_model"])
def test_a_pattern_without_end_is_matched_or_refused_by_every_question(
    tmp_path: Path, method: str, key: str
) -> None:
    pytest.importorskip("peft")
    path = LANGUAGE[method].make(tmp_path)
    sound = json.loads(path.read_text())
    for pattern in _ENDLESS:
        path.write_text(json.dumps(sound | _KEYS[key](pattern)))
        for ask in _questions(path.parent, tmp_path / "model").values():
            with _alarm():
                slug = _answer(ask)
                # Methods that know no patterns of ranks say so of the key.
                assert slug in (None, "unbounded-pattern", "other-base", "unknown-config-key"), slug


def test_names_in_the_place_of_a_pattern_mean_to_peft_what_the_pattern_meant() -> None:
    peft = pytest.importorskip("peft")
    from peft.tuners.tuners_utils import check_target_module_exists
    from peft.utils.other import get_pattern_key

    names = [
        f"model.layers.{i}.{block}.{m}_proj" for i in range(3) for block in ("mlp", "attn") for m in "qvo"
    ]
    loose = r"(?:.*?(?:attn|mlp).*?(?:q|v)_proj.*?)|(?:(?:x+)+)"
    ranks = {r"(?:layers|h)\.1\.(?:(?:\w+)\.)+q_proj": 4, "v_proj": 8}

    def config() -> Any:
        excluded = r"(?:.*\.)+mlp\.v_proj"
        return peft.LoraConfig(target_modules=loose, exclude_modules=excluded, rank_pattern=dict(ranks))

    plain, bounded = config(), config()
    assert bound_patterns(bounded, names)
    assert not bound_patterns(peft.LoraConfig(target_modules="q_proj"), names)
    for name in names:
        assert bool(check_target_module_exists(bounded, name)) == bool(
            check_target_module_exists(plain, name)
        ), name
        rank = [c.rank_pattern.get(get_pattern_key(c.rank_pattern.keys(), name), 2) for c in (plain, bounded)]
        assert rank[0] == rank[1], name
