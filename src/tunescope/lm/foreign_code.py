"""Models that bring Python code of their own are refused, and nobody is asked.

`transformers` asks on stdin whether a model's code may run unless `trust_remote_code` is said, so any pipe
that holds a `y` would run it. Whatever loads a config, tokenizer or model passes `TRUST`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from tunescope.errors import BadInput

TRUST: Mapping[str, Any] = {"trust_remote_code": False}

# Settings that name an implementation; one with a slash is a kernel to be fetched from the hub and run.
_IMPLEMENTATIONS = ("attn_implementation", "experts_implementation")


def refuse_foreign_code(document: Mapping[str, Any], spec: str | Path) -> None:
    """Raise `BadInput` where a config names code outside the installed libraries.

    That is `auto_map` or `custom_pipelines` (classes in the model's own files), an attention or experts
    implementation on the hub, and PEFT's `megatron_core` (a module to import).

    >>> refuse_foreign_code({"model_type": "llama", "auto_map": None}, "model")
    """
    for key, value in settings_of(document):
        if key in ("auto_map", "custom_pipelines") and value:
            _refuse(spec, f"{key}: {shown(value)}")
        if key.lstrip("_").removesuffix("_internal") in _IMPLEMENTATIONS and "/" in str(value):
            _refuse(spec, f"{key}: {shown(value)}")
    if document.get("megatron_config"):
        _refuse(spec, f"megatron_core: {shown(document.get('megatron_core'))}")


def is_about_code(error: Exception) -> bool:
    """Whether a library refused to load something because it needs code of its own."""
    return "trust_remote_code" in str(error)


def refuse_remote(spec: str | Path, error: Exception) -> NoReturn:
    """The refusal of `is_about_code` errors."""
    _refuse(spec, str(error).strip().split("\n", 1)[0], error)


def settings_of(document: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every key of a config and of the configs inside it."""
    for key, value in document.items():
        yield str(key), value
        if isinstance(value, Mapping) and key != "auto_map" and depth < 8:
            yield from settings_of(value, depth + 1)


def shown(value: Any) -> str:
    """The classes that an `auto_map` names, or any other setting as text."""
    return ", ".join(map(str, value.values())) if isinstance(value, Mapping) else str(value)


def _refuse(spec: str | Path, found: str, cause: Exception | None = None) -> NoReturn:
    raise BadInput(
        "remote-code",
        "this needs Python code of its own, which tunescope never runs",
        file=spec,
        expected="a model whose architecture the installed transformers knows",
        found=found,
        fix="name a model that transformers has a class for, without auto_map in its configs",
    ) from cause
