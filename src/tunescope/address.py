"""Parameter name → `Address`: stack, layer, module path, expert; and the short component names."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

FAMILIES = ("attention", "mlp", "norm", "embedding", "other")


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where a weight sits in a model.

    `stack` names the tower (`model` where there is only one), `layer` is the block's index (`None`
    outside blocks), `module_type` the path after that index (the whole path outside blocks), `expert`
    the index of a mixture-of-experts expert.
    """

    stack: str
    layer: int | None
    module_type: str
    expert: int | None = None

    @property
    def family(self) -> str:
        """One of `attention`, `mlp`, `norm`, `embedding`, `other`."""
        return _classify(self.module_type)[0]

    @property
    def component(self) -> str:
        """The component without its layer, such as `ATTN_K`, `MLP_GATE`, `ATTN_QKV`."""
        return _classify(self.module_type)[1]


# (regular expression on the end of module_type, family, component); the first that fits wins.
_RULES: tuple[tuple[str, str, str], ...] = (
    (r"(norm|ln|layernorm|layer_norm)[^.]*$", "norm", ""),
    (r"(^|\.)ln_\w+$", "norm", ""),
    (
        r"(EncDecAttention|encoder_attn|crossattention|attn2)\..*?\b(q|q_proj|query|to_q)$",
        "attention",
        "XATTN_Q",
    ),
    (
        r"(EncDecAttention|encoder_attn|crossattention|attn2)\..*?\b(k|k_proj|key|to_k)$",
        "attention",
        "XATTN_K",
    ),
    (
        r"(EncDecAttention|encoder_attn|crossattention|attn2)\..*?\b(v|v_proj|value|to_v)$",
        "attention",
        "XATTN_V",
    ),
    (
        r"(EncDecAttention|encoder_attn|crossattention|attn2)\..*?\b(o|out_proj|output\.dense|to_out(\.0)?)$",
        "attention",
        "XATTN_O",
    ),
    (r"\b(q_proj|query|to_q|q_lin|wq|SelfAttention\.q|self\.q|attn\.q|attention\.q)$", "attention", "ATTN_Q"),
    (r"\b(k_proj|key|to_k|k_lin|wk|SelfAttention\.k|self\.k|attn\.k|attention\.k)$", "attention", "ATTN_K"),
    (r"\b(v_proj|value|to_v|v_lin|wv|SelfAttention\.v|self\.v|attn\.v|attention\.v)$", "attention", "ATTN_V"),
    (r"\b(qkv_proj|query_key_value|c_attn|qkv|Wqkv|in_proj_weight|attn\.in_proj)$", "attention", "ATTN_QKV"),
    (
        r"\b(o_proj|to_out(\.0)?|out_lin|attention\.output\.dense|SelfAttention\.o|attention\.dense|"
        r"self_attention\.dense|attention\.wo|(?:self_)?attn\.(c_proj|proj|out_proj|dense)|attention\.out_proj)$",
        "attention",
        "ATTN_O",
    ),
    (r"\b(q_norm|k_norm)$", "norm", ""),
    (r"(^|\.)(mlp|block_sparse_moe|feed_forward|moe)\.(gate|router)(\.\w+)?$", "mlp", "MLP_ROUTER"),
    (r"\bshared_experts?\.gate_proj$", "mlp", "MLP_SHARED_GATE"),
    (r"\bshared_experts?\.up_proj$", "mlp", "MLP_SHARED_UP"),
    (r"\bshared_experts?\.down_proj$", "mlp", "MLP_SHARED_DOWN"),
    (r"\bgate_up_proj$", "mlp", "MLP_GATE_UP"),
    (r"\b(gate_proj|w1|wi_0)$", "mlp", "MLP_GATE"),
    (
        r"\b(up_proj|w3|wi_1|wi|c_fc|intermediate\.dense|dense_h_to_4h|fc1|lin1|fc_in|net\.0\.proj)$",
        "mlp",
        "MLP_UP",
    ),
    (
        r"\b(down_proj|w2|mlp\.c_proj|dense_4h_to_h|fc2|lin2|fc_out|output\.dense|DenseReluDense\.wo|net\.2)$",
        "mlp",
        "MLP_DOWN",
    ),
    (r"(^|\.)(lm_head|embed_out)$", "embedding", "LM_HEAD"),
    (
        r"(^|\.)(embed_tokens|wte|word_embeddings|tok_embeddings|embed_in|shared|token_embedding)$",
        "embedding",
        "EMBED",
    ),
    (r"(^|\.)(wpe|position_embeddings?|embed_positions)$", "embedding", "EMBED_POSITION"),
    (r"embed", "embedding", ""),
)
_COMPILED = tuple((re.compile(pattern), family, component) for pattern, family, component in _RULES)
_ATTENTION = re.compile(r"att(n|ention)", re.IGNORECASE)
_MLP = re.compile(r"mlp|ffn|feed_?forward|ff\.|experts|moe|DenseReluDense", re.IGNORECASE)
_FAMILY_PREFIX = {"attention": "ATTN", "mlp": "MLP", "norm": "NORM", "embedding": "EMBED"}
_classified: dict[str, tuple[str, str]] = {}


