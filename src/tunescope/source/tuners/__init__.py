"""PEFT methods, one file for each family; nothing here imports PEFT, and torch only for seeds."""

import importlib
from collections.abc import Iterator, Mapping

from tunescope.source.tuners.adapter import Tuner

# `peft_type` -> the module beside this one and the name in it.
_HOME = {
    "ADALORA": ("adalora", "TUNER"),
    "BEFT": ("beft", "TUNER"),
    "C3A": ("c3a", "TUNER"),
    "DELORA": ("delora", "TUNER"),
    "FOURIERFT": ("spectral", "FOURIERFT"),
    "GRALORA": ("gralora", "TUNER"),
    "LOHA": ("loha", "TUNER"),
    "LOKR": ("lokr", "TUNER"),
    "LORA": ("lora", "TUNER"),
    "MISS": ("miss", "TUNER"),
    "PVERA": ("vera", "PVERA"),
    "RANDLORA": ("randlora", "TUNER"),
    "SHIRA": ("sparse", "SHIRA"),
    "SUPERTUNING": ("sparse", "SUPERTUNING"),
    "TINYLORA": ("tinylora", "TUNER"),
    "UNILORA": ("unilora", "TUNER"),
    "VBLORA": ("vblora", "TUNER"),
    "VERA": ("vera", "VERA"),
    "WAVEFT": ("spectral", "WAVEFT"),
}


class _Tuners(Mapping[str, Tuner]):
    """Every method that is read; its module is loaded when the first adapter of its kind is."""

    def __getitem__(self, method: str) -> Tuner:
        module, name = _HOME[method]
        tuner: Tuner = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        return tuner

    def __iter__(self) -> Iterator[str]:
        return iter(_HOME)

    def __len__(self) -> int:
        return len(_HOME)


TUNERS: Mapping[str, Tuner] = _Tuners()
