"""Write what transformers calls weights as it loads them: `src/tunescope/source/loader_names.json`.

    python scripts/make_loader_names.py

For every class that an auto class names, built without weights, the renamings of the installed version
[huggingface/transformers: conversion_mapping.py, core_model_loading.py]. One list of rules is held once.
"""

import json
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, get_model_conversion_mapping
from transformers.core_model_loading import GroupWeightRename, WeightConverter, WeightRenaming
from transformers.models.auto import modeling_auto

TARGET = Path(__file__).parents[1] / "src/tunescope/source/loader_names.json"
# The first that has a type of model gives the class that stands for the type; bare models stand for towers.
AUTO = (
    "IMAGE_TEXT_TO_TEXT", "CAUSAL_LM", "SEQ_TO_SEQ_CAUSAL_LM", "SPEECH_SEQ_2_SEQ", "MULTIMODAL_LM",
    "MASKED_LM", "IMAGE_CLASSIFICATION", "AUDIO_CLASSIFICATION", "CTC", "SEQUENCE_CLASSIFICATION",
    "TOKEN_CLASSIFICATION", "QUESTION_ANSWERING", "ZERO_SHOT_IMAGE_CLASSIFICATION", "OBJECT_DETECTION",
    "SEMANTIC_SEGMENTATION", "DEPTH_ESTIMATION", "MASK_GENERATION", "TEXT_TO_WAVEFORM",
    "VIDEO_CLASSIFICATION",
)  # fmt: skip
BARE = "MODEL_MAPPING_NAMES"
_FEW = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "depth", "encoder_layers", "decoder_layers")
_SECONDS = 20
# What puts single tensors into one along a side of theirs, and what puts many into a stack.
_JOINS, _STACKS = (
    {"Concatenate"},
    {"MergeModulelist", "ErnieFuseAndSplitTextVisionExperts", "SplitModulelist"},
)
_CUTS = {"Chunk", "Split"}


def rule(transform: Any) -> list[Any] | None:
    """One renaming as [pattern, targets, how]; none of what stacks or unstacks experts.

    `how` is `name` or `group` for renamings, and for what is done after all of them `move` (the values of one
    tensor, perhaps in another order), `cut` (one tensor into several) or `join` (several into one).
    """
    pattern, targets = transform.compiled_sources.pattern, list(transform.target_patterns)
    if isinstance(transform, GroupWeightRename):
        return [pattern, targets, "group"]
    if isinstance(transform, WeightConverter):
        done = {type(operation).__name__ for operation in transform.operations}
        if done & _STACKS or "*" in "".join([pattern.replace(r".*\.", "*"), *targets]):
            return None
        how = "cut" if done & _CUTS else "join" if done & _JOINS else "move"
        return None if how == "cut" and len(targets) < 2 else [pattern, targets, how]
    if isinstance(transform, WeightRenaming) and not hasattr(transform, "offset"):
        return [pattern, targets, "name"]
    return None


def rules_of(model: Any) -> Iterator[tuple[list[Any], list[Any]]]:
    """Where each list of rules holds, as [scope, prefix of the model], and the list."""
    yield from _listed(get_model_conversion_mapping(model, add_legacy=False))


def own_rules(name: str, kind: str) -> Iterator[tuple[list[Any], list[Any]]]:
    """The same of a class that cannot be built: its own and its bare model's, none of towers."""
    of_class = get_checkpoint_conversion_mapping(name)
    yield from _listed(get_checkpoint_conversion_mapping(kind) or [] if of_class is None else of_class)
    inner = f"{name.partition('For')[0]}Model"
    of_inner = [] if inner == name else get_checkpoint_conversion_mapping(inner) or []
    for transform in of_inner:
        transform.scope_prefix = ""
        transform.base_model_prefix = getattr(getattr(transformers, name, None), "base_model_prefix", "")
    yield from _listed(of_inner)


def _listed(transforms: Iterable[Any]) -> Iterator[tuple[list[Any], list[Any]]]:
    scopes: dict[tuple[str | None, str], list[Any]] = {}
    for transform in transforms:
        made = rule(transform)
        if made is not None:
            where = (transform.scope_prefix, transform.base_model_prefix or "")
            scopes.setdefault(where, []).append(made)
    yield from ((list(where), rules) for where, rules in scopes.items())


def built(kind: Any, config: Any) -> Any:
    """A model without weights, of few layers."""
    for part in [config, *(value for value in vars(config).values() if hasattr(value, "model_type"))]:
        for name in _FEW:
            if isinstance(getattr(part, name, None), int):
                setattr(part, name, min(getattr(part, name), 4))
    with torch.device("meta"):
        return kind(config)


def classes() -> Iterator[tuple[str, str, bool]]:
    """Every type of model with the name of a class of it, and whether that is the bare model."""
    for auto in [*(f"MODEL_FOR_{name}_MAPPING_NAMES" for name in AUTO), BARE]:
        for kind, names in getattr(modeling_auto, auto, {}).items():
            for name in [names] if isinstance(names, str) else names:
                yield kind, name, auto == BARE


def rules_of_class(name: str, kind: str) -> list[tuple[list[Any], list[Any]]]:
    """The rules of a class; of one that cannot be built, which is said on stderr, its own alone."""
    try:
        signal.alarm(_SECONDS)
        of = getattr(transformers, name)
        return list(rules_of(built(of, of.config_class())))
    except Exception as error:  # whatever a class raises without weights
        print(f"{name}: {type(error).__name__}: {str(error)[:80]}", file=sys.stderr)
        return list(own_rules(name, kind))
    finally:
        signal.alarm(0)


def table() -> dict[str, Any]:
    """The whole table."""
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
    lists: dict[str, int] = {}
    models: dict[str, list[list[Any]]] = {}
    types: dict[str, str] = {}
    bare: dict[str, str] = {}
    for kind, name, alone in classes():
        if name not in models:
            found = rules_of_class(name, kind)
            models[name] = [[*where, lists.setdefault(json.dumps(of), len(lists))] for where, of in found]
        (bare if alone else types).setdefault(kind, name)
    return {
        "source": f"transformers {transformers.__version__}, conversion_mapping.py, as the loader applies it",
        "rules": [json.loads(text) for text in lists],
        "models": {name: found for name, found in sorted(models.items()) if found},
        "types": {kind: name for kind, name in sorted(types.items()) if models[name]},
        "bare": {kind: name for kind, name in sorted(bare.items()) if models[name]},
    }


def main() -> None:
    """Build every class and write the table."""
    document = table()
    TARGET.write_text(json.dumps(document, indent=None, separators=(",", ":")) + "\n")
    print(f"{len(document['models'])} classes with {len(document['rules'])} lists of rules: {TARGET.name}")


if __name__ == "__main__":
    main()
