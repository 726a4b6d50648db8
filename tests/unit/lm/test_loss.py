"""The loss: the cross-entropy of torch, in blocks, without padding."""

import pytest
import torch
from torch.nn import functional

from tunescope.lm.loss import (
    IGNORED,
    divergences,
    mean_loss,
    predicts_next_token,
    sampled_targets,
    sequence_losses,
    targets,
    token_losses,
)


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 200, 7, dtype=torch.float64, generator=generator).requires_grad_()


@pytest.fixture
def labels():
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(0, 7, (3, 200), generator=generator)
    return drawn.masked_fill(torch.rand(3, 200, generator=generator) < 0.3, IGNORED)


def test_values_and_gradient_are_those_of_torch(logits, labels):
    """600 rows span several blocks; value and gradient equal `cross_entropy` in float64."""
    ours = mean_loss(token_losses(logits, labels), labels)
    theirs = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-14)
    (g1,) = torch.autograd.grad(ours, logits)
    (g2,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(g1, g2, rtol=1e-12, atol=1e-15)


def test_bfloat16_logits_are_read_in_float32(logits, labels):
    """A bf16 model's loss is the float32 loss of its rounded logits."""
    low = logits.detach().bfloat16()
    ours = mean_loss(token_losses(low, labels), labels)
    theirs = functional.cross_entropy(low.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)


def test_sequence_losses_average_each_row(logits, labels):
    """A sequence's loss is the mean over its own tokens."""
    rows = sequence_losses(token_losses(logits, labels), labels)
    expected = [functional.cross_entropy(logits[i], labels[i], ignore_index=IGNORED).item() for i in range(3)]
    assert rows.tolist() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("mask", [[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
def test_padding_neither_predicts_nor_is_predicted(mask):
    """Padding on either side is left out even where its label is a token."""
    found = targets(torch.tensor([[10, 11, 12, 13, 14]]), torch.tensor([mask]), shift=True)
    real = [10 + i for i in range(5) if mask[i]]
    assert [t for t in found[0].tolist() if t != IGNORED] == real[1:]


def test_a_masked_model_predicts_in_place():
    """Without the shift every position predicts its own label."""
    found = targets(torch.tensor([[IGNORED, 4, IGNORED]]), torch.ones(1, 3, dtype=torch.long), shift=False)
    assert found.tolist() == [[IGNORED, 4, IGNORED]]


def test_masked_models_are_told_from_causal_ones():
    """The class name decides, as it does in transformers."""
    masked = type("TinyForMaskedLM", (torch.nn.Module,), {})()
    causal = type("TinyForCausalLM", (torch.nn.Module,), {})()
    assert predicts_next_token(causal)
    assert not predicts_next_token(masked)


def test_sampled_labels_follow_the_prediction():
    """Drawn labels have the model's own frequencies, and positions without a target keep none."""
    logits = torch.tensor([0.1, 0.2, 0.7]).log().expand(1, 6000, 3)
    target = torch.zeros(1, 6000, dtype=torch.long)
    target[0, ::2] = IGNORED
    drawn = sampled_targets(logits, target, torch.Generator().manual_seed(0))
    assert (drawn[0, ::2] == IGNORED).all()
    shares = torch.bincount(drawn[0, 1::2], minlength=3) / 3000
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.7]), atol=0.03, rtol=0)


def test_divergence_is_torch_s_kl(logits):
    """KL of every row as torch computes it, and zero of a prediction with itself."""
    p, q = logits.detach().flatten(0, 1)[:300], logits.detach().flatten(0, 1)[300:]
    theirs = functional.kl_div(q.log_softmax(-1), p.log_softmax(-1), reduction="none", log_target=True)
    torch.testing.assert_close(divergences(p, q), theirs.sum(-1))
    assert divergences(p, p).abs().max() < 1e-12
