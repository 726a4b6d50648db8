"""Write what transformers calls weights as it loads them: `src/tunescope/questions/check/loader_names.json`.

    python scripts/make_loader_names.py

For every class that an auto class names, built without weights, the renamings of the installed version
[huggingface/transformers: conversion_mapping.py, core_model_loading.py]. One list of rules is held once.
"""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import GroupWeightRename, WeightConverter, WeightRenaming
from transformers.models.auto import modeling_auto

TARGET = Path(__file__).parents[1] / "src/tunescope/questions/check/loader_names.json"
AUTO = (
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING", "MODEL_FOR_MULTIMODAL_LM_MAPPING",
)  # fmt: skip
_FEW = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "depth", "encoder_layers", "decoder_layers")
_SECONDS = 6


def rule(transform: Any) -> list[Any] | None:
    """One renaming as [pattern, targets, how]; none of what joins several tensors."""
    pattern, targets = transform.compiled_sources.pattern, list(transform.target_patterns)
    if isinstance(transform, GroupWeightRename):
        return [pattern, targets, "group"]
    if isinstance(transform, WeightConverter):
        cuts = [type(operation).__name__ for operation in transform.operations]
        return [pattern, targets, "cut"] if len(targets) > 1 and {"Chunk", "Split"} & set(cuts) else None
    if isinstance(transform, WeightRenaming) and not hasattr(transform, "offset"):
        return [pattern, targets, "name"]
    return None


def rules_of(model: Any) -> Iterator[tuple[list[Any], list[Any]]]:
    """Where each list of rules holds, as [scope, prefix of the model], and the list."""
    scopes: dict[tuple[str | None, str], list[Any]] = {}
    for transform in get_model_conversion_mapping(model, add_legacy=False):
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


def main() -> None:
    """Build every class and write the table; classes that cannot be built are listed on stderr."""
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
    lists: dict[str, int] = {}
    models: dict[str, list[list[Any]]] = {}
    types: dict[str, str] = {}
    for auto in AUTO:
        for config, kinds in getattr(modeling_auto, auto, {}).items():
            kind = kinds[0] if isinstance(kinds, tuple) else kinds
            if kind.__name__ in models:
                continue
            try:
                signal.alarm(_SECONDS)
                found = [
                    [*where, lists.setdefault(json.dumps(rules), len(lists))]
                    for where, rules in rules_of(built(kind, config()))
                ]
            except Exception as error:  # whatever a class raises without weights
                print(f"{kind.__name__}: {type(error).__name__}: {str(error)[:80]}", file=sys.stderr)
                continue
            finally:
                signal.alarm(0)
            models[kind.__name__] = found
            types.setdefault(config.model_type, kind.__name__)
    document = {
        "source": f"transformers {transformers.__version__}, conversion_mapping.py, as the loader applies it",
        "rules": [json.loads(text) for text in lists],
        "models": {name: found for name, found in sorted(models.items()) if found},
        "types": {kind: name for kind, name in sorted(types.items()) if models[name]},
    }
    TARGET.write_text(json.dumps(document, indent=None, separators=(",", ":")) + "\n")
    print(f"{len(document['models'])} of {len(models)} classes, {len(lists)} lists of rules: {TARGET.name}")


if __name__ == "__main__":
    main()
