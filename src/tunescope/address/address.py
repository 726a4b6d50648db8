"""Parameter name → `Address`: stack, layer, module path, expert."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from tunescope.address.naming import BARE, BARE_LISTS, DENOISER, GATE_FIRST, OF_GATED, TOWERS
from tunescope.address.place import Address
from tunescope.address.spelling import IMAGE_BLOCKS, OUTSIDE_BLOCKS, SHARED, canonical, is_of_unet
from tunescope.address.unet import LEVEL, NESTED, PLACE, level_address, unet_address, unrolled

_STACKS = tuple((tower.stack, re.compile(tower.path)) for tower in TOWERS)
# What leads into a tower or out of it: lists there have numbers of their own where no rule names them.
_LEADS = re.compile(r"(?<![^.])\w*(?:projector|projection|embedder|connector|merger)\w*(?![^.])")
# Stacks of transformers' own blocks: what is called as outside a U-Net's blocks is theirs beside these.
_OF_TRANSFORMERS = frozenset({"model", "single_blocks"})
# Projections of blocks that image models call by a word of all, and that no language model has.
_OF_A_DENOISER = re.compile(r"self_attn\.[qkvo]$|(self_attention|self_attn|cross_attn|attn1?)\.to_[qkv]$")
# Lists of blocks, and modules beside them, of the two kinds of text encoders that share a place.
_OF_CLIP = re.compile(r"(^|\.)text_(model|projection)(\.|$)")
_OF_A_LANGUAGE_MODEL = re.compile(
    r"^(text_encoder|te1?)\.(model\.|language_model\.)*(layers|embed_tokens|norm)$"
)
_FIRST_ENCODER = re.compile(r"^(text_encoder|te1?)(?=\.)")
# Names in front of a list that say nothing of it, and lists that hold parts of the same layers (XLM's).
_WRAPPERS = frozenset({"model", "transformer", "unet", "base", "module", ""})
_FFNS = re.compile(r"(?<![^.])ffns$")
# A number of more digits counts no layers or experts; it stays a part of the name.
_EXPERTS = r"(?:^|\.)(?:\w+_)?experts?"
# One expert's own module (`experts.3.w1`; Switch's `experts.expert_3.wi`; `experts.local_experts.3` of
# Megatron, `experts.deepspeed_experts.3`), or a projection's list (`gate_up_projs.3`, Unsloth's gpt-oss).
_EXPERT = re.compile(rf"{_EXPERTS}(?:\.\w+_experts)?(?P<cut>\.(?:expert_)?(?P<number>\d{{1,6}}))(?=\.|$)")
_OF_PROJECTION = re.compile(rf"{_EXPERTS}\.[A-Za-z]\w*?(?P<cut>s?\.(?P<number>\d{{1,6}}))$")
# All experts of Megatron's grouped layers in one module, a weight for each (`linear_fc1.weight3`).
_OF_GROUP = re.compile(rf"{_EXPERTS}\.linear_fc\d(?P<cut>\.weight(?P<number>\d{{1,6}}))$")
# Not the parts of a feed-forward module (`glyph_projector.net.0.proj`, `merger.mlp.0.linear_1`).
_LAYER = re.compile(r"^(.*?[A-Za-z_]\w*)(?<!\.net)(?<!\.mlp)\.(\d{1,6})\.(.*[A-Za-z].*)$")


def parse(name: str) -> Address:
    """The address of a parameter or module, from its dotted name in the model.

    Wrapper prefixes must be gone already; a final `.weight` is ignored and `.bias` stays in
    `module_type`. Spellings of image and video models become one (see `naming`). In a diffusion UNet,
    where blocks are nested, `layer` counts the places where an attention or residual block sits, in
    network order (12 down, 1 middle, 12 up in Stable Diffusion 1).

    >>> parse("model.layers.24.self_attn.k_proj.weight")
    Address(stack='model', layer=24, module_type='self_attn.k_proj', expert=None)
    >>> parse("model.layers.3.mlp.experts.7.w1")
    Address(stack='model', layer=3, module_type='mlp.experts.w1', expert=7)
    >>> parse("diffusion_model.single_blocks.7.linear2").stack
    'single_blocks'
    >>> parse("lm_head.weight").layer is None
    True
    """
    name = canonical(name.removesuffix(".weight"))
    if name in OUTSIDE_BLOCKS:
        return Address("model", None, name)
    if place := PLACE.search(name):
        stack = _stack(name[: place.start(1)].rstrip("."))
        return replace(
            unet_address(place, "unet" if stack == "model" else stack), blocks=name[: place.start(1)]
        )
    if "_blocks." in name and (found := LEVEL.match(name)):
        return level_address(found)
    path, expert = name, None
    if "expert" in name and (found := _expert(name)):
        expert = int(found["number"])
        path = name[: found.start("cut")] + name[found.end("cut") :]
    if found := _LAYER.match(path):
        prefix, layer, module_type = found.group(1), int(found.group(2)), found.group(3)
        return Address(_stack(prefix, of_blocks=True), layer, module_type, expert, prefix)
    stack = _stack(path.rsplit(".", 1)[0] if "." in path else "")
    return Address(stack, None, _outside(path), expert)


def _expert(name: str) -> re.Match[str] | None:
    return _EXPERT.search(name) or _OF_PROJECTION.search(name) or _OF_GROUP.search(name)


def _outside(path: str) -> str:
    """A path outside blocks, without the container names that say nothing."""
    return re.sub(r"^(model|transformer|base_model)\.(?=.)", "", path)


@lru_cache(maxsize=1 << 14)
def _stack(prefix: str, of_blocks: bool = False) -> str:
    for name, pattern in _STACKS:
        if pattern.search(prefix):
            return name
    leads = _LEADS.search(prefix) if of_blocks else None
    return leads[0] if leads else "model"


def parse_all(names: Iterable[str]) -> list[Address]:
    """The addresses of all weights of one model, where a UNet's nested blocks are layers of their own.

    Lists of blocks that one stack would mix are stacks of their own.
    """
    return _lists_apart(unrolled(_in_company([parse(name) for name in names])))


def distinct_addresses(addresses: Sequence[Address]) -> list[Address]:
    """The addresses of one source, told apart.

    A UNet's transformer blocks that share a place become layers of their own; lists of blocks that look alike
    are stacks of their own, each as a whole; so is a module that looks like another one.

    >>> a, b = parse("first.blocks.0.attn.to_q"), parse("second.blocks.0.attn.to_q")
    >>> [x.stack for x in distinct_addresses([a, b, parse("second.blocks.1.attn.to_v")])]
    ['model', 'model_2', 'model_2']
    """
    seen: Counter[Address] = Counter()
    addresses = _lists_apart(unrolled(_in_company(addresses)))
    taken, out = set(addresses), []
    for address in addresses:
        seen[address] += 1
        new, k = address, seen[address]
        while k > 1 and (new := replace(address, stack=f"{address.stack}_{k}")) in taken:
            k += 1
        taken.add(new)
        out.append(new)
    return out


def _in_company(addresses: Sequence[Address]) -> Sequence[Address]:
    """The same, where words that several models have mean what they do in the one whose blocks are there."""
    addresses = _encoders_in_order(addresses)
    stacks = {address.stack for address in addresses if address.layer is not None}
    if stacks.intersection(NESTED):
        return [_beside_nested_blocks(a) for a in addresses]
    lists = {address.blocks for address in addresses}
    shared = any(map(IMAGE_BLOCKS.search, lists)) or any(
        _OF_A_DENOISER.match(a.module_type) for a in addresses
    )
    if not shared and not stacks.intersection(_OF_TRANSFORMERS):
        return addresses
    told = {a.module_type for a in addresses if a.blocks in BARE_LISTS} if lists & BARE_LISTS else set()
    if not told.isdisjoint(BARE):
        addresses = [_prefixed(a) for a in addresses]
    gated = not told.isdisjoint(OF_GATED)
    return [_beside_blocks(a, shared, gated) for a in addresses]


def _encoders_in_order(addresses: Sequence[Address]) -> Sequence[Address]:
    """Text encoders that ComfyUI does not number, at their places in diffusers' pipelines.

    A language model comes before CLIP (HunyuanVideo, which alone refines its tokens, and Kandinsky 5), or
    last of four where there are two CLIPs (HiDream).
    """
    lists = {a.blocks for a in addresses if a.stack == "text_encoder" and a.layer is not None}
    before = any(map(_OF_A_LANGUAGE_MODEL.search, lists)) or any(
        a.stack == "token_refiner" for a in addresses
    )
    if not (before and any(map(_OF_CLIP.search, lists))):
        return addresses
    two = any(a.stack == "text_encoder_2" for a in addresses)
    moved, to = (_OF_A_LANGUAGE_MODEL, "text_encoder_4") if two else (_OF_CLIP, "text_encoder_2")
    return [
        replace(
            a, stack=to, blocks=_FIRST_ENCODER.sub(to, a.blocks),
            module_type=_FIRST_ENCODER.sub(to, a.module_type),
        )
        if a.stack == "text_encoder" and moved.search(a.blocks or a.module_type) else a
        for a in addresses
    ]  # fmt: skip


def _prefixed(address: Address) -> Address:
    """A module of a denoiser that lacks the prefix by which its words mean what they do in it."""
    if address.layer is None:
        return parse(f"{DENOISER[0]}{address.module_type}") if address.stack == "model" else address
    if address.blocks not in BARE_LISTS or address.expert is not None:
        return address
    return parse(f"{DENOISER[0]}{address.blocks}.{address.layer}.{address.module_type}")


def _beside_nested_blocks(address: Address) -> Address:
    """A module of a U-Net outside its places, whose own name says nothing of the U-Net."""
    path = address.module_type if address.layer is None else f"{address.blocks}.{address.layer}"
    if address.stack != "model" or not is_of_unet(path):
        return address
    return parse(f"unet.{path}" if address.layer is None else f"unet.{path}.{address.module_type}")


def _beside_blocks(address: Address, shared: bool, gated: bool) -> Address:
    """A module of a transformer: its words that others share, and a first projection whose gate leads."""
    if gated and address.blocks in BARE_LISTS and address.module_type == GATE_FIRST.name:
        return replace(address, module_type=GATE_FIRST.spelled, gate_first=True)
    if address.layer is not None:
        return address
    if shared and SHARED.fullmatch(address.module_type):
        return parse(f"{DENOISER[0]}{address.module_type}")
    if address.stack == "unet":
        return parse(f"transformer.{address.module_type.removeprefix('unet.')}")
    return address


def _lists_apart(addresses: Sequence[Address]) -> list[Address]:
    """The same, where other lists of one stack are stacks of their own.

    Lists are one where a file spells it in two ways: by paths that say the same, and without an address that
    both have. The list with the shortest path keeps the stack's name; the others are numbered by their words,
    whether dots or underscores part these.
    """
    lists: defaultdict[str, defaultdict[str, set[Address]]] = defaultdict(lambda: defaultdict(set))
    for address in addresses:
        if address.layer is not None:
            lists[address.stack][address.blocks].add(address)
    renamed: dict[tuple[str, str], str] = {}
    for stack, of in lists.items():
        apart: list[tuple[list[str], set[Address]]] = []
        for blocks in sorted(of, key=_words):
            says = _says(blocks)
            k = next(
                (k for k, (s, known) in enumerate(apart) if s == says and known.isdisjoint(of[blocks])),
                len(apart),
            )
            apart[k:] = [(says, apart[k][1] | of[blocks] if k < len(apart) else of[blocks]), *apart[k + 1 :]]
            if k:
                renamed[stack, blocks] = f"{stack}_{k + 1}"
    if not renamed:
        return list(addresses)
    return [replace(a, stack=renamed.get((a.stack, a.blocks), a.stack)) for a in addresses]


def _words(path: str) -> tuple[int, list[str]]:
    words = re.split(r"[._]", path)
    return len(words), words


def _says(path: str) -> list[str]:
    """What the path of a list says: its words, without wrappers and in one spelling."""
    synonym = IMAGE_BLOCKS.search(path)
    path = f"{path[: synonym.start()]}.*" if synonym else _FFNS.sub("attentions", path)
    return [word for word in _words(path)[1] if word not in _WRAPPERS]
