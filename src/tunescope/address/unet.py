"""The nested blocks of a diffusion UNet: their two namings, and the places that layers count."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tunescope.address.place import Address

# The numbered blocks of the original code [CompVis/stable-diffusion: ldm/modules/diffusionmodules/
# openaimodel.py] and what diffusers calls their parts [scripts/convert_diffusers_to_original_sdxl.py].
_LDM = re.compile(
    r"^(?P<of>unet|controlnet)\.(?P<part>input_blocks|middle_block|output_blocks)\.(?P<number>\d{1,4})"
    r"(?:\.(?P<inner>\d{1,4}))?(?:\.(?P<rest>.+))?$"
)
_RESNET_PARTS = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "out_layers.0": "norm2", "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj", "skip_connection": "conv_shortcut",
}  # fmt: skip
# Modules outside the blocks [diffusers: loaders/single_file_utils.py, DIFFUSERS_TO_LDM_MAPPING]; the numbered
# ones of ControlNet [scripts/convert_original_controlnet_to_diffusers.py].
_OUTSIDE = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2",
    "out.0": "conv_norm_out", "out.2": "conv_out", "middle_block_out.0": "controlnet_mid_block",
    "input_hint_block.0": "controlnet_cond_embedding.conv_in",
    **{f"input_hint_block.{2 * k + 2}": f"controlnet_cond_embedding.blocks.{k}" for k in range(6)},
    "input_hint_block.14": "controlnet_cond_embedding.conv_out",
}  # fmt: skip
# [diffusers: loaders/single_file_utils.py, convert_stable_cascade_unet_single_file_to_diffusers].
_CASCADE = {
    "attention.attn.in_proj_weight": "attention.to_qkv", "attention.attn.in_proj": "attention.to_qkv",
    "attention.attn.out_proj": "attention.to_out.0",
    **{f"attention.attn.to_{side}": f"attention.to_{side}" for side in "qkv"},
}  # fmt: skip
_ZERO = re.compile(r"zero_convs\.(\d{1,4})\.0")
NESTED = ("unet", "controlnet")
PLACE = re.compile(
    r"(?:^|\.)(down_blocks|up_blocks|mid_block)(?:\.(\d{1,4}))?\."
    r"(attentions|resnets|downsamplers|upsamplers|motion_modules|temp_attentions|temp_convs)\.(\d{1,4})\.(.+)$"
)
# Stable Cascade numbers all that lies in a level [diffusers: models/unets/unet_stable_cascade.py].
LEVEL = re.compile(
    r"^(?:unet\.)?(?P<list>(?P<side>down|up)_blocks\.(?P<level>\d))\.(?P<number>\d{1,4})\.(?P<rest>.+)$"
)
_INNER = re.compile(r"^(.*\btransformer_blocks)\.(\d{1,4})\.(.+)$")


def diffusers_block(path: str) -> str:
    """The numbered blocks of the original code (`input_blocks.4.1`) as down, middle and up blocks.

    >>> diffusers_block("unet.input_blocks.4.1.transformer_blocks.0.attn1.to_q")
    'unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q'
    """
    found = _LDM.match(path)
    if found is None:
        model, _, module = path.partition(".")
        zero = _ZERO.sub(r"controlnet_down_blocks.\1", module)
        return f"{model}.{_OUTSIDE.get(module, zero)}"
    model, part, number = found["of"], found["part"], int(found["number"])
    if part == "middle_block":
        kind, index = (("resnets", 0), ("attentions", 0), ("resnets", 1))[min(number, 2)]
        rest = path.split(".", 3)[3] if path.count(".") > 2 else ""
        return f"{model}.mid_block.{kind}.{index}.{_part(kind, rest)}".rstrip(".")
    if part == "input_blocks" and number == 0:
        return f"{model}.conv_in"
    inner, rest = int(found["inner"] or 0), found["rest"] or ""
    block, place = divmod(number - (part == "input_blocks"), 3)
    side = "down_blocks" if part == "input_blocks" else "up_blocks"
    if rest in ("op", "conv"):
        sampler = "downsamplers" if side == "down_blocks" else "upsamplers"
        return f"{model}.{side}.{block}.{sampler}.0.conv"
    kind = "attentions" if inner else "resnets"
    return f"{model}.{side}.{block}.{kind}.{place}.{_part(kind, rest)}".rstrip(".")


def _part(kind: str, rest: str) -> str:
    """What diffusers calls a module of a place, over time as well [scripts/convert_svd_to_diffusers.py]."""
    over_time, _, inner = rest.rpartition("time_stack.")
    if kind == "resnets":
        part = _RESNET_PARTS.get(inner, inner)
        return f"temporal_res_block.{part}" if rest.startswith("time_stack.") else part
    if rest.startswith("time_stack.") and not over_time:
        return f"temporal_transformer_blocks.{inner}"
    return {"time_pos_embed.0": "time_pos_embed.linear_1", "time_pos_embed.2": "time_pos_embed.linear_2"}.get(
        rest, rest
    )


def unet_address(found: re.Match[str], stack: str) -> Address:
    """The address of a place: `layer` counts places in network order, 12 down, 1 middle, 12 up."""
    part, block, kind, index, rest = found.groups()
    i, j = int(block or 0), int(index)
    offset = {"downsamplers": 2, "upsamplers": 2}.get(kind, j)
    layer = {"down_blocks": 3 * i + offset + 1, "mid_block": 12, "up_blocks": 13 + 3 * i + offset}[part]
    # The middle block has two residual blocks at one place; everywhere else the place tells them apart.
    detail = f"{j}.{rest}" if part == "mid_block" and j else rest
    return Address(stack, layer, f"{kind}.{detail}")


def level_address(found: re.Match[str]) -> Address:
    """The address of a place in a level of Stable Cascade: every level is a stack with numbers of its own."""
    stack = f"{found['side']}_blocks_{found['level']}"
    part = _CASCADE.get(found["rest"], found["rest"])
    return Address(stack, int(found["number"]), part, blocks=found["list"])


def unrolled(addresses: Sequence[Address], step: int = 1) -> list[Address]:
    """The same addresses, where a UNet with several transformer blocks at a place counts each as a layer.

    Such a layer is the place in tens and the block in ones: 73 is the fourth block at place 7, and 70 also
    holds what else lies at that place. `step` is the least that a place takes, as in a model beside which
    these weights are seen. What is counted so already stays as it is.

    >>> deep = [Address("unet", 7, f"attentions.transformer_blocks.{i}.attn1.to_q") for i in (0, 3)]
    >>> [(a.layer, a.module_type) for a in unrolled(deep)]
    [(70, 'attentions.transformer_blocks.attn1.to_q'), (73, 'attentions.transformer_blocks.attn1.to_q')]
    >>> unrolled(unrolled(deep)) == unrolled(deep)
    True
    """
    inner = [_INNER.match(a.module_type) if a.stack in NESTED else None for a in addresses]
    deepest = max((int(found[2]) for found in inner if found), default=0)
    needed = 1 if deepest == 0 else 10 if deepest < 10 else 100
    step = max(step, needed, steps(addresses))
    if step == 1:
        return list(addresses)
    return [_unrolled(address, found, step) for address, found in zip(addresses, inner, strict=True)]


def steps(addresses: Iterable[Address]) -> int:
    """How many layer numbers one place takes among these: 1 where no place holds several blocks."""
    return max((address.step for address in addresses), default=1)


def _unrolled(address: Address, found: re.Match[str] | None, step: int) -> Address:
    if address.stack not in NESTED or address.layer is None:
        return address
    if address.step > 1:
        place, block = divmod(address.layer, address.step)
        return replace(address, layer=step * place + block, step=step)
    if found is None:
        return replace(address, layer=step * address.layer, step=step)
    layer = step * address.layer + int(found[2])
    return replace(address, layer=layer, module_type=f"{found[1]}.{found[3]}", step=step)
