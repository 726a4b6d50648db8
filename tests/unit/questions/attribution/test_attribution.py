"""Attribution of the gain: it adds up, it is PEFT's and torch's numbers, and batching does not change it."""

import copy
import math

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from tunescope.errors import BadInput, UsageError
from tunescope.questions.attribution.attribution import attribute_batches

SIZES = {
    "vocab_size": 23,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 32,
    "tie_word_embeddings": False,
}
MODELS = {"qwen3": (Qwen3Config, Qwen3ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}


def small(name="qwen3", seed=0, **sizes):
    """A tiny random model in float64."""
    torch.manual_seed(seed)
    config, model = MODELS[name]
    return model(config(**{**SIZES, **sizes})).double().eval()


def adapted(base, seed=1, size=0.2, targets=("q_proj", "v_proj", "down_proj")):
    """A LoRA on a copy of the base, both of its factors random."""
    config = LoraConfig(r=3, lora_alpha=6, target_modules=list(targets))
    model = get_peft_model(copy.deepcopy(base), config)
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter) * size
    return model.eval()


def batches(batch_size=2, count=4, side="right", extra=0):
    """Random sequences of several lengths, padded on one side."""
    generator = torch.Generator().manual_seed(5)
    rows = [torch.randint(1, 23, (n,), generator=generator) for n in (5, 9, 7, 6, 8)[:count]]
    found = []
    for part in (rows[i : i + batch_size] for i in range(0, len(rows), batch_size)):
        width = max(map(len, part)) + extra
        pads = [(0, width - len(r)) if side == "right" else (width - len(r), 0) for r in part]
        pairs = list(zip(part, pads, strict=True))
        ids = torch.stack([nn.functional.pad(row, pad) for row, pad in pairs])
        mask = torch.stack([nn.functional.pad(torch.ones_like(row), pad) for row, pad in pairs])
        found.append({"input_ids": ids, "attention_mask": mask, "labels": ids})
    return found


def loss(model, count=4):
    """The token-mean loss by torch's own cross-entropy, one sequence at a time."""
    nats = tokens = 0
    with torch.no_grad():
        for batch in batches(1, count):
            logits = model(input_ids=batch["input_ids"]).logits[0, :-1]
            nats += nn.functional.cross_entropy(logits, batch["labels"][0, 1:], reduction="sum").item()
            tokens += len(logits)
    return nats / tokens


def shifted(base, size=0.03, seed=2):
    """A fully tuned copy: every parameter moved, norms and embeddings included."""
    tuned = copy.deepcopy(base)
    torch.manual_seed(seed)
    for parameter in tuned.parameters():
        parameter.data += torch.randn_like(parameter) * size
    return tuned


def values(table, column="attribution"):
    return dict(table.frame.select("component_name", column).iter_rows())


@pytest.mark.parametrize("name", MODELS)
def test_an_adapter_s_cells_add_up_to_its_gain(name):
    """At 32 nodes in float64 the sum is L(PEFT model) − L(base) to 1e-5, one cell per LoRA update."""
    base = small(name)
    model = adapted(base)
    table = attribute_batches(model, batches(), nodes=32)
    summary = table.summary
    assert summary["base_loss"] == pytest.approx(loss(base), abs=1e-12)
    assert summary["tuned_loss"] == pytest.approx(loss(model), abs=1e-12)
    assert summary["gain"] == pytest.approx(loss(base) - loss(model), abs=1e-12)
    assert abs(table.frame["attribution"].sum() + summary["gain"]) < 1e-5
    assert table.frame.height == 6
    assert table.frame["share"].sum() == pytest.approx(1.0)


@pytest.mark.parametrize("name", MODELS)
def test_a_full_fine_tune_s_cells_add_up(name):
    """Norms, embeddings and head are cells too, and with them the sum is the whole."""
    base = small(name, num_hidden_layers=1)
    tuned = shifted(base)
    table = attribute_batches(tuned, batches(2, 2), base=base, nodes=32)
    summary = table.summary
    assert summary["tuned_loss"] == pytest.approx(loss(tuned, 2), abs=1e-12)
    assert abs(summary["residual"]) < 1e-5
    assert table.frame.height == len(list(base.named_parameters()))
    modules = ("mlp.up_proj", "input_layernorm", "self_attn.q_proj")
    expected = {module: f"model.layers.0.{module}.weight" for module in modules}
    moved = dict(table.frame.select("module_type", "frobenius_norm_normalized").iter_rows())
    before, after = dict(base.named_parameters()), dict(tuned.named_parameters())
    for module, full in expected.items():
        norm = torch.linalg.vector_norm(after[full] - before[full]).item()
        assert moved[module] == pytest.approx(norm / math.sqrt(len(after[full])), rel=1e-12)


