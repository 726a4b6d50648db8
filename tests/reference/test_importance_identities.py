"""Exact identities of the gradient scores, in float64, on models small enough to check by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from tunescope.lm.batches import checked
from tunescope.lm.forward import Forward
from tunescope.lm.loss import mean_loss, token_losses
from tunescope.lm.parameters import parameters_of
from tunescope.lm.session import scoring_session
from tunescope.questions.importance.gradient_scores import GradientScores
from tunescope.questions.importance.measurement import Options, measure
from tunescope.questions.importance.reducer import GradientReducer
from tunescope.questions.importance.setting import Setting

from .importance_models import llama, mixtral, qwen3, sequences, side_by_side

LENGTHS = [9, 14, 6, 11, 14, 8]


def _signed(model, batches):
    """Σ g·w of every parameter name, summed over sequences."""
    parameters = parameters_of(model)
    with scoring_session(model), GradientReducer(parameters) as reducer:
        setting = Setting(Forward(model, True), parameters, 0)
        for batch in checked(batches):
            setting.losses(batch).sum().backward()
        sums = reducer.take()
    return {(row.layer, row.parameter): float(s) for row, s in zip(parameters.rows, sums[:, 1], strict=True)}


def _brute(model, batches):
    """Mean over sequences of Σ|g·w|, with torch's own loss and kept gradients."""
    totals = {name: 0.0 for name, _ in model.named_parameters()}
    for batch in batches:
        model.zero_grad()
        logits = model(batch["input_ids"]).logits[0, :-1]
        functional.cross_entropy(logits, batch["labels"][0, 1:], ignore_index=-100).backward()
        for name, p in model.named_parameters():
            totals[name] += float((p.grad.double() * p.detach().double()).abs().sum())
    model.zero_grad()
    return np.array([total / len(batches) for total in totals.values()])


@pytest.mark.parametrize("family", [qwen3, llama])
def test_signed_sums_obey_the_symmetries_of_the_block(family):
    """Rescaling one factor of a product against another cannot change the loss, so their sums agree."""
    model = family()
    # The norms' epsilon and float32 cast are the only places where scaling is not exact.
    S = _signed(model, sequences(LENGTHS))
    for layer in range(3):
        v = S[layer, "self_attn.v_proj"]
        near = {"abs": 1e-4 * abs(v)}
        assert S[layer, "self_attn.o_proj"] == pytest.approx(v, **near)
        assert S[layer, "mlp.up_proj"] == pytest.approx(S[layer, "mlp.down_proj"], **near)
        both = S[layer, "mlp.gate_proj"] + S[layer, "mlp.up_proj"]
        assert S[layer, "post_attention_layernorm"] == pytest.approx(both, **near)
        if family is qwen3:
            assert S[layer, "self_attn.q_proj"] == pytest.approx(0, **near)
            assert S[layer, "self_attn.k_proj"] == pytest.approx(0, **near)
            assert S[layer, "self_attn.q_norm"] == pytest.approx(S[layer, "self_attn.k_norm"], **near)
            assert S[layer, "input_layernorm"] == pytest.approx(v, **near)
        else:
            # Without norms on q and k the input norm scales them too.
            q, k = S[layer, "self_attn.q_proj"], S[layer, "self_attn.k_proj"]
            assert q == pytest.approx(k, **near)
            assert S[layer, "input_layernorm"] == pytest.approx(q + k + v, **near)
        assert abs(v) > 1e-4


@pytest.mark.parametrize("family", [qwen3, llama])
def test_folding_a_norm_changes_no_score(family):
    """A norm's weight folded into the next projections is the same function: their scores stay."""
    model, batches = family(), sequences(LENGTHS)
    options = Options(methods=("taylor", "curvature"), layer_importance=False)
    before = measure(model, batches, options)
    folded = {"mlp.gate_proj", "mlp.up_proj"}
    with torch.no_grad():
        for layer in model.model.layers:
            norm = layer.post_attention_layernorm.weight
            for module in (layer.mlp.gate_proj, layer.mlp.up_proj):
                module.weight.mul_(norm)
            norm.fill_(1)
    after = measure(model, batches, options)
    rows = [i for i, row in enumerate(before.parameters.rows) if row.parameter in folded]
    for method in options.methods:
        np.testing.assert_allclose(
            after.moments(method).mean[rows], before.moments(method).mean[rows], rtol=1e-5
        )


