"""PEFT adapters → deltas: sort the tensors by module, hand them to their tuner, account for the rest."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

from tunescope.delta import Delta, Update
from tunescope.errors import BadInput
from tunescope.source.base_shapes import NamedBase, base_headers, base_shapes
from tunescope.source.files.tensors import LazyTensor, Ledger
from tunescope.source.formats.copies import once
from tunescope.source.formats.leftovers import account
from tunescope.source.formats.names import Key, is_wrapped, parse_key
from tunescope.source.formats.peft_config import check_peft_config, load_peft_config, notice_config
from tunescope.source.formats.targets import notice_targets
from tunescope.source.tuners import TUNERS
from tunescope.source.tuners.adapter import Adapter, Module
from tunescope.source.tuners.guard import guarded
from tunescope.words import counted

# Methods whose tensors do not say the layer's whole shape.
_WITHOUT_SHAPES = ("FOURIERFT", "MISS", "PVERA", "RANDLORA", "SHIRA", "SUPERTUNING", "VERA", "WAVEFT")

__all__ = ["load_peft_config", "read_peft"]


def read_peft(
    tensors: Mapping[str, LazyTensor],
    config: Mapping[str, Any],
    ledger: Ledger,
    *,
    scale: float | None = None,
    file: str,
    shapes: Mapping[str, tuple[int, int]] | None = None,
    base: NamedBase | None = None,
) -> list[Delta]:
    """The deltas of a PEFT adapter, in file order, with `component_name` left empty.

    `config` is the content of `adapter_config.json`; `scale` replaces the scale that follows from it,
    `shapes` gives (d_out, d_in) of the base's modules, which some methods do not save; without it they are
    looked up in `base`, else in the base that the config names, where that lies on this disk.
    Every tensor that is not part of a delta gets its reason in `ledger`. Raises `BadInput` for an empty
    adapter, integer weights, an unknown method or a configuration that cannot be used.
    """
    check_peft_config(config, file)
    notice_config(config, ledger, file)
    _refuse_empty(tensors, file)
    method = str(config["peft_type"])
    tuner = TUNERS.get(method)
    if tuner is None:
        account(tensors, config, ledger, method)
        if scale is not None:
            text = f"--scale does not apply to {method}, of which no update has a factor in front"
            ledger.notice("scale-not-used", text)
        return []
    modules = _modules(tensors, tuner.parameters, ledger, file)
    notice_targets(config, modules, ledger)
    if shapes is None:
        shapes = base_shapes(config, modules, base) if method in _WITHOUT_SHAPES else {}
    adapter = Adapter(modules, config, ledger, file, shapes, cache(partial(base_headers, config, base)))
    deltas = [guarded(delta, file) for delta in tuner.read(adapter)]
    adapter.close()
    account(tensors, config, ledger, method)
    _notice_kinds(deltas, tensors, ledger)
    return deltas if scale is None else [_rescaled(delta, scale) for delta in deltas]


def _refuse_empty(tensors: Mapping[str, LazyTensor], file: str) -> None:
    if any(t.numel for t in tensors.values()):
        return
    raise BadInput(
        "empty-adapter",
        "the adapter is empty; saved under ZeRO-3 without gathering?",
        file=file,
        expected="tensors with elements",
        found=f"{counted(len(tensors), 'tensor')}, all of size 0" if tensors else "no tensors",
        fix="save it again inside GatheredParameters (DeepSpeed) or with the full state dict (FSDP)",
    )


def _modules(
    tensors: Mapping[str, LazyTensor], parameters: Iterable[str], ledger: Ledger, file: str
) -> dict[str, Module]:
    """Tensors by module and parameter, in file order."""
    names = frozenset(parameters)
    keys = {name: key for name in tensors if (key := parse_key(name, names)) is not None}
    sorted_out: dict[str, dict[str, LazyTensor]] = {}
    adapters: dict[str, str] = {}
    for name, key in once(keys, tensors, ledger).items():
        tensor = tensors[name]
        _claim(sorted_out.setdefault(key.module, {}), key, tensor, file)
        if key.adapter is not None:
            adapters.setdefault(key.adapter, name)
    _notice_names(tensors, adapters, ledger, file)
    return {module: Module(module, of) for module, of in sorted_out.items()}


def _claim(module: dict[str, LazyTensor], key: Key, tensor: LazyTensor, file: str) -> None:
    if key.parameter in module:
        raise BadInput(
            "several-adapters",
            "two tensors of the file mean the same parameter of the same module",
            file=file,
            tensor=tensor.name,
            expected="each parameter once",
            found=f"also {module[key.parameter].name}",
            fix="save one adapter for each file",
        )
    module[key.parameter] = tensor


def _notice_names(
    tensors: Mapping[str, LazyTensor], adapters: Mapping[str, str], ledger: Ledger, file: str
) -> None:
    if len(adapters) > 1:
        raise BadInput(
            "several-adapters",
            "the file holds several adapters",
            file=file,
            expected="one adapter",
            found=", ".join(sorted(adapters)),
            fix="save one adapter for each file (PEFT's save_pretrained does)",
        )
    wrapped = sum(is_wrapped(name) for name in tensors)
    if wrapped:
        ledger.notice(
            "wrapper-prefix", f"wrapper prefixes removed from {wrapped} of {counted(len(tensors), 'name')}"
        )
    for adapter in adapters:
        ledger.notice("adapter-name", f"the tensor names hold the adapter's name {adapter!r}; removed")


def _notice_kinds(deltas: Iterable[Delta], tensors: Mapping[str, LazyTensor], ledger: Ledger) -> None:
    used = {name for delta in deltas for name in delta.tensors}
    small = sum(tensors[name].dtype.startswith("F8") for name in used if name in tensors)
    if small:
        ledger.notice(
            "float8",
            f"{counted(small, 'tensor is', 'tensors are')} stored as 8-bit floats, widened to float32",
        )


def _rescaled(delta: Delta, scale: float) -> Delta:
    return replace(delta, scale=scale, open=partial(_reopened, delta, scale))


def _reopened(delta: Delta, scale: float) -> Update:
    return replace(delta.open(), scale=scale)
