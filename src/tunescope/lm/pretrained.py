"""Configs, models and tokenizers by name, never with code of their own."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import PickleError
from typing import Any, NoReturn

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn

from tunescope.errors import BadInput, Exhausted, Missing, UsageError, raised_by
from tunescope.lm.foreign_code import (
    TRUST,
    is_about_code,
    refuse_foreign_code,
    refuse_remote,
    settings_of,
    shown,
)
from tunescope.lm.place import located, place
from tunescope.lm.verification import check_model, keep_unused, refuse_pickles
from tunescope.source.spec import HubId
from tunescope.words import counted

DTYPES = ("auto", "float32", "float64", "bfloat16", "float16")

_LAYERS = re.compile(r"(num|n)_(\w+_)?layers?|(encoder|decoder)_layers")
_MOST_LAYERS = 2000

_WHOLE = "a language model in the format of transformers, and its tokenizer beside it"


# What the libraries raise over odd values in files; that it comes from them is looked at, too.
_UNLOADABLE = (
    ValueError, LookupError, RuntimeError, TypeError, AttributeError, ArithmeticError, AssertionError,
    EOFError, PickleError, SafetensorError, StrictDataclassError,
)  # fmt: skip


def load_model(spec: str | Path, dtype: str = "auto", device: str = "cpu") -> nn.Module:
    """The causal or masked language model in a folder or on the hub (`org/name@revision:folder`).

    `dtype` `auto` is float32 on the CPU and the checkpoint's own dtype elsewhere. Raises `Missing` where
    there is no such model, and `BadInput` where it cannot be loaded, lacks weights or brings its own code.
    """
    # Deferred: slow to import, and not needed by whoever passes a model.
    import transformers

    load_config(spec)
    folder = located(spec, weights=True)
    family = _family(transformers, _config(folder, spec))
    return moved(_whole(family, folder, spec, dtype=_dtype(dtype, device), **_experts(dtype)), device)


def load_causal_model(spec: str | Path, **options: Any) -> Any:
    """The causal language model of a place, with further options of `from_pretrained`; errors as above."""
    # Deferred, as above.
    import transformers

    load_config(spec)
    folder = located(spec, weights=True)
    _config(folder, spec)
    return _whole(transformers.AutoModelForCausalLM, folder, spec, **options)


def load_config(spec: str | Path) -> Any:
    """The config of a model; `BadInput` where it names code of the model's own."""
    return _config(located(spec), spec)


def _config(folder: Path, spec: str | Path) -> Any:
    # Deferred, as above.
    import transformers

    document, _ = _from(spec, lambda: transformers.PreTrainedConfig.get_config_dict(str(folder)))
    refuse_foreign_code(document, spec)
    _refuse_impossible(document, spec)
    with _quietly(transformers):
        return _from(spec, lambda: transformers.AutoConfig.from_pretrained(str(folder), **TRUST))


def _refuse_impossible(document: Mapping[str, Any], spec: str | Path) -> None:
    """Refuse architectures that are no names, and a number of layers that no model has.

    The library would make such layers until the memory is full.
    """
    named = document.get("architectures")
    if named is not None and not (isinstance(named, list) and all(isinstance(name, str) for name in named)):
        raise BadInput(
            "model-unreadable", "the config states architectures that are no list of names", file=spec,
            expected='"architectures": ["LlamaForCausalLM"], or without that key', found=named,
            fix="download or copy the model again",
        )  # fmt: skip
    for key, value in settings_of(document):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if _LAYERS.fullmatch(key) and whole and not 0 <= value <= _MOST_LAYERS:
            raise BadInput(
                "model-unreadable", "the config states a number of layers that no model has", file=spec,
                expected=f"{key} of at most {_MOST_LAYERS}", found=value,
                fix="download or copy the model again",
            )  # fmt: skip


def _whole(family: Any, folder: Path, spec: str | Path, **options: Any) -> Any:
    """The model with all its weights: those that the files lack would be drawn at random."""
    # Deferred, as above.
    import transformers

    check_model(spec)
    try:
        with _quietly(transformers):
            model, found = _from(
                spec,
                lambda: family.from_pretrained(str(folder), output_loading_info=True, **TRUST, **options),
            )
    except BadInput:
        refuse_pickles(folder)
        raise
    if missing := sorted(found["missing_keys"]):
        raise BadInput(
            "weights-missing",
            f"the checkpoint lacks {counted(len(missing), 'weight')} of {type(model).__name__}",
            file=spec,
            expected="every weight of the model",
            found=", ".join(missing[:3]),
            fix="they would be random; name the whole model, or download it again",
        )
    keep_unused(model, found["unexpected_keys"])
    if isinstance(hub := place(spec), HubId):
        # What adapters of it will name as their base.
        model.name_or_path = model.config.name_or_path = hub.repo
    return model


def moved(model: nn.Module, device: str) -> nn.Module:
    """The model on a device; `Exhausted` where the device is not there or too small."""
    try:
        return model.to(device)
    except (RuntimeError, AssertionError, torch.OutOfMemoryError) as error:
        raise Exhausted(
            "no-device",
            f"the model cannot be put on {device}",
            found=str(error).split("\n", 1)[0],
            fix="--device cpu",
        ) from error


