"""Alpha and dim that Megatron-Bridge writes beside its weights [NVIDIA-NeMo/Megatron-Bridge].

`run_config.yaml` holds `peft: {_target_: megatron.bridge.peft.lora.LoRA, dim: 16, alpha: 32, …}`; the update
is alpha/dim · linear_out linear_in [src/megatron/bridge/peft/lora.py, LoRAMerge].
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from tunescope.documents import DocumentError
from tunescope.errors import BadInput
from tunescope.source.formats.litgpt import Stated, settings_beside
from tunescope.source.weights import Weights
from tunescope.yaml_text import parse_yaml

NAME = "run_config.yaml"
# A dump of shared objects holds an alias for each; two of its numbers are read, so none is followed far.
_MAX_ALIASES = 10_000


def stated(weights: Weights) -> Stated | None:
    """The settings beside the weights; `None` where no such file, or no LoRA in it, is there.

    Raises `BadInput` where one of them is no number that can be used.
    """
    beside = settings_beside(weights, NAME)
    if beside is None:
        return None
    path, text = beside
    peft = _peft(text)
    alpha, dim = peft.get("alpha"), peft.get("dim")
    if alpha is None or dim is None:
        return None
    whole = isinstance(dim, int) and not isinstance(dim, bool) and dim > 0
    if not whole or isinstance(alpha, bool) or not isinstance(alpha, int | float) or not _finite(alpha):
        raise BadInput(
            "config-value",
            "peft.alpha or peft.dim has a value that cannot be used",
            file=path,
            expected="a finite alpha and a whole dim above 0",
            found=f"alpha {alpha!r}, dim {dim!r}",
            fix="write both as numbers in the file",
        )
    return Stated(float(alpha), int(dim))


def _finite(alpha: float) -> bool:
    """Whether a float holds it, which not every whole number of YAML is."""
    try:
        return isfinite(alpha)
    except OverflowError:
        return False


def _peft(text: bytes) -> Mapping[str, Any]:
    try:
        document = parse_yaml(text, max_aliases=_MAX_ALIASES)
    except DocumentError:
        # What is no plain YAML states nothing; that the scale is unknown is said then.
        return {}
    found = document.get("peft") if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}