def _classify(module_type: str) -> tuple[str, str]:
    if module_type not in _classified:
        _classified[module_type] = _classify_afresh(module_type)
    return _classified[module_type]


def _classify_afresh(module_type: str) -> tuple[str, str]:
    module, bias = (module_type[:-5], "_BIAS") if module_type.endswith(".bias") else (module_type, "")
    for pattern, family, component in _COMPILED:
        if pattern.search(module):
            return family, (component or _spelled(module, family)) + bias
    family = "attention" if _ATTENTION.search(module) else "mlp" if _MLP.search(module) else "other"
    return family, _spelled(module, family) + bias


def _spelled(module_type: str, family: str) -> str:
    """The last part of the path in capitals, behind its family's prefix unless that says nothing new."""
    tail = re.sub(r"[^A-Za-z0-9]+", "_", module_type.rsplit(".", 1)[-1]).strip("_").upper() or "ROOT"
    prefix = _FAMILY_PREFIX.get(family)
    return tail if prefix is None or prefix in tail else f"{prefix}_{tail}"


_STACKS: tuple[tuple[str, str], ...] = (
    ("vision", r"(^|[._])(vision\w*|visual|image_encoder|img\w*)($|\.)"),
    ("audio", r"(^|[._])audio\w*($|\.)"),
    ("text_encoder_2", r"(^|\.)(text_encoder_2|te2)($|\.)"),
    ("text_encoder", r"(^|\.)(text_encoder|te|te1)($|\.)"),
    ("unet", r"(^|\.)unet($|\.)"),
    ("text", r"(^|\.)text_model($|\.)"),
    ("language", r"(^|\.)language_model($|\.)"),
    ("single_blocks", r"(^|\.)single_(transformer_)?blocks$"),
    ("decoder", r"(^|\.)decoder($|\.)"),
    ("encoder", r"(^|\.)encoder($|\.)"),
)
_COMPILED_STACKS = tuple((name, re.compile(pattern)) for name, pattern in _STACKS)
# A number of more digits counts no layers or experts; it stays a part of the name.
_EXPERT = re.compile(r"(?:^|\.)experts?\.(\d{1,6})(?=\.|$)")
_LAYER = re.compile(r"^(.*?[A-Za-z_]\w*)\.(\d{1,6})(?:\.(.+))?$")
_UNET = re.compile(
    r"(?:^|\.)(down_blocks|up_blocks|mid_block)(?:\.(\d{1,6}))?\.(attentions|resnets|downsamplers|upsamplers)\.(\d{1,6})\.(.+)$"
)