def test_a_gated_branch_equals_the_dense_update():
    """The same ΔW merged into the weights gets the same attribution, cell by cell."""
    base = small()
    model = adapted(base)
    gated = attribute_batches(model, batches(2, 2), nodes=4)
    dense = attribute_batches(copy.deepcopy(model).merge_and_unload(), batches(2, 2), base=base, nodes=4)
    for column in ("attribution", "stderr", "frobenius_norm_normalized"):
        assert values(gated, column) == pytest.approx(values(dense, column), rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("kind", ["adapter", "checkpoint"])
def test_batch_size_and_padding_do_not_matter(kind):
    """Attribution and standard error are those of the sequences, however they lie in batches."""
    base = small(num_hidden_layers=1)
    tuned = adapted(base) if kind == "adapter" else shifted(base)
    given = None if kind == "adapter" else base
    first = attribute_batches(tuned, batches(1), base=given, nodes=3)
    for other in (batches(3), batches(2, extra=3), batches(4, side="left")):
        found = attribute_batches(tuned, other, base=given, nodes=3)
        for column in ("attribution", "stderr"):
            assert values(found, column) == pytest.approx(values(first, column), rel=1e-6, abs=1e-10)
        assert found.summary["data_sha256"] == first.summary["data_sha256"]


def test_the_standard_error_is_that_of_a_token_weighted_mean():
    """Against one attribution for each sequence: mean and error follow from their tokens and sums."""
    base = small(num_hidden_layers=1)
    model = adapted(base)
    whole = attribute_batches(model, batches(2), nodes=33)
    single = [attribute_batches(model, [batch], nodes=33) for batch in batches(1)]
    assert {one.summary["nodes"] for one in (whole, *single)} == {33}
    tokens = np.array([one.summary["tokens"] for one in single])
    for name, error in values(whole, "stderr").items():
        rates = np.array([values(one)[name] for one in single])
        mean = np.average(rates, weights=tokens)
        spread = np.sum((tokens * (rates - mean)) ** 2) * len(rates) / (len(rates) - 1)
        assert values(whole)[name] == pytest.approx(mean, rel=1e-9)
        assert error == pytest.approx(np.sqrt(spread) / tokens.sum(), rel=1e-9)
    assert single[0].frame["stderr"].null_count() == single[0].frame.height


@pytest.mark.parametrize("kind", ["adapter", "checkpoint"])
def test_bfloat16_does_not_round_a_tiny_update_away(kind):
    """ΔW a thousandth of the bfloat16 grid: the float64 attribution within bfloat16's own accuracy."""
    base = small(num_hidden_layers=1).bfloat16()
    reference = copy.deepcopy(base).double()
    # Steps of 2⁻¹⁶ of weights near 0.02 are far below bfloat16's 2⁻⁹ relative spacing.
    tuned = adapted(reference, size=1e-3) if kind == "adapter" else shifted(reference, size=2e-6)
    exact = attribute_batches(tuned, batches(2, 2), base=None if kind == "adapter" else reference, nodes=2)
    low = adapted(base, size=1e-3) if kind == "adapter" else tuned.float()
    if kind == "adapter":
        _same_factors(low, tuned)
    found = attribute_batches(low, batches(2, 2), base=None if kind == "adapter" else base, nodes=2)
    pairs = [(values(found)[name], value) for name, value in values(exact).items()]
    ours, theirs = (np.array(column) for column in zip(*pairs, strict=True))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.99
    assert np.linalg.norm(ours - theirs) < 0.1 * np.linalg.norm(theirs)


def _same_factors(low, reference):
    given = dict(reference.named_parameters())
    for name, parameter in low.named_parameters():
        if "lora_" in name:
            parameter.data = given[name].detach().float()


def test_a_cell_without_change_gets_nothing():
    """B = 0 is a cell with attribution and norm exactly zero; the others still add up."""
    model = adapted(small())
    for name, parameter in model.named_parameters():
        if "layers.1" in name and "v_proj.lora_B" in name:
            parameter.data.zero_()
    table = attribute_batches(model, batches(2, 2), nodes=32)
    (row,) = [r for r in table.frame.iter_rows(named=True) if r["component_name"] == "L1_ATTN_V"]
    assert (row["attribution"], row["stderr"], row["frobenius_norm_normalized"]) == (0.0, 0.0, 0.0)
    assert abs(table.summary["residual"]) < 1e-5


class _Linear(nn.Module):
    """A loss linear in its weights: the label's logit falls short of one that takes all probability."""

    def __init__(self, weights):
        super().__init__()
        self.first = nn.Parameter(torch.tensor(weights[0], dtype=torch.float64))
        self.second = nn.Parameter(torch.tensor(weights[1], dtype=torch.float64))

    def forward(self, input_ids, attention_mask):
        x = input_ids.double()
        wanted = x * self.first[0] + x.square() * self.first[1] + self.second[0]
        return torch.stack([wanted, torch.full_like(wanted, 900.0)], dim=-1)


def test_verification_is_exact_for_a_linear_loss():
    """Putting a cell back changes a linear loss by exactly what was attributed to it, at one node."""
    base, tuned = _Linear([[1.0, 2.0], [0.5]]), _Linear([[1.5, 1.75], [2.0]])
    ids = torch.tensor([[1, 2, 3], [2, 0, 1]])
    data = [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros_like(ids)}]
    table = attribute_batches(tuned, data, base=base, nodes=1, put_back=2)
    assert table.summary["nodes"] == 3
    for row in table.verification.iter_rows(named=True):
        assert row["measured"] == pytest.approx(row["attribution"], rel=1e-12)
        assert row["measured_stderr"] == pytest.approx(row["attribution_stderr"], rel=1e-9, abs=1e-12)
    # Positions 0 and 1 of both sequences predict: x is 1, 2, 2, 0.
    assert values(table)["FIRST"] == pytest.approx(-(0.5 * 5 - 0.25 * 9) / 4, rel=1e-12)
    assert values(table)["SECOND"] == pytest.approx(-1.5, rel=1e-12)


