"""Files of image and video models in their makers' own names, without the prefix by which they are known."""

import re
from collections.abc import Mapping
from typing import TypeVar

# In front of the same names in checkpoints and adapters [comfyanonymous/ComfyUI: comfy/model_detection.py].
_PREFIX = "diffusion_model."
# Names that only their makers' files have: Z-Image and Lumina 2, Sana, Cosmos 2 and Anima, Mochi, LTX-2.
_OWN = re.compile(
    r"noise_refiner\.0\.attention\.(qkv|out)\.|blocks\.0\.cross_attn\.q_linear\.|"
    r"blocks\.0\.adaln_modulation_self_attn\.|blocks\.0\.attn\.qkv_x\.|audio_adaln_single\."
)
Held = TypeVar("Held")


def behind_prefix(held: Mapping[str, Held]) -> Mapping[str, Held]:
    """The same by names that say what they are of; unchanged where no name is one of these makers' own.

    >>> list(behind_prefix({"blocks.0.attn.qkv_x.weight": 1, "t5_yproj.weight": 2}))
    ['diffusion_model.blocks.0.attn.qkv_x.weight', 'diffusion_model.t5_yproj.weight']
    """
    if not any(_OWN.match(name) for name in held):
        return held
    return {f"{_PREFIX}{name}": one for name, one in held.items()}
