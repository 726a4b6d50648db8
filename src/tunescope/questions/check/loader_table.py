"""The names that transformers gives the weights of a class as it loads them, from its own rules as data.

`loader_names.json` holds the rules [huggingface/transformers: conversion_mapping.py], made by
`scripts/make_loader_names.py`; here they are applied as there [core_model_loading.py].
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]


def loaded_names(shapes: Shapes, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes by the names that the loader gives them; empty where no rule is known for the class.

    >>> kind = {"architectures": ["FuyuForCausalLM"]}
    >>> loaded_names({"language_model.lm_head.weight": (4, 2)}, kind)
    {'lm_head.weight': (4, 2)}
    """
    rules = _rules(config)
    found: dict[str, tuple[int, ...]] = {}
    begun: set[int] = set()
    for name, shape in sorted(shapes.items()) if rules else ():
        cut = None
        for where, (scope, prefix, rule) in enumerate(rules):
            name, targets = _renamed(name, scope, prefix, rule, where, begun)
            cut = cut or targets
        for each in cut or [name]:
            found[each] = (shape[0] // len(cut), *shape[1:]) if cut else shape
    return found


def _rules(config: Mapping[str, Any]) -> list[tuple[str | None, str, Any]]:
    table = _table()
    named = config.get("architectures")
    kinds = [kind for kind in named if isinstance(kind, str)] if isinstance(named, list) else []
    kind = next((k for k in kinds if k in table["models"]), table["types"].get(str(config.get("model_type"))))
    held = table["models"].get(kind, [])
    return [(scope, prefix, rule) for scope, prefix, at in held for rule in table["rules"][at]]


@cache
def _table() -> Any:
    return json.loads((files("tunescope.questions.check") / "loader_names.json").read_text(encoding="utf-8"))


def _renamed(
    name: str, scope: str | None, prefix: str, rule: Sequence[Any], where: int, begun: set[int]
) -> tuple[str, list[str] | None]:
    """A name after one rule, and all of its names where the rule cuts the tensor."""
    pattern, targets, how = rule
    front = _front(name, scope, prefix)
    match = None if front is None else re.search(pattern, name[len(front) :])
    if front is None or match is None:
        return name, None
    which = next(int(g[1:]) for g, value in match.groupdict().items() if value is not None)
    if how == "group":
        # The first of a group says whether the file has the older names at all.
        if which and where not in begun:
            return name, None
        begun.add(where)
    at = match.re.groupindex[f"g{which}"]
    rest = name[len(front) :]

    def put(target: str) -> str:
        filled = re.sub(r"\\(\d)", lambda m: match.group(at + int(m[1])) or "", target)
        return front + rest.replace(match.group(0), filled, 1)

    if how == "cut":
        every = [put(target) for target in targets]
        return every[0], every
    return put(targets[which if how == "group" else 0]), None


def _front(name: str, scope: str | None, prefix: str) -> str | None:
    """What stands before the part of a name that a rule of a submodule sees; none where it sees none."""
    if scope is None:
        return ""
    inner = f"{scope}." if scope else ""
    whole = (f"{prefix}." if prefix else "") + inner
    return whole if name.startswith(whole) else inner if name.startswith(inner) else None