def test_nested_sets_are_taken_until_cells_and_sum_have_settled():
    """From one node on the residual fits; cells are within 1 % of the largest or a tenth of their error."""
    found = attribute_batches(adapted(small(), size=0.5), batches(), nodes=1)
    summary, frame = found.summary, found.frame
    residuals = {int(n): r for n, r in summary["residual_at_nodes"].items()}
    changes = {int(n): c for n, c in summary["cell_change_at_nodes"].items()}
    assert list(residuals) == list(changes) == [1, 3, 5, 9, 17, 33, 65][: len(residuals)]
    assert summary["nodes"] == max(residuals) > 1
    assert summary["stopped"] == "converged"
    limit = max(0.01 * abs(summary["gain"]), 0.1 * summary["gain_stderr"])
    assert summary["tolerance"] == pytest.approx(limit)
    assert abs(summary["residual"]) <= limit
    exact = attribute_batches(adapted(small(), size=0.5), batches(), nodes=65).frame
    allowed = np.maximum(0.01 * exact["attribution"].abs().max(), 0.1 * exact["stderr"].to_numpy())
    assert (np.abs(frame["attribution"].to_numpy() - exact["attribution"].to_numpy()) <= allowed).all()


def test_tied_embeddings_are_one_cell():
    """A tensor used twice is one cell, with the gradient of both uses."""
    base = small(num_hidden_layers=1, tie_word_embeddings=True)
    table = attribute_batches(shifted(base), batches(2, 2), base=base, nodes=32)
    assert "LM_HEAD" not in values(table)
    assert abs(table.summary["residual"]) < 1e-5


def test_the_models_are_given_back_as_they_were():
    """Weights, modes, flags and hooks of base and adapter survive an attribution."""
    base = small(num_hidden_layers=1).train()
    model = adapted(base).train()
    before = [(n, p, p.detach().clone(), p.requires_grad) for n, p in model.named_parameters()]
    first = loss(model)
    attribute_batches(model, batches(2, 2), nodes=2)
    assert model.training
    after = dict(model.named_parameters())
    for name, parameter, value, needs in before:
        assert after[name] is parameter
        assert torch.equal(parameter, value)
        assert (parameter.requires_grad, parameter.grad) == (needs, None)
    assert loss(model) == first
    tuned = shifted(base)
    kept = list(base.parameters())
    attribute_batches(tuned, batches(2, 2), base=base, nodes=2)
    assert all(a is b for a, b in zip(base.parameters(), kept, strict=True))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in base.modules())


def test_bad_input_is_refused():
    """No base, no labels, no batches, no nodes: each says so."""
    base = small(num_hidden_layers=1)
    empty = [{**batch, "labels": torch.full_like(batch["labels"], -100)} for batch in batches()]
    with pytest.raises(UsageError, match="base="):
        attribute_batches(base, batches())
    with pytest.raises(BadInput, match="4 sequences"):
        attribute_batches(adapted(base), empty)
    with pytest.raises(UsageError, match="no batches"):
        attribute_batches(adapted(base), [])
    with pytest.raises(UsageError, match="one node"):
        attribute_batches(adapted(base), batches(), nodes=0)
    broken = shifted(base)
    broken.lm_head.weight.data[0, 0] = math.nan
    with pytest.raises(BadInput, match="not finite") as caught:
        attribute_batches(broken, batches(), base=base)
    assert caught.value.tensor == "lm_head.weight"


def test_equal_models_have_no_cell_and_no_gain_but_a_buffer_between_them_is_refused():
    """Nothing is divided by nothing; a difference that no weight explains is not called identical."""
    base = small(num_hidden_layers=1)
    base.register_buffer("calibration", torch.zeros(2))
    same = copy.deepcopy(base)
    found = attribute_batches(same, batches(), base=base, put_back=3)
    assert found.frame.height == 0
    sums = found.summary
    assert sums["base_loss"] == sums["tuned_loss"]
    assert (sums["gain"], sums["sum"], sums["residual"], sums["nodes"]) == (0, 0, 0, 9)
    same.calibration += 1
    with pytest.raises(BadInput, match="no gradient reaches"):
        attribute_batches(same, batches(), base=base)
