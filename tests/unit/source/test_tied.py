"""Which table a head without a weight of its own is tied to."""

import pytest

from tunescope.address import parse
from tunescope.source.tied import table_of

# Heads and their tables where transformers ties them [models/*/modeling_*.py: _tied_weights_keys].
HEADS = {
    "lm_head": "model.embed_tokens",
    "lm_head.out_proj": "model.decoder.embed_tokens",
    "generator_lm_head": "electra.embeddings.word_embeddings",
    "vocab_projector": "distilbert.embeddings.word_embeddings",
    "mlm_score.decoder": "vilt.embeddings.text_embeddings.word_embeddings",
    "head.decoder": "model.embed_tokens",
    "head": "rwkv.embeddings",
    "output": "git.embeddings.word_embeddings",
}
TABLES = ("encoder.embeddings.word_embeddings.weight", "decoder.bert.embeddings.word_embeddings.weight")


def test_of_two_tables_that_fit_a_head_is_tied_to_the_one_in_its_tower_or_in_the_decoder() -> None:
    head = parse("decoder.cls.predictions.decoder.weight")
    tables = {parse(name): (32, 16) for name in TABLES}
    assert table_of(head, (32, 16), tables) == parse(TABLES[1])
    assert table_of(parse("lm_head.weight"), (32, 16), tables) == parse(TABLES[1])
    assert table_of(head, (33, 16), tables) is None


@pytest.mark.parametrize("head", HEADS)
def test_a_head_of_any_name_is_tied_to_the_table_of_tokens_not_to_that_of_places(head: str) -> None:
    table = parse(f"{HEADS[head]}.weight")
    places = parse("bert.embeddings.position_embeddings.weight")
    assert table_of(parse(f"{head}.weight"), (32, 16), {places: (32, 16), table: (32, 16)}) == table
