"""Flat and dotted spellings of one module → one dotted name, by the tables of `naming`."""

import re
from functools import cache

from tunescope.address.naming import (
    BLOCKS,
    COMFY_ENCODERS,
    COMPOUNDS,
    CONTROLNET,
    DENOISER,
    DOTTED_PREFIXES,
    FLAT_PREFIXES,
    OPEN_CLIP,
    OUTSIDE,
    RENAMES,
    SHARED_WORDS,
    TRAINED_AS,
    UNET_PARTS,
)
from tunescope.address.unet import diffusers_block

_TOKEN = re.compile(
    r"(?:^|_)((?:" + "|".join(sorted(COMPOUNDS.split(), key=len, reverse=True)) + r")(?=_|$)|[^_]+)"
)
_NUMBERED = re.compile(r"(input_blocks|middle_block|output_blocks)\.\d")
_UNET = re.compile(rf"({'|'.join(UNET_PARTS.split())})(\.|$)")
_IS_BLOCKS = "|".join(re.escape(b.path) for b in sorted(BLOCKS, key=lambda b: -len(b.path)))


# Compiled when a name first asks for them, which names of language models do not.
@cache
def _blocks() -> re.Pattern[str]:
    lists = f"{_IS_BLOCKS}|blocks|layers"
    return re.compile(rf"^(?:(?P<outer>.+?)\.)??(?P<list>{lists})\.(?P<number>\d+)\.(?P<rest>.+)$")


@cache
def _of_images() -> re.Pattern[str]:
    return re.compile(rf"^(?:{_IS_BLOCKS})$")


@cache
def _renames() -> tuple[tuple[re.Pattern[str], re.Pattern[str], str], ...]:
    return tuple((re.compile(rf"(?:{r.blocks})"), re.compile(r.spelled), r.name) for r in RENAMES)


_TRAINED_AS = tuple((re.compile(prefix.spelled), prefix.means) for prefix in TRAINED_AS)
_AT_START = "|".join(prefix.spelled[1:] for prefix in TRAINED_AS if prefix.spelled.startswith("^"))
_WITHIN = "|".join(prefix.spelled for prefix in TRAINED_AS if not prefix.spelled.startswith("^"))
_ANY_TRAINED_AS = re.compile(f"^(?:{_AT_START})|{_WITHIN}")
_OUTSIDE = re.compile("|".join(f"(?P<r{i}>{r.spelled})" for i, r in enumerate(OUTSIDE)))
_ENCODERS = tuple((re.compile(prefix.spelled), prefix.means) for prefix in DOTTED_PREFIXES)
_OPEN_CLIP = re.compile(rf"(?<=\.layers\.)(\d+)\.({'|'.join(map(re.escape, OPEN_CLIP))})(?=\.|$)")
SHARED = re.compile(SHARED_WORDS)
IMAGE_BLOCKS = re.compile("|".join(b.end for b in BLOCKS))
OUTSIDE_BLOCKS = frozenset(rule.name for rule in OUTSIDE)
# What stands in front of modules outside blocks.
_MODEL = (*DENOISER, "transformer.")
# Nothing else can be a name of these tables; most names of language models are none.
_WORTH_A_LOOK = re.compile(
    rf"{_IS_BLOCKS}|blocks\.\d|diffusion_model\.|^unet\.|^control_model\.|_blocks?\.\d|^text_encoders\.|^(?:{COMFY_ENCODERS})\.transformer\.|^conditioner\.|^cond_stage_model\.|^lora_|^lycoris_|"
    # Names of image models in lists that language models call alike.
    r"^(?:transformer\.)?layers\.\d+\.(?:(?:self_|cross_)?attn\.to_|feed_forward\.linear_|norm1\.linear|attention\.(?:qkv|out|o)$)"
)


