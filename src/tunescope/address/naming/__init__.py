"""The naming rules of image and video models as data: one row for each rule, with its public source.

One weight is spelled in many ways: flat (`lora_unet_double_blocks_0_img_attn_qkv`), dotted as its authors
call it (`diffusion_model.double_blocks.0.img_attn.qkv`) or as diffusers does. The tables say which stack a
list of blocks is, in language models too, and turn the spellings of one weight into one, mostly into that
of diffusers.
"""

from tunescope.address.naming.halves import GATE_FIRST, HALVES, LAST_HALVES, OF_GATED
from tunescope.address.naming.in_blocks import RENAMES
from tunescope.address.naming.outside import OUTSIDE, SHARED_WORDS
from tunescope.address.naming.prefixes import (
    BARE,
    BARE_LISTS,
    BLOCKS,
    COMFY_ENCODERS,
    CONTROLNET,
    DENOISER,
    DOTTED_PREFIXES,
    FLAT_PREFIXES,
    OPEN_CLIP,
    TRAINED_AS,
    UNET_PARTS,
)
from tunescope.address.naming.rules import Blocks, Prefix, Rename, Tower
from tunescope.address.naming.towers import TOWERS
from tunescope.address.naming.words import COMPOUNDS

__all__ = [
    "BARE", "BARE_LISTS", "BLOCKS", "COMFY_ENCODERS", "COMPOUNDS", "CONTROLNET",
    "DENOISER", "DOTTED_PREFIXES", "FLAT_PREFIXES",
    "GATE_FIRST", "HALVES", "LAST_HALVES", "OF_GATED", "OPEN_CLIP", "OUTSIDE", "RENAMES", "SHARED_WORDS",
    "TOWERS", "TRAINED_AS", "UNET_PARTS",
    "Blocks", "Prefix", "Rename", "Tower",
]  # fmt: skip
