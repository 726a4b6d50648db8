"""PEFT methods, one file for each family; nothing here imports PEFT, and torch only for seeds."""

from tunescope.source.tuners import (
    adalora,
    c3a,
    delora,
    gralora,
    loha,
    lokr,
    lora,
    miss,
    randlora,
    sparse,
    spectral,
    tinylora,
    unilora,
    vblora,
    vera,
)
from tunescope.source.tuners.adapter import Tuner

TUNERS: dict[str, Tuner] = {
    "ADALORA": adalora.TUNER,
    "C3A": c3a.TUNER,
    "DELORA": delora.TUNER,
    "FOURIERFT": spectral.FOURIERFT,
    "GRALORA": gralora.TUNER,
    "LOHA": loha.TUNER,
    "LOKR": lokr.TUNER,
    "LORA": lora.TUNER,
    "MISS": miss.TUNER,
    "PVERA": vera.PVERA,
    "RANDLORA": randlora.TUNER,
    "SHIRA": sparse.SHIRA,
    "SUPERTUNING": sparse.SUPERTUNING,
    "TINYLORA": tinylora.TUNER,
    "UNILORA": unilora.TUNER,
    "VBLORA": vblora.TUNER,
    "VERA": vera.VERA,
    "WAVEFT": spectral.WAVEFT,
}
