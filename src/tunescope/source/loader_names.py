"""The names that transformers gives the weights of a class as it loads them, from its own rules as data.

`loader_names.json` holds the rules [huggingface/transformers: conversion_mapping.py], made by
`scripts/make_loader_names.py`; here they are applied as there [core_model_loading.py]: every
renaming in turn, then at most one that also cuts, joins or reorders values.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

Shapes = Mapping[str, tuple[int, ...]]
# Parts of models that are made of two: an encoder without a head, a decoder with one.
_TOWERS = (("encoder", "bare"), ("decoder", "types"))

# Projections that the loader cuts by the sizes of its layers [core_model_loading.py: Split]: where the config
# counts their heads.
_BY_HEADS = {"att_proj": "text_config"}


class _Rule(NamedTuple):
    """One rule: `scope` is the submodule whose names it sees, none for the whole model with `prefix`."""

    scope: str | None
    prefix: str
    pattern: str
    targets: Sequence[str]
    how: str


class Loading(NamedTuple):
    """What the loader makes of one tensor: its name after all renamings, and the `names` of what it becomes.

    `how` is that of the last rule: `name` where it stays one tensor as it is, `move` where its values may
    change their order, `cut` where it becomes several, `join` where several become one.
    """

    renamed: str
    names: tuple[str, ...]
    how: str


def loadings(names: Iterable[str], config: Mapping[str, Any], *, towers: bool = True) -> dict[str, Loading]:
    """What the loader makes of the tensors of a file; empty where no rule is known for the class.

    Without `towers` what older versions make of them, which renamed no part of a tower.

    >>> loadings(["language_model.lm_head.weight"], {"architectures": ["FuyuForCausalLM"]}).popitem()[1]
    Loading(renamed='lm_head.weight', names=('lm_head.weight',), how='name')
    """
    rules = [rule for rule in _rules(config) if towers or not rule.scope]
    begun: set[int] = set()
    return {name: _loaded(name, rules, begun) for name in sorted(names, key=_natural)} if rules else {}


def loaded_names(
    shapes: Shapes, config: Mapping[str, Any], *, towers: bool = True
) -> dict[str, tuple[int, ...]]:
    """The shapes by the names that the loader gives them, as `loadings` has it.

    >>> kind = {"architectures": ["FuyuForCausalLM"]}
    >>> loaded_names({"language_model.lm_head.weight": (4, 2)}, kind)
    {'lm_head.weight': (4, 2)}
    """
    found: dict[str, tuple[int, ...]] = {}
    for name, loading in loadings(shapes, config, towers=towers).items():
        shape, called = shapes[name], loading.names
        height = shape[0] if shape else 0
        rows = cut_rows(loading, height, config) or (height // len(called),) * len(called)
        for each, count in zip(called, rows, strict=True):
            part = shape if len(called) == 1 else (count, *shape[1:])
            found[each] = _joined(found[each], part) if each in found else part
    return found


def cut_rows(loading: Loading, rows: int, config: Mapping[str, Any]) -> tuple[int, ...] | None:
    """How many of a tensor's rows each of its `names` has; none where the config does not tell.

    >>> heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    >>> fused = Loading("0.self_attn.att_proj.weight", ("q", "k", "v"), "cut")
    >>> cut_rows(fused, 64, {"text_config": heads})
    (32, 16, 16)
    """
    parts = len(loading.names)
    place = next((of for word, of in _BY_HEADS.items() if f".{word}." in loading.renamed), None)
    if place is None:
        return (rows // parts,) * parts if rows % parts == 0 else None
    inner = config.get(place)
    told = inner if isinstance(inner, Mapping) else config
    found = [told.get(key) for key in ("num_attention_heads", "num_key_value_heads", "head_dim")]
    counts = [number for number in found if isinstance(number, int)]
    if parts != 3 or len(counts) != 3:
        return None
    query, key = counts[0] * counts[2], counts[1] * counts[2]
    return (query, key, key) if query + 2 * key == rows else None


def _joined(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of two tensors in one: matrices one above the other, stacks of them matrix by matrix."""
    at = 0 if len(one) < 3 else 1
    same = len(one) == len(other)
    return (*one[:at], one[at] + other[at], *one[at + 1 :]) if same and one else one


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Names in the loader's order, by which the first of a group comes first: numbers as numbers."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in name.split(".")]


def _rules(config: Mapping[str, Any]) -> list[_Rule]:
    table = _table()
    named = config.get("architectures")
    kinds = [kind for kind in named if isinstance(kind, str)] if isinstance(named, list) else []
    kind = next((k for k in kinds if k in table["models"]), table["types"].get(str(config.get("model_type"))))
    return list(_of_class(kind)) or [rule for part in _TOWERS for rule in _of_tower(*part, config)]


def _of_class(kind: str | None) -> Iterator[_Rule]:
    table = _table()
    for scope, prefix, at in table["models"].get(kind, []):
        yield from (_Rule(scope, prefix, *rule) for rule in table["rules"][at])


def _of_tower(name: str, column: str, config: Mapping[str, Any]) -> Iterator[_Rule]:
    """The rules of a tower that the config gives as one of its own, for names within it."""
    inner = config.get(name)
    kind = _table()[column].get(str(inner.get("model_type"))) if isinstance(inner, Mapping) else None
    for rule in _of_class(kind):
        yield rule._replace(scope=f"{name}.{rule.scope}" if rule.scope else name, prefix="")


@cache
def _table() -> Any:
    return json.loads((files("tunescope.source") / "loader_names.json").read_text(encoding="utf-8"))


def _loaded(name: str, rules: Sequence[_Rule], begun: set[int]) -> Loading:
    """One tensor after every renaming and at most one converter; `begun` are groups in use."""
    for where, rule in enumerate(rules):
        if rule.how in ("name", "group"):
            name = _renamed(name, rule, where, begun)[0]
    for where, rule in enumerate(rules):
        if rule.how not in ("name", "group") and (found := _renamed(name, rule, where, begun)) != (name,):
            return Loading(name, found, rule.how)
    return Loading(name, (name,), "name")


def _renamed(name: str, rule: _Rule, where: int, begun: set[int]) -> tuple[str, ...]:
    """A name after one rule, several where the rule cuts the tensor."""
    front = _front(name, rule)
    match = None if front is None else re.search(rule.pattern, name[len(front) :])
    if front is None or match is None:
        return (name,)
    which = next(int(g[1:]) for g, value in match.groupdict().items() if value is not None)
    if rule.how == "group":
        # The first of a group says whether the file has the older names at all.
        if which and where not in begun:
            return (name,)
        begun.add(where)
    at = match.re.groupindex[f"g{which}"]
    rest = name[len(front) :]

    def put(target: str) -> str:
        filled = re.sub(r"\\(\d)", lambda m: match.group(at + int(m[1])) or "", target)
        return front + rest.replace(match.group(0), filled, 1)

    if rule.how == "cut":
        return tuple(put(target) for target in rule.targets)
    return (put(rule.targets[which if rule.how == "group" else 0]),)


def _front(name: str, rule: _Rule) -> str | None:
    """What stands before the part of a name that a rule of a submodule sees; none where it sees none."""
    if rule.scope is None:
        return ""
    inner = f"{rule.scope}." if rule.scope else ""
    whole = (f"{rule.prefix}." if rule.prefix else "") + inner
    return whole if name.startswith(whole) else inner if name.startswith(inner) else None