def parse(name: str) -> Address:
    """The address of a parameter or module, from its dotted name in the model.

    Wrapper prefixes must be gone already; a final `.weight` is ignored and `.bias` stays in
    `module_type`. In a diffusion UNet, where blocks are nested, `layer` counts the places where an
    attention or residual block sits, in network order (12 down, 1 middle, 12 up in Stable Diffusion 1).

    >>> parse("model.layers.24.self_attn.k_proj.weight")
    Address(stack='model', layer=24, module_type='self_attn.k_proj', expert=None)
    >>> parse("model.layers.3.mlp.experts.7.w1")
    Address(stack='model', layer=3, module_type='mlp.experts.w1', expert=7)
    >>> parse("lm_head.weight").layer is None
    True
    """
    name = name.removesuffix(".weight")
    if unet := _UNET.search(name):
        return _unet_address(name, unet)
    path, expert = name, None
    if found := _EXPERT.search(name):
        expert = int(found.group(1))
        path = name[: found.start(1) - 1] + name[found.end(1) :]
    if (found := _LAYER.match(path)) and found.group(3):
        prefix, layer, module_type = found.group(1), int(found.group(2)), found.group(3)
        return Address(_stack(prefix), layer, module_type, expert)
    stack = _stack(path.rsplit(".", 1)[0] if "." in path else "")
    return Address(stack, None, _outside(path), expert)


def _outside(path: str) -> str:
    """A path outside blocks, without the container names that say nothing."""
    return re.sub(r"^(model|transformer|base_model)\.(?=.)", "", path)


def _stack(prefix: str) -> str:
    for name, pattern in _COMPILED_STACKS:
        if pattern.search(prefix):
            return name
    return "model"


def _unet_address(name: str, found: re.Match[str]) -> Address:
    part, block, kind, index, rest = found.groups()
    i, j = int(block or 0), int(index)
    offset = {"downsamplers": 2, "upsamplers": 2}.get(kind, j)
    layer = {"down_blocks": 3 * i + offset + 1, "mid_block": 12, "up_blocks": 13 + 3 * i + offset}[part]
    # The middle block has two residual blocks at one place; everywhere else the place tells them apart.
    detail = f"{j}.{rest}" if part == "mid_block" and j else rest
    stack = _stack(name[: found.start(1)].rstrip("."))
    return Address("unet" if stack == "model" else stack, layer, f"{kind}.{detail}")


def distinct_addresses(addresses: Sequence[Address]) -> list[Address]:
    """The same addresses, where blocks that look like others of the source become a stack of their own.

    >>> a = parse("blocks.0.attn.to_q")
    >>> [b.stack for b in distinct_addresses([a, a])]
    ['model', 'model_2']
    """
    seen: Counter[Address] = Counter()
    taken, out = set(addresses), []
    for address in addresses:
        seen[address] += 1
        new, k = address, seen[address]
        while k > 1 and (new := replace(address, stack=f"{address.stack}_{k}")) in taken:
            k += 1
        taken.add(new)
        out.append(new)
    return out


def component_names(addresses: Sequence[Address]) -> list[str]:
    """A short name for every address, unique within the sequence, such as `L24_ATTN_K`.

    The stack leads where there are several stacks, the expert ends the name where there is one, and the
    whole module path replaces the short component where two modules would share it.

    >>> component_names([parse("h.2.attn.c_attn"), parse("h.2.mlp.c_fc")])
    ['L2_ATTN_QKV', 'L2_MLP_UP']
    """
    several = len({a.stack for a in addresses}) > 1
    names = [_name(a, a.component, several) for a in addresses]
    clashing = _repeated(names)
    names = [
        _name(a, re.sub(r"[^A-Za-z0-9]+", "_", a.module_type).upper(), several) if n in clashing else n
        for a, n in zip(addresses, names, strict=True)
    ]
    return _numbered(names)


def _name(address: Address, component: str, with_stack: bool) -> str:
    parts = [address.stack.upper()] if with_stack else []
    parts += [] if address.layer is None else [f"L{address.layer}"]
    parts += [component] + ([] if address.expert is None else [f"E{address.expert}"])
    return "_".join(parts)


def _repeated(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def _numbered(names: list[str]) -> list[str]:
    """The names with `_2`, `_3`, … behind later copies of a name that still repeats."""
    taken = set(names)
    seen: Counter[str] = Counter()
    out = []
    for name in names:
        seen[name] += 1
        new, k = name, seen[name]
        while k > 1 and (new := f"{name}_{k}") in taken:
            k += 1
        taken.add(new)
        out.append(new)
    return out
