"""Scores and their edges: bad data, bad arguments, blocks, classes of equal tensors, early stops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from tunescope.errors import BadInput, UsageError
from tunescope.lm.parameters import parameters_of
from tunescope.questions.importance.ablation import equal_classes
from tunescope.questions.importance.measurement import METHODS, Options, measure

SHAPE = {
    "vocab_size": 13, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 32,
}  # fmt: skip


def _scattered(model):
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=generator) * 0.5 + (p.dim() == 1)
    return model.double().eval()


@pytest.fixture
def model():
    return _scattered(Qwen3ForCausalLM(Qwen3Config(**SHAPE)))


@pytest.fixture
def batches():
    ids = torch.randint(0, 13, (3, 2, 7), generator=torch.Generator().manual_seed(1))
    return [{"input_ids": row, "attention_mask": torch.ones_like(row), "labels": row.clone()} for row in ids]


def test_an_empty_data_set_is_refused(model):
    """Nothing to measure is an error, not a table of zeros."""
    with pytest.raises(BadInput, match="no-sequences"):
        measure(model, [], Options())


def test_labels_that_are_all_ignored_are_refused_with_their_count(model, batches):
    """All labels −100: refused with how many sequences that were."""
    for batch in batches:
        batch["labels"] = torch.full_like(batch["labels"], -100)
    with pytest.raises(BadInput, match="none of 6 sequences"):
        measure(model, batches, Options())


def test_a_sequence_without_labels_is_left_out_and_counted(model, batches):
    """One silent sequence among six: left out, said so, and the others score as they would alone."""
    batches[1]["labels"][0] = -100
    found = measure(model, batches, Options())
    assert found.moments("taylor").n == 5
    assert found.skipped == 1
    assert any("1 of 6 sequences" in notice.text for notice in found.notices)
    kept = [batches[0], {k: v[1:] for k, v in batches[1].items()}, batches[2]]
    np.testing.assert_allclose(
        measure(model, kept, Options()).moments("taylor").mean, found.moments("taylor").mean
    )


@pytest.mark.parametrize("method", ["taylor", "curvature", "ablation"])
def test_a_loss_that_is_not_a_number_is_refused_and_the_model_restored(model, batches, method):
    """NaN weights: refused with method and batch, and the model is as it was, mode and gradients too."""
    model.train()
    model.model.norm.weight.data[0] = torch.nan
    state = torch.get_rng_state()
    with pytest.raises(BadInput, match="not-finite"):
        measure(model, batches, Options(methods=(method,), layer_importance=False))
    assert model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())


def test_training_mode_is_noticed_and_dropout_is_off(batches):
    """A model in training mode scores as in evaluation mode, and the notice says so."""
    config = Qwen3Config(**SHAPE, attention_dropout=0.5)
    model = _scattered(Qwen3ForCausalLM(config))
    quiet = measure(model, batches, Options())
    model.train()
    loud = measure(model, batches, Options())
    np.testing.assert_array_equal(loud.moments("taylor").mean, quiet.moments("taylor").mean)
    assert any("training mode" in notice.text for notice in loud.notices)
    assert not quiet.notices
    assert model.training


@pytest.mark.parametrize(
    "options",
    [
        Options(methods=("tailor",)),
        Options(methods=()),
        Options(precision=0.0),
        Options(precision=float("nan")),
        Options(methods=("noise",), noise_scale=-1.0),
    ],
)
def test_arguments_that_cannot_work_are_refused(model, batches, options):
    """Unknown methods and numbers out of range are usage errors."""
    with pytest.raises(UsageError):
        measure(model, batches, options)


@pytest.mark.parametrize("options", [Options(methods=("taylor", "noise")), Options(state=Path("nowhere"))])
def test_sharded_models_are_refused_what_sharding_would_falsify(model, batches, options, monkeypatch):
    """A process of a sharded model holds a part of each weight, and cannot go on alone."""
    monkeypatch.setattr("tunescope.questions.importance.measurement.is_sharded", lambda _: True)
    with pytest.raises(UsageError, match="sharded-model"):
        measure(model, batches, options)


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_tensors_of_one_class_have_one_ablation(family, batches):
    """Zeroing v, o or the input norm is one thing; likewise q and k, and the whole of the MLP."""
    kind = {"qwen3": (Qwen3ForCausalLM, Qwen3Config), "llama": (LlamaForCausalLM, LlamaConfig)}[family]
    model = _scattered(kind[0](kind[1](**SHAPE)))
    classes = equal_classes(model, parameters_of(model))
    assert max(map(len, classes)) == 4
    by_class = measure(model, batches[:1], Options(methods=("ablation",), layer_importance=False))
    model.config.model_type = "unknown"
    one_by_one = measure(model, batches[:1], Options(methods=("ablation",), layer_importance=False))
    np.testing.assert_allclose(
        by_class.moments("ablation").mean, one_by_one.moments("ablation").mean, atol=1e-12
    )
    assert np.abs(one_by_one.moments("ablation").mean).min() > 1e-6


def test_biased_blocks_are_ablated_tensor_by_tensor():
    """With biases in the block the symmetry is gone, so nothing is shared."""
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, attention_bias=True))
    assert max(map(len, equal_classes(model, parameters_of(model)))) == 1


def test_ablation_gives_the_weights_back(model, batches):
    """Ablation and noise leave every weight at its bits."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    measure(model, batches[:1], Options(methods=("ablation", "noise")))
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]), name