@pytest.mark.parametrize("family", [qwen3, llama])
def test_taylor_is_the_brute_force_loop(family):
    """One sequence per backward pass, |g·w| summed over every weight."""
    model, batches = family(), sequences(LENGTHS)
    found = measure(model, batches, Options(layer_importance=False)).moments("taylor")
    np.testing.assert_allclose(found.mean, _brute(model, batches), rtol=1e-10)
    assert found.n == len(LENGTHS)


@pytest.mark.parametrize("left", [False, True])
def test_taylor_depends_on_neither_batch_nor_padding(left):
    """Six sequences one by one, or padded side by side with labels on the padding: one answer."""
    model, batches = qwen3(), sequences(LENGTHS)
    single = measure(model, batches, Options(layer_importance=False))
    together = measure(model, side_by_side(batches, left), Options(layer_importance=False))
    np.testing.assert_allclose(together.moments("taylor").mean, single.moments("taylor").mean, rtol=1e-12)
    np.testing.assert_allclose(
        together.moments("taylor").stderr(), single.moments("taylor").stderr(), rtol=1e-9
    )
    assert single.data_hash == together.data_hash
    assert together.moments("loss").mean == pytest.approx(single.moments("loss").mean, rel=1e-12)


def test_the_standard_error_is_that_of_the_mean():
    """s/√n over the sequences' own scores."""
    model, batches = qwen3(), sequences(LENGTHS)
    each = np.array([_brute(model, [batch]) for batch in batches])
    found = measure(model, batches, Options(layer_importance=False)).moments("taylor")
    np.testing.assert_allclose(found.stderr(), each.std(axis=0, ddof=1) / np.sqrt(len(each)), rtol=1e-9)


def _enumerated_fisher(model, batches):
    """½ Σ w²F and Σ F with F the token-mean expectation over every label of the squared gradient."""
    named = list(model.named_parameters())
    fisher = [torch.zeros_like(p) for _, p in named]
    tokens = 0
    for batch in batches:
        likelihoods = model(batch["input_ids"]).logits[0].log_softmax(-1)
        for t in range(batch["input_ids"].shape[1] - 1):
            if batch["labels"][0, t + 1] == -100:
                continue
            tokens += 1
            for label in range(likelihoods.shape[-1]):
                gradients = torch.autograd.grad(
                    likelihoods[t, label], [p for _, p in named], retain_graph=True, allow_unused=True
                )
                for total, g in zip(fisher, gradients, strict=True):
                    total += likelihoods[t, label].exp().detach() * g.square()
    curvature = [
        0.5 * float((p.detach() ** 2 * f).sum()) / tokens for (_, p), f in zip(named, fisher, strict=True)
    ]
    return np.array(curvature), np.array([float(f.sum()) / tokens for f in fisher])


@pytest.mark.parametrize("batch_size", [1, 16])
def test_curvature_is_the_fisher_by_enumeration_of_labels(batch_size):
    """Unbiased at any batch size: the average over draws meets the enumeration within its standard error."""
    model = qwen3(torch.float32)
    batches = sequences([6, 5])
    curvature, fisher = _enumerated_fisher(model, batches)
    batches = batches if batch_size == 1 else side_by_side(batches * 8)
    parameters = parameters_of(model)
    draws: dict[str, list] = {"curvature": [], "fisher": []}
    with scoring_session(model), GradientReducer(parameters) as reducer:
        for seed in range(120):
            scorer = GradientScores(Setting(Forward(model, True), parameters, seed), reducer, tuple(draws))
            found = [samples for batch in checked(batches) for samples in scorer(batch)]
            for method, values in draws.items():
                mine = [s for s in found if s.method == method]
                weights = [s.weights[0] for s in mine]
                values.append(np.average([s.values[0] for s in mine], axis=0, weights=weights))
    for method, exact in (("curvature", curvature), ("fisher", fisher)):
        each = np.array(draws[method])
        error = each.std(axis=0, ddof=1) / np.sqrt(len(each))
        z = (each.mean(axis=0) - exact) / error
        assert np.abs(z).max() < 5
        # The whole map is unbiased much more sharply than its parts.
        total = each.sum(axis=1)
        assert total.mean() == pytest.approx(exact.sum(), abs=3 * total.std(ddof=1) / np.sqrt(len(total)))
        assert total.std(ddof=1) / np.sqrt(len(total)) < 0.06 * exact.sum()