def load_tokenizer(spec: str | Path) -> Any:
    """The tokenizer beside a model; `BadInput` where there is none, or one with code of its own."""
    # Deferred, as above.
    import transformers
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    load_config(spec)
    folder = str(located(spec))
    with _quietly(transformers):
        settings = _tokenizer(spec, lambda: get_tokenizer_config(folder))
        if not isinstance(settings, Mapping):
            _refuse_tokenizer(spec, f"tokenizer_config.json holds no settings but {shown(settings)}")
        refuse_foreign_code(settings, spec)
        found = _tokenizer(spec, lambda: transformers.AutoTokenizer.from_pretrained(folder, **TRUST))
        # Settings of wrong types come to light when it is used.
        _tokenizer(spec, lambda: found("a text", return_special_tokens_mask=True))
    if len(found) <= len(found.all_special_tokens):
        # What transformers makes of some models that have no tokenizer files: every text would be unknown.
        _refuse_tokenizer(spec, f"it knows special tokens only, {len(found)} of them")
    return found


def _tokenizer(spec: str | Path, load: Callable[[], Any]) -> Any:
    """What a call of the libraries for tokenizers returns; nothing of ours runs under it."""
    try:
        return load()
    # They have no error of their own for a tokenizer that cannot be made, and `tokenizers` raises a bare one.
    except Exception as error:
        if not raised_by(error, "transformers", "tokenizers"):
            raise
        if is_about_code(error):
            refuse_remote(spec, error)
        # The library lists what it looked for below its first line.
        _refuse_tokenizer(spec, " ".join(str(error).split()) or type(error).__name__, error)


def _refuse_tokenizer(spec: str | Path, found: str, cause: Exception | None = None) -> NoReturn:
    raise BadInput(
        "tokenizer-missing",
        "the tokenizer cannot be loaded",
        file=spec,
        expected="tokenizer.json, or the files of another tokenizer that transformers reads",
        found=found,
        fix="put the tokenizer's files beside the model",
    ) from cause


def _from(spec: str | Path, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except OSError as error:
        if isinstance(error.__context__, ValueError):
            raise BadInput(
                "model-unreadable", "a file of the model cannot be read", file=spec, expected=_WHOLE,
                found=_first_line(error), fix="download or copy the model again",
            ) from error  # fmt: skip
        raise Missing(
            "model-missing",
            "the model cannot be loaded",
            file=spec,
            found=_first_line(error),
            fix="check the name; gated models need `hf auth login`; offline, download it first",
        ) from error
    except ImportError as error:
        raise UsageError(
            "extra-missing", "loading this model needs a package that is not installed", file=spec,
            found=_first_line(error), fix="install that package, or name an unquantised model",
        ) from error  # fmt: skip
    except torch.OutOfMemoryError as error:
        raise Exhausted(
            "out-of-memory", "the model does not fit", file=spec, found=_first_line(error)
        ) from error
    except _UNLOADABLE as error:
        if not raised_by(error, "transformers", "safetensors", "huggingface_hub", "torch"):
            raise
        if is_about_code(error):
            refuse_remote(spec, error)
        raise BadInput(
            "model-unreadable",
            "the model cannot be loaded",
            file=spec,
            expected=_WHOLE,
            found=_first_line(error),
            fix="name such a folder or id; a file of weights alone is no model",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def _family(transformers: Any, config: Any) -> Any:
    """The auto class: masked where the architecture says so, or where the type has no other."""
    named = [str(name) for name in config.architectures or ()]
    masked = transformers.AutoModelForMaskedLM
    if any("MaskedLM" in name or "PreTraining" in name for name in named):
        return masked
    if any("CausalLM" in name or "LMHead" in name for name in named):
        return transformers.AutoModelForCausalLM
    return masked if type(config) in masked._model_mapping else transformers.AutoModelForCausalLM


def _dtype(name: str, device: str) -> torch.dtype | str:
    if name not in DTYPES:
        raise UsageError("bad-dtype", f"there is no dtype {name!r}", expected=", ".join(DTYPES))
    if name == "auto":
        return torch.float32 if torch.device(device).type == "cpu" else "auto"
    chosen: torch.dtype = getattr(torch, name)
    return chosen


def _experts(dtype: str) -> dict[str, str]:
    # Grouped products of mixture-of-experts layers have no float64.
    return {"experts_implementation": "eager"} if dtype == "float64" else {}


@contextmanager
def _quietly(transformers: Any) -> Iterator[None]:
    """Without the library's own bars and reports: what matters in them is raised as an error."""
    logs: Mapping[str, Any] = vars(transformers.utils.logging)
    level, bars = logs["get_verbosity"](), logs["is_progress_bar_enabled"]()
    logs["set_verbosity_error"]()
    logs["disable_progress_bar"]()
    try:
        yield
    finally:
        logs["set_verbosity"](level)
        if bars:
            logs["enable_progress_bar"]()
