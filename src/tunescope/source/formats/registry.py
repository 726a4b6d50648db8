"""The adapter formats, in the order in which they are tried."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from tunescope.errors import BadInput
from tunescope.source.files.documents import read_object
from tunescope.source.files.tensors import Ledger
from tunescope.source.formats.peft import load_peft_config, read_peft
from tunescope.source.formats.torchtune import TORCHTUNE
from tunescope.source.locate import CONFIG
from tunescope.source.weights import Format, Reading, Weights

_PEFT_MARKS = (".lora_A.", ".lora_B.", "base_model.model.", "lora_embedding_A", "base_model.vera_")


def _config_beside(weights: Weights) -> Mapping[str, Any]:
    """The config beside the weights, whatever format they are of: one that is broken decides nothing."""
    if weights.config_file is None:
        return {}
    return read_object(weights.config_file, "adapter-config", "the adapter's config")


def _read_peft(weights: Weights, ledger: Ledger, scale: float | None) -> Reading:
    config = weights.config
    if config is None and weights.config_file is None and scale is not None:
        # Deferred: names of another format, which few files have.
        from tunescope.source.formats.diffusers import DIFFUSERS

        return DIFFUSERS.read(weights, ledger, scale)
    if config is None and weights.config_file is None and not weights.files:
        raise BadInput(
            "no-config",
            "the state dict has PEFT's names but comes without its config",
            file=weights.place,
            expected="a config with peft_type, r and lora_alpha",
            found="none",
            fix="pass config=, the content of adapter_config.json",
        )
    if config is None:
        beside = weights.files[0].path.parent / CONFIG
        config = load_peft_config(weights.config_file or beside)
    deltas = read_peft(
        weights.tensors,
        config,
        ledger,
        scale=scale,
        file=weights.place,
        shapes=weights.shapes,
        base=weights.base,
    )
    return Reading(deltas, config)


def _recognises_config(weights: Weights) -> bool:
    config = weights.config if weights.config is not None else _config_beside(weights)
    return "peft_type" in config


def _recognises_marks(weights: Weights) -> bool:
    return any(mark in name for name in weights.tensors for mark in _PEFT_MARKS)


# Tried between PEFT's config and PEFT's names: the module beside this one and the name in it.
_OTHERS = (
    ("control_lora", "CONTROL_LORA"),
    ("first_sd", "FIRST_SD"),
    ("kohya", "KOHYA"),
    ("diffusers", "DIFFUSERS"),
    ("gguf", "GGUF"),
    ("mlx", "MLX"),
    ("lora_layers", "LORA_LAYERS"),
)


def formats() -> Iterator[Format]:
    """All formats in the order in which they are tried, each loaded only when its turn comes.

    PEFT's parameter names occur in other formats too, so its config decides early and its names late;
    torchtune writes PEFT's config beside files of its own names.
    """
    yield TORCHTUNE
    yield Format("peft", _recognises_config, _read_peft)
    yield from (_loaded(*home) for home in _OTHERS)
    yield Format("peft", _recognises_marks, _read_peft)
    yield _loaded("own_naming", "OWN_NAMING")


def _loaded(module: str, name: str) -> Format:
    found: Format = getattr(importlib.import_module(f"tunescope.source.formats.{module}"), name)
    return found
