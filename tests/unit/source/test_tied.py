"""Which table a head without a weight of its own is tied to."""

from tunescope.address import parse
from tunescope.source.tied import table_of

TABLES = ("encoder.embeddings.word_embeddings.weight", "decoder.bert.embeddings.word_embeddings.weight")


def test_of_two_tables_that_fit_a_head_is_tied_to_the_one_in_its_tower() -> None:
    head = parse("decoder.cls.predictions.decoder.weight")
    tables = {parse(name): (32, 16) for name in TABLES}
    assert table_of(head, (32, 16), tables) == parse(TABLES[1])
    assert table_of(parse("lm_head.weight"), (32, 16), tables) is None
    assert table_of(head, (33, 16), tables) is None
