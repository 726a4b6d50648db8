"""Which matrices files hold the other way round than their layers apply them."""

import re

from tunescope.address import Address

# Models whose projections are stored (d_in, d_out).
_CONV1D = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
_CONV1D_NAMES = re.compile(r"(^|\.)(c_attn|c_proj|c_fc|q_attn)(\.weight)?$")
# What tables are looked up by: the word before `embedding` in the names of nn.Embedding in transformers and
# diffusers. Whatever else embeds is a product, stored like any other: of patches, times, texts, conditions.
_LOOKED_UP = (
    "word|token|tok|type|position|pos|positional|row|column|col|height|width|segment|lang|language|entity|speaker|"
    "char|codec|code|unit|label|value|query|level|mask|point|style|tile|generation|ngram|task|relative|rel|"
    "distance|h|w|x|y"
)
_TABLE = re.compile(
    r"(?:^|\.)(?:"
    rf"(?!relative_pos_embeddings)(?:\w+_)?(?:{_LOOKED_UP})s?_(?:embeddings?|embeds?|embd|emb)(?:_table|_layer)?"
    r"|(?!vision_)(?:\w+_)?embed_(?:\w+_)?(?:tokens|positions|timestep|char|speaker|in)(?:_per_layer)?"
    # A list of tables; a numbered layer of another name is one of a Sequential.
    r"|(?:\w+_)?(?:embed_tokens|codec_embedding|code_embedding)\.\d+"
    r"|(?:tokens|positions)_embed|wte|wpe|shared|embeddings?|embed|emb"
    r")$"
)


def is_table(address: Address) -> bool:
    """Whether a weight is a table of embeddings, of which a row is looked up."""
    embeds = address.family == "embedding" and address.component != "LM_HEAD"
    return embeds and _TABLE.search(address.module_type) is not None


def stored_turned(name: str, address: Address, shape: tuple[int, ...], kind: str) -> bool:
    """Whether a matrix is stored (d_in, d_out): a table of an embedding, a Conv1D of GPT-2."""
    if len(shape) != 2:
        return False
    return is_table(address) or (kind in _CONV1D and _CONV1D_NAMES.search(name) is not None)
