"""PEFT methods, one file for each family; nothing here imports PEFT, and torch only for seeds."""

from tunescope.source.tuners import lora
from tunescope.source.tuners.adapter import Tuner

TUNERS: dict[str, Tuner] = {
    "LORA": lora.TUNER,
}