def test_bypassing_is_running_without_the_layer(model, batches):
    """Layer Importance equals the loss of a model that never had the layer, minus the loss."""
    found = measure(model, batches, Options()).moments("bypass")
    layers = model.model.layers
    rows = [row[None] for batch in batches for row in batch["input_ids"]]

    def losses(kept):
        model.model.layers = nn.ModuleList(kept)
        model.config.num_hidden_layers = len(kept)
        with torch.no_grad():
            logits = [model(ids, use_cache=False).logits[0, :-1] for ids in rows]
        return np.array([float(cross_entropy(x, ids[0, 1:])) for x, ids in zip(logits, rows, strict=True)])

    before = losses(list(layers))
    for index in range(2):
        rise = losses([layer for i, layer in enumerate(layers) if i != index]) - before
        assert found.mean[index] == pytest.approx(rise.mean(), rel=1e-9)
        assert found.stderr()[index] == pytest.approx(rise.std(ddof=1) / np.sqrt(6), rel=1e-9)


def test_a_loose_precision_stops_early(model, batches):
    """Enough is enough: with a precision that any error meets, not all the data are read."""
    many = [{k: v[row : row + 1] for k, v in b.items()} for b in batches for row in range(2)] * 8
    found = measure(model, many, Options(precision=0.9))
    assert found.sequences < len(many)
    assert found.moments("taylor").n == found.sequences
    strict = measure(model, many, Options(precision=1e-6))
    assert strict.sequences == len(many)


def test_left_out_parameters_are_named(batches):
    """Integer parameters have no gradient, and one that the loss does not reach scores zero by name."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(13, 13)
            self.unused = nn.Linear(2, 2)
            self.packed = nn.Parameter(torch.zeros(4, dtype=torch.uint8), requires_grad=False)

        def forward(self, input_ids):
            return self.table(input_ids)

    found = measure(Model(), batches, Options())
    assert list(found.parameters.left_out) == ["packed"]
    assert found.unreached == ["unused.weight", "unused.bias"]
    assert (found.moments("taylor").mean[1:] == 0).all()


def test_wanda_is_the_weight_times_its_input(model, batches):
    """For one linear layer: Σ|w|·rms(x) with x caught independently; other rows have no score."""
    caught = []
    layer = model.model.layers[0].mlp.down_proj
    handle = layer.register_forward_hook(lambda _m, args, _o: caught.append(args[0].detach()))
    expected = []
    for batch in batches:
        for row in range(2):
            caught.clear()
            model(batch["input_ids"][row : row + 1])
            rms = caught[0][0].square().mean(0).sqrt()
            expected.append(float((layer.weight.detach().abs() * rms).sum()))
    handle.remove()
    found = measure(model, batches, Options(methods=("wanda",), layer_importance=False))
    row = found.parameters.row_of("model.layers.0.mlp.down_proj.weight").first
    mean = found.moments("wanda").mean
    assert mean[row] == pytest.approx(np.mean(expected), rel=1e-9)
    assert np.isnan(mean[found.parameters.row_of("model.norm.weight").first])


def test_the_seed_fixes_every_draw(model, batches):
    """Curvature and noise repeat with a seed, and differ with another."""
    options = [Options(methods=("curvature", "noise"), seed=s, layer_importance=False) for s in (1, 1, 2)]
    a, b, c = (measure(model, batches, o) for o in options)
    for method in ("curvature", "noise"):
        assert (a.moments(method).mean == b.moments(method).mean).all()
        assert (a.moments(method).mean != c.moments(method).mean).any()


def test_every_method_has_a_unit_and_runs(model, batches):
    """All methods in one pass, all finite but where they do not apply."""
    found = measure(model, batches, Options(methods=METHODS))
    assert found.magnitude is not None
    for method in set(METHODS) - {"magnitude", "wanda"}:
        assert np.isfinite(found.moments(method).mean).all(), method
