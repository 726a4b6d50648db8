"""Which matrices files hold the other way round than their layers apply them."""

import re

from tunescope.address import Address

# Models whose projections are stored (d_in, d_out).
_CONV1D = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
_CONV1D_NAMES = re.compile(r"(^|\.)(c_attn|c_proj|c_fc|q_attn)(\.weight)?$")
# Layers that embed by a product, stored like any other: of patches, of times, projections among embeddings.
_LINEAR = re.compile(
    r"(proj|patch|mlp|relative_pos_embeddings|linear|dense|fc|mapping|vision_embed|embedder)[^.]*(\.\d+)*$|time(step)?_(text_)?embed",
    re.I,
)


def is_table(address: Address) -> bool:
    """Whether a weight is a table of embeddings, of which a row is looked up."""
    embeds = address.family == "embedding" and address.component != "LM_HEAD"
    return embeds and not _LINEAR.search(address.module_type)


def stored_turned(name: str, address: Address, shape: tuple[int, ...], kind: str) -> bool:
    """Whether a matrix is stored (d_in, d_out): a table of an embedding, a Conv1D of GPT-2."""
    if len(shape) != 2:
        return False
    return is_table(address) or (kind in _CONV1D and _CONV1D_NAMES.search(name) is not None)
