"""`adapter_config.json`: read, and refused where a wrong value would change what the weights mean."""

import re
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tunescope.errors import BadInput
from tunescope.reader import current
from tunescope.source.files.documents import read_object
from tunescope.source.files.tensors import Ledger
from tunescope.source.formats.peft_fields import METHODS, fields


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FLAGS = _words(
    """
    use_dora use_rslora use_qalora fan_in_fan_out lora_bias decompose_both use_effective_conv2d
    save_projection use_idwt proportional_parameters save_only_topk_weights save_indices sparse very_sparse
    """
)
_COUNTS = _words("qalora_group_size r init_r target_r n_frequency theta_d_length vector_length topk hybrid_r")
_NUMBERS = _words(
    "lora_alpha alpha randlora_alpha scaling delora_lambda shadow_alpha psoft_alpha weight_tying"
)
_SEEDS = _words("random_loc_seed projection_seed projection_prng_key random_seed proj_seed")
# A regular expression, or a list of names.
_NAMED = _words("target_modules exclude_modules layers_pattern")
_COUNT_PATTERNS = _words("rank_pattern n_frequency_pattern block_size_pattern")
_PATTERNS = _COUNT_PATTERNS | _words("alpha_pattern lambda_pattern")
_LISTS = _words("target_parameters modules_to_save")
_LARGEST_COUNT = 2**31
_MAY_BE_NULL = frozenset({("SUPERTUNING", "r"), ("SUPERTUNING", "lora_alpha"), ("DEFT", "alpha")})

# Keys that PEFT up to 0.2 wrote and later versions do not know.
_FORMER = {"LORA": _words("enable_lora merge_weights")}
# What a config states, with PEFT's defaults: the scale follows from it, or where the values lie.
_STATED: dict[str, dict[str, float]] = {
    "LORA": {"r": 8, "lora_alpha": 8},
    "LOHA": {"r": 8, "alpha": 8},
    "LOKR": {"r": 8, "alpha": 8},
    "ADALORA": {"lora_alpha": 8, "init_r": 12},
    "DELORA": {"r": 8},
    "FOURIERFT": {"scaling": 150, "random_loc_seed": 777},
    "GRALORA": {"r": 32, "alpha": 64},
    "RANDLORA": {"r": 32, "randlora_alpha": 640},
    "VBLORA": {"topk": 2},
    "WAVEFT": {"scaling": 25, "random_loc_seed": 777},
}

# OFT states either its rank or its block size, GraLoRA may be all hybrid.
_RANK_MAY_BE_ZERO = frozenset({"OFT", "GRALORA"})