def test_zeroing_costs_minus_the_signed_sum_where_the_loss_is_linear():
    """The sum of the logits is linear in the head: leaving it out changes it by exactly −Σ g·w."""
    model = qwen3()
    (batch,) = checked(sequences([9]))
    parameters = parameters_of(model)
    with scoring_session(model), GradientReducer(parameters) as reducer:
        setting = Setting(Forward(model, True), parameters, 0)
        setting.logits(batch).sum().backward()
        signed = float(reducer.take()[parameters.row_of("lm_head.weight").first, 1])
        with torch.no_grad():
            before = setting.logits(batch).sum()
            model.lm_head.weight.zero_()
            after = setting.logits(batch).sum()
    assert float(after - before) == pytest.approx(-signed, rel=1e-12)


def test_zero_tensors_score_zero():
    """A tensor of zeros moves nothing under any score that multiplies by the weight."""
    model = qwen3()
    with torch.no_grad():
        model.model.layers[1].mlp.gate_proj.weight.zero_()
    methods = ("taylor", "curvature", "magnitude", "wanda", "ablation", "noise")
    found = measure(model, sequences([9, 8]), Options(methods=methods, layer_importance=False))
    row = found.parameters.row_of("model.layers.1.mlp.gate_proj.weight").first
    assert found.magnitude[row] == 0
    for method in set(methods) - {"magnitude"}:
        assert found.moments(method).mean[row] == 0, method


def test_tied_embeddings_are_one_row_with_the_whole_gradient():
    """The row of a tied embedding sums over its use at the input and at the output."""
    model, batches = qwen3(tied=True), sequences([9, 8])
    found = measure(model, batches, Options(layer_importance=False))
    names = [row.name for row in found.parameters.rows]
    assert names.count("model.embed_tokens.weight") == 1
    assert "lm_head.weight" not in names
    np.testing.assert_allclose(found.moments("taylor").mean, _brute(model, batches), rtol=1e-10)


def test_fused_experts_have_a_row_each():
    """The rows of fused experts add up to their tensor, and each is its own slice's |g·w|."""
    model, batches = mixtral(torch.float32), sequences([9, 8])
    found = measure(model, batches, Options(layer_importance=False))
    entry = found.parameters.row_of("model.layers.0.mlp.experts.down_proj")
    assert entry.groups == 4
    rows = found.parameters.rows[entry.first : entry.first + 4]
    assert [(row.expert, row.parameter) for row in rows] == [(i, "mlp.experts.down_proj") for i in range(4)]
    mean = found.moments("taylor").mean
    by_name = {}
    for row, value in zip(found.parameters.rows, mean, strict=True):
        by_name[row.name] = by_name.get(row.name, 0) + value
    np.testing.assert_allclose(list(by_name.values()), _brute(model, batches), rtol=1e-5)
    slices = np.zeros(4)
    for batch in batches:
        model.zero_grad()
        logits = model(batch["input_ids"]).logits[0, :-1]
        functional.cross_entropy(logits, batch["labels"][0, 1:], ignore_index=-100).backward()
        slices += (entry.parameter.grad * entry.parameter).detach().abs().sum((1, 2)).numpy() / 2
    np.testing.assert_allclose(mean[entry.first : entry.first + 4], slices, rtol=1e-5)


def _kept(model):
    return sum(p.grad is not None for p in model.parameters())


def test_no_gradient_is_left_behind():
    """The hook frees every gradient before the backward pass goes on."""
    model = qwen3()
    alive = []
    with scoring_session(model), GradientReducer(parameters_of(model)):
        for p in model.parameters():
            p.register_post_accumulate_grad_hook(lambda _: alive.append(_kept(model)))
        (batch,) = checked(sequences([9]))
        logits = model(batch.input_ids).logits
        mean_loss(token_losses(logits, batch.labels), batch.labels).backward()
    assert len(alive) == len(list(model.parameters()))
    assert max(alive) == 0
