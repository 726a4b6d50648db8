"""Which sequences are recorded and at what length; the recorded passes themselves need a GPU."""

import pytest
import torch
from torch import nn

from tunescope.lm.parameters import parameters_of
from tunescope.questions.importance.graphs import LONGEST, padded_length
from tunescope.questions.importance.passes import PassSums, rounding


@pytest.mark.parametrize("tokens", [2, 63, 64, 65, 511, 512, 513, 1024, 1025, LONGEST])
def test_padding_is_at_most_an_eighth_and_lengths_are_few(tokens):
    """A sequence never shrinks; what is asked for often (512, 1024, 2048) is not padded at all."""
    length = padded_length(tokens, None)
    assert tokens <= length < tokens + max(64, tokens / 8 + 1)
    assert (length == tokens) == (tokens in (64, 512, 1024, LONGEST))
    assert len({padded_length(n, None) for n in range(1, LONGEST + 1)}) == 24


def test_padding_stays_within_the_model():
    """No position beyond the model's own, and none where the sequence fills it."""
    assert padded_length(1000, 1001) == 1001
    assert padded_length(1000, 1000) == 1000
    assert padded_length(100, 4096) == 128


def _sums(values: list[float]) -> torch.Tensor:
    return torch.tensor([[v, 0.0, 0.0, 0.0] for v in values], dtype=torch.float64)


def test_two_ways_agree_by_their_labelled_sums():
    """Within the part that is allowed of the whole map; drawn labels decide only where they are alone."""
    one = PassSums(None, _sums([100.0, 1.0]), _sums([5.0, 5.0]))
    assert one.agrees(PassSums(None, _sums([100.5, 1.0]), _sums([9.0, 1.0])), 0.01)
    assert not one.agrees(PassSums(None, _sums([104.0, 1.0]), _sums([5.0, 5.0])), 0.01)
    drawn = PassSums(None, None, _sums([5.0, 5.0]))
    assert drawn.agrees(PassSums(None, None, _sums([5.5, 5.0])), 0.01)
    assert not drawn.agrees(PassSums(None, None, _sums([9.0, 5.0])), 0.01)
    assert not drawn.agrees(PassSums(None, None, _sums([torch.nan, 5.0])), 0.01)


def test_the_coarsest_weights_set_the_rounding():
    """A model with any bfloat16 tensor is compared as one of bfloat16."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).to(torch.bfloat16))
    assert rounding(parameters_of(model)) == pytest.approx(0.011, rel=0.01)
    assert rounding(parameters_of(model[:1])) == pytest.approx(4.3e-5, rel=0.01)