def dotted(name: str) -> str:
    """The module name that a flattened key stands for, in diffusers' naming where it is a UNet.

    A key that is flat in front and dotted behind counts as flat.

    >>> dotted("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0")
    'unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0'
    >>> dotted("lora_te1_text_model_encoder_layers_3_self_attn_q_proj")
    'text_encoder.text_model.encoder.layers.3.self_attn.q_proj'
    """
    for prefix in FLAT_PREFIXES:
        if name.startswith(prefix.spelled) and len(name) > len(prefix.spelled):
            path = _tokens(name[len(prefix.spelled) :].replace(".", "_"))
            unet = prefix.means in DENOISER and is_of_unet(path) and _outside_blocks(path) is None
            return diffusers_block(f"unet.{path}") if unet else prefix.means + path
    return name if "." in name else _tokens(name) or name


def is_of_unet(path: str) -> bool:
    """Whether a path begins as modules of a U-Net do.

    >>> is_of_unet("conv_in"), is_of_unet("lm_head")
    (True, False)
    """
    return _UNET.match(path) is not None


def _tokens(flat: str) -> str:
    return ".".join(_TOKEN.findall(flat))


def canonical(name: str) -> str:
    """The one dotted name of a module of an image or video model; every other name stays as it is.

    >>> canonical("diffusion_model.double_blocks.3.img_attn.proj")
    'double_blocks.3.attn.to_out.0'
    >>> canonical("transformer.transformer_blocks.3.attn.to_out.0")
    'transformer.transformer_blocks.3.attn.to_out.0'
    >>> canonical("model.layers.3.self_attn.q_proj")
    'model.layers.3.self_attn.q_proj'
    """
    if _ANY_TRAINED_AS.search(name):
        for pattern, means in _TRAINED_AS:
            name = pattern.sub(means, name)
    if (outside := _outside_blocks(name)) is not None:
        return outside
    if not _WORTH_A_LOOK.search(name):
        return name
    for pattern, means in _ENCODERS:
        if found := pattern.match(name):
            path = means + name[found.end() :]
            return _OPEN_CLIP.sub(lambda of: f"{of[1]}.{OPEN_CLIP[of[2]]}", path)
    if name.startswith("unet."):
        return diffusers_block(name)
    if name.startswith(CONTROLNET):
        return diffusers_block(f"controlnet.{name[len(CONTROLNET) :]}")
    if _NUMBERED.match(name):
        return diffusers_block(f"unet.{name}")
    inner = next((name[len(p) :] for p in DENOISER if name.startswith(p)), None)
    if inner is not None and is_of_unet(inner):
        return diffusers_block(f"unet.{inner}")
    return _in_blocks(name if inner is None else inner, denoiser=inner is not None)


def _outside_blocks(name: str) -> str | None:
    """The one name of an image model's module outside all blocks; `None` for any other."""
    bare = next((name[len(p) :] for p in _MODEL if name.startswith(p)), name)
    if SHARED.fullmatch(bare) and not name.startswith(DENOISER):
        return None
    if found := _OUTSIDE.fullmatch(bare):
        return OUTSIDE[int(str(found.lastgroup)[1:])].name
    return bare if bare in OUTSIDE_BLOCKS else None


def _in_blocks(path: str, denoiser: bool) -> str:
    found = _blocks().match(path)
    if found is None:
        return _tokens(path.replace(".", "_")).replace(".lin.", ".linear.") if denoiser else path
    outer, blocks, number, rest = found["outer"], found["list"], found["number"], found["rest"]
    if denoiser or _of_images().match(blocks):
        # Through the flat spelling, so that both come out alike whatever the module is called.
        rest = _tokens(rest.replace(".", "_"))
    kinds = _kinds(outer, blocks, denoiser)
    for of_blocks, spelled, name in _renames():
        if spelled.fullmatch(rest) and any(of_blocks.fullmatch(kind) for kind in kinds):
            rest = name
            break
    return ".".join(filter(None, (outer, blocks, number, rest)))


def _kinds(outer: str | None, blocks: str, denoiser: bool) -> tuple[str, ...]:
    """What a list of blocks is called in the rules."""
    outermost = denoiser or outer in (None, "transformer")
    return (
        blocks,
        *([f"denoiser.{blocks}"] if denoiser else []),
        *([f"{outer}.{blocks}"] if outer == "transformer" else []),
        *([f"diffusers.{blocks}"] if outermost else []),
    )
