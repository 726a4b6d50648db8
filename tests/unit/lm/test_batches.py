"""Batches: checked, padded, cut into sequences."""

import pytest
import torch

from tunescope.corpus.encoding import Example
from tunescope.errors import BadInput, UsageError
from tunescope.lm.batches import DataHash, checked, padded

EXAMPLES = [Example([5, 6, 7], [-100, 6, 7]), Example([8], [8]), Example([9, 10], [9, 10])]


def _hash(batches):
    digest = DataHash()
    for batch in checked(batches):
        digest.add(batch)
    return digest.hex()


def test_sequences_come_back_without_padding():
    """Padding goes, order and numbering stay."""
    batches = list(checked(padded(EXAMPLES, 2)))
    singles = [s for batch in batches for s in batch.sequences()]
    assert [s.input_ids[0].tolist() for s in singles] == [e.input_ids for e in EXAMPLES]
    assert [s.labels[0].tolist() for s in singles] == [e.labels for e in EXAMPLES]
    assert [s.first for s in singles] == [0, 1, 2]
    assert [b.index for b in batches] == [0, 1]


def test_the_hash_ignores_batching_and_padding():
    """One data set has one hash, another data set another."""
    left = [{"input_ids": [[0, 8]], "attention_mask": [[0, 1]], "labels": [[-100, 8]]}]
    assert _hash(padded(EXAMPLES, 1)) == _hash(padded(EXAMPLES, 3))
    assert _hash(padded(EXAMPLES[1:2], 1)) == _hash(left)
    assert _hash(padded(EXAMPLES, 1)) != _hash(padded(EXAMPLES[:2], 1))


def test_extra_inputs_are_cut_with_the_sequence():
    """What has the shape of the ids loses its padding too."""
    extra = {"token_type_ids": torch.tensor([[0, 1, 1], [1, 0, 0]])}
    (batch,) = checked([{**padded(EXAMPLES[:2], 2)[0], **extra}])
    assert batch.sequence(1).inputs()["token_type_ids"].tolist() == [[1]]


@pytest.mark.parametrize(
    "mapping",
    [
        {"input_ids": [[1, 2]]},
        {"input_ids": [1, 2], "labels": [1, 2]},
        {"input_ids": [[1, 2]], "labels": [[1, 2, 3]]},
        {"input_ids": [[1.0, 2.0]], "labels": [[1, 2]]},
    ],
)
def test_misshapen_batches_are_refused(mapping):
    """Missing labels, flat lists, unequal widths and floats are refused with the batch's number."""
    with pytest.raises(BadInput, match="batch 0"):
        list(checked([mapping]))


def test_empty_batch_size_is_refused():
    """A batch holds at least one sequence."""
    with pytest.raises(UsageError):
        padded(EXAMPLES, 0)


def test_padding_goes_behind_the_tokens() -> None:
    """A model with absolute positions would otherwise count the padding before the first token."""
    left = {
        "input_ids": [[9, 9, 1, 2], [3, 4, 5, 6], [1, 9, 2, 9]],
        "attention_mask": [[0, 0, 1, 1], [1, 1, 1, 1], [1, 0, 1, 0]],
        "labels": [[7, 7, 1, 2], [3, 4, 5, 6], [1, 7, 2, 7]],
    }
    (batch,) = checked([left])
    assert batch.mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]]
    assert [row[:2] for row in batch.input_ids.tolist()] == [[1, 2], [3, 4], [1, 2]]
    assert batch.labels.tolist()[1] == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("key", "wrong"), [("input_ids", -1), ("labels", -1), ("input_ids", 5), ("labels", 5), ("labels", -101)]
)
def test_ids_that_are_no_tokens_are_refused(key: str, wrong: int) -> None:
    """A label of −1 is no token and not the −100 that leaves a token out: it must not count as token 0."""
    batch = {"input_ids": [[1, 2, 3]], "labels": [[-100, 2, 3]]}
    list(checked([batch], vocabulary=5))
    with pytest.raises(BadInput, match="token-range"):
        list(checked([batch | {key: [[1, wrong, 3]]}], vocabulary=5))


def test_ragged_batches_are_refused() -> None:
    with pytest.raises(BadInput, match="batch-shape"):
        list(checked([{"input_ids": [[1, 2], [3]], "labels": [[1, 2], [3]]}]))