def load_peft_config(path: str | Path) -> dict[str, Any]:
    """The configuration in an `adapter_config.json`, checked by `check_peft_config`.

    A byte-order mark is accepted. Raises `BadInput` where the file is missing, not JSON, not an object, or
    states something that cannot be used.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(
            "no-adapter-config",
            "the weights have PEFT's names, but there is no adapter_config.json",
            file=path,
            expected="adapter_config.json beside the weights, which states their scale",
            found="no such file",
            fix="put the adapter's own adapter_config.json beside the weights, or give --scale LABEL=x",
        )
    config = read_object(path, "adapter-config", "the adapter's config", each_key_once=True)
    check_peft_config(config, path)
    return config


def check_peft_config(config: Mapping[str, Any], file: str | Path) -> None:
    """Refuse a configuration of an unknown method, or with values of wrong types or ranges."""
    method = config.get("peft_type")
    if method is None or fields(str(method)) is None:
        raise BadInput(
            "peft-type",
            "the config does not say which PEFT method this is" if method is None else "unknown PEFT method",
            file=file,
            expected="peft_type one of " + ", ".join(METHODS),
            found=method,
            fix="bring the config back as PEFT saved it; a method that is not listed cannot be read",
        )
    for key, value in config.items():
        _check_value(str(method), key, value, file)


def check_lora_values(config: Mapping[str, Any], file: str | Path) -> None:
    """Refuse rank, alpha or patterns that cannot be used, in a LoRA config without `peft_type`."""
    for key, value in config.items():
        _check_value("LORA", key, value, file)


def notice_config(config: Mapping[str, Any], ledger: Ledger, file: str | Path) -> None:
    """Note unknown keys that say nothing, refuse those that say something, note an alpha of zero."""
    method = str(config["peft_type"])
    known = (fields(method) or frozenset()) | _FORMER.get(method, frozenset())
    for key in sorted(set(config) - known):
        if config[key] in (None, False, "") or config[key] == [] or config[key] == {}:
            ledger.notice("unknown-config-key", f"the config has an unknown key {key!r} without content")
        elif current().describing:
            text = (
                f"the config has an unknown key, {key!r} = {repr(config[key])[:60]}: PEFT 0.21 warns and "
                "ignores it, and commands that measure refuse it, since it may change the meaning of the "
                "weights"
            )
            ledger.notice("unknown-config-key", text)
        else:
            raise BadInput(
                "unknown-config-key",
                f"the config key {key!r} is unknown and may change the meaning of the weights",
                file=file,
                expected=f"the keys that PEFT 0.21 has for {method}",
                found=f"{key} = {config[key]!r}",
                fix="remove the key if it does not, or update tunescope (check works with it)",
            )
    if missing := {key: value for key, value in _STATED.get(method, {}).items() if key not in config}:
        taken = ", ".join(f"{key} = {value}" for key, value in missing.items())
        text = f"the config states no {' and no '.join(missing)}: PEFT's default was taken, {taken}"
        ledger.notice("config-default", text)
    alphas = {key: config.get(key) for key in ("lora_alpha", "alpha", "randlora_alpha") if key in known}
    if any(value == 0 and value is not False for value in alphas.values()):
        ledger.notice("alpha-zero", "alpha is 0 in adapter_config.json: the adapter has no effect")


def _check_value(method: str, key: str, value: Any, file: str | Path) -> None:
    if value is None and (
        key in _PATTERNS | _LISTS or (method, key) in _MAY_BE_NULL or key in _FLAGS or key == "enable_lora"
    ):
        return
    if key in _FLAGS and not isinstance(value, bool):
        _refuse(file, key, "true or false", value)
    if key in _COUNTS:
        zero = key == "hybrid_r" or (key == "r" and method in _RANK_MAY_BE_ZERO)
        _check_count(file, key, value, may_be_zero=zero)
    if key in _SEEDS and value is not None and not (type(value) is int and 0 <= value < 2**63):
        _refuse(file, key, "a whole number from 0 on", value)
    if key in _NUMBERS:
        _check_number(file, key, value)
    if key in _PATTERNS:
        _check_pattern(file, method, key, value)
    if key in _NAMED and value is not None:
        _check_targets(file, key, value)
    if key in _LAYERS and value is not None and not _LAYERS[key][1](value):
        _refuse(file, key, _LAYERS[key][0], value)
    if key == "use_bdlora" and isinstance(value, dict):
        _check_blocks(file, value)
    if key == "enable_lora" and not (isinstance(value, list) and all(isinstance(v, bool) for v in value)):
        _refuse(file, key, "a list of true and false", value)
    if key in _LISTS and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
        _refuse(file, key, "a list of names", value)


def _are_layers(value: Any) -> bool:
    return all(type(n) is int for n in (value if isinstance(value, list) else [value]))


def _are_spans(value: Any) -> bool:
    spans = value if isinstance(value, list) else [value]
    return all(isinstance(span, list) and len(span) == 2 and _are_layers(span) for span in spans)


_LAYERS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "layers_to_transform": ("a layer's number or a list of them", _are_layers),
    "layer_replication": ("a list of pairs of layers' numbers", _are_spans),
}


def _check_blocks(file: str | Path, value: Mapping[str, Any]) -> None:
    if value.get("nblocks") is not None:
        _check_count(file, "use_bdlora.nblocks", value["nblocks"])
    for side in ("target_modules_bd_a", "target_modules_bd_b"):
        names = value.get(side)
        if names is not None and not (isinstance(names, list) and all(isinstance(n, str) for n in names)):
            _refuse(file, f"use_bdlora.{side}", "a list of names", names)


def _check_count(file: str | Path, key: str, value: Any, may_be_zero: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        _refuse(file, key, "a whole number", value)
    if value < 0 or (value == 0 and not may_be_zero):
        _refuse(file, key, "a number above 0", value)
    if value >= _LARGEST_COUNT:
        _refuse(file, key, f"a number below {_LARGEST_COUNT}", value)


def _check_number(file: str | Path, key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(file, key, "a number", value)
    # A whole number in JSON may be too large for any float.
    if abs(value) > sys.float_info.max or value != value:
        _refuse(file, key, "a finite number", value)


def _check_pattern(file: str | Path, method: str, key: str, value: Any) -> None:
    if not isinstance(value, dict):
        _refuse(file, key, "an object from pattern to value", value)
    if method in ("ADALORA", "OSF"):
        return
    for pattern in value:
        # As PEFT puts it together: a flag that stands first in the pattern stands in the middle there.
        _check_regex(file, key, pattern, rf"(.*\.)?({pattern})$")
    check = _check_count if key in _COUNT_PATTERNS else _check_number
    for pattern, entry in value.items():
        check(file, f"{key}[{pattern!r}]", entry)


def _check_regex(file: str | Path, key: str, pattern: str, whole: str | None = None) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            re.compile(pattern if whole is None else whole)
    except (re.error, OverflowError, RecursionError) as error:
        _refuse(file, key, "regular expressions", f"{pattern}: {error}")


def _check_targets(file: str | Path, key: str, value: Any) -> None:
    if isinstance(value, str):
        _check_regex(file, key, value)
    elif not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
        _refuse(file, key, "a regular expression or a list of names", value)


def _refuse(file: str | Path, key: str, expected: str, found: Any) -> None:
    raise BadInput(
        "config-value",
        f"the config key {key!r} has a value that cannot be used",
        file=file,
        expected=expected,
        found=f"{found!r} ({type(found).__name__})",
        fix=f"write {expected} for {key} in the file",
    )
