"""Updates that need the base, against the weights that PEFT itself merges."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tunescope
from tunescope.errors import BadInput
from tunescope.source.against import opener
from tunescope.source.formats.leftovers import NEEDS_BASE
from tunescope.source.whole import open_whole

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
D_IN, D_OUT = 24, 16
LORA: dict[str, Any] = {"r": 4, "lora_alpha": 6}
CONFIGS: dict[str, Any] = {
    "lora, all biases": lambda: peft.LoraConfig(bias="all", init_lora_weights=False, **LORA),
    "lora, its own biases": lambda: peft.LoraConfig(bias="lora_only", init_lora_weights=False, **LORA),
    "lora, bias of B": lambda: peft.LoraConfig(lora_bias=True, init_lora_weights=False, **LORA),
    "beft": peft.BeftConfig,
    "oft, all biases": lambda: peft.OFTConfig(oft_block_size=4, bias="all", init_weights=False),
    "boft, its own biases": lambda: peft.BOFTConfig(boft_block_size=4, bias="boft_only", init_weights=False),
    "hra, all biases": lambda: peft.HRAConfig(r=4, bias="all", init_weights=False),
    "glora, all biases": lambda: peft.GloraConfig(bias="all", init_weights=False),
    "deft, all biases": lambda: peft.DeftConfig(bias="all", init_weights=False),
    "frod, all biases": lambda: peft.FrodConfig(bias="all", progressbar=False),
    "miss, bat": lambda: peft.MissConfig(r=4, init_weights="bat"),
    "miss, bat and all biases": lambda: peft.MissConfig(r=8, init_weights="bat", bias="all"),
    "miss, all biases": lambda: peft.MissConfig(r=4, bias="all"),
    "c3a, all biases": lambda: peft.C3AConfig(block_size=8, bias="all"),
    "dora": lambda: peft.LoraConfig(use_dora=True, init_lora_weights=False, **LORA),
    "dora_rslora": lambda: peft.LoraConfig(use_dora=True, use_rslora=True, init_lora_weights=False, **LORA),
    "ia3": lambda: peft.IA3Config(feedforward_modules=["down_proj"], init_ia3_weights=False),
    "oft": lambda: peft.OFTConfig(oft_block_size=4, use_cayley_neumann=False, init_weights=False),
    "boft": lambda: peft.BOFTConfig(boft_block_size=4, init_weights=False),
    "hra": lambda: peft.HRAConfig(r=4, init_weights=False),
    "road": lambda: peft.RoadConfig(init_weights=False, group_size=8),
    "deft": lambda: peft.DeftConfig(init_weights=False),
    "frod": lambda: peft.FrodConfig(progressbar=False),
    "glora": lambda: peft.GloraConfig(init_weights=False),
    "hira": lambda: peft.HiraConfig(init_weights=False),
    "osf": peft.OSFConfig,
    "peanut": peft.PeanutConfig,
    "psoft": lambda: peft.PsoftConfig(r=4),
    "adamss": lambda: peft.AdamssConfig(r=8, num_subspaces=3, subspace_rank=2, init_weights=None),
}


class Block(torch.nn.Module):
    """Two layers, one of each direction."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = torch.nn.Linear(D_IN, D_OUT)
        self.down_proj = torch.nn.Linear(D_OUT, D_IN)
        self.norm = torch.nn.LayerNorm(D_IN)

    def forward(self, x: Any) -> Any:
        return self.norm(self.down_proj(self.q_proj(x)))


class Model(torch.nn.Module):
    """A stack of two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([Block(), Block()])

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x


def nudge(wrapped: Any, size: float = 0.05) -> None:
    """Move what is trained, as training would."""
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(size * torch.randn_like(parameter))


def trained(name: str, tmp_path: Path, **more: Any) -> tuple[dict[str, np.ndarray], Path]:
    """Weights that PEFT merged, beside a saved base and adapter in `tmp_path`."""
    torch.manual_seed(0)
    model = Model()
    (tmp_path / "base").mkdir()
    save_file({k: v.numpy() for k, v in model.state_dict().items()}, tmp_path / "base" / "model.safetensors")
    config = CONFIGS[name]()
    config.target_modules = {"q_proj", "down_proj"}
    for key, value in more.items():
        setattr(config, key, value)
    wrapped = peft.get_peft_model(model, config)
    nudge(wrapped)
    wrapped.save_pretrained(tmp_path / "adapter")
    merged = wrapped.merge_and_unload()
    return {k: v.numpy() for k, v in merged.state_dict().items()}, tmp_path


class KMeans:
    """Stands for scikit-learn's, which AdaMSS groups rows with: any grouping will do, always the same."""

    def __init__(self, n_clusters: int, **settings: object) -> None:
        self.count = n_clusters

    def fit_predict(self, rows: np.ndarray) -> np.ndarray:
        return (np.arange(len(rows)) * 7 // 3) % self.count


@pytest.fixture
def clustering(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("sklearn.cluster")
    module.KMeans = KMeans
    monkeypatch.setitem(sys.modules, "sklearn", types.ModuleType("sklearn"))
    monkeypatch.setitem(sys.modules, "sklearn.cluster", module)


@pytest.mark.usefixtures("clustering")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CONFIGS)
def test_the_update_is_what_pefts_merge_added(name: str, tmp_path: Path) -> None:
    """Weights and biases, and no other tensor of the model has changed."""
    merged, folder = trained(name, tmp_path)
    base = open_whole(folder / "base")
    (source,) = opener(base)(str(folder / "adapter"))
    rows = {}
    for delta in source.deltas:
        kind = delta.address.module_type
        rows[f"layers.{delta.address.layer}.{kind}{'' if kind.endswith('bias') else '.weight'}"] = delta
        assert delta.status == "ok"
    assert len(rows) == len(source.deltas) >= 4
    for key, after in merged.items():
        wanted = after.astype(float) - base.tensors[key].read().astype(float)
        found = rows[key].open().dense() if key in rows else np.zeros((wanted.size, 1))
        np.testing.assert_allclose(found.reshape(wanted.shape), wanted, atol=1e-5, err_msg=key)
    assert {entry.status for entry in source.coverage} == {"used"}
    assert not source.notices


@pytest.mark.filterwarnings("ignore")
def test_norms_that_were_tuned_alone_are_rows(tmp_path: Path) -> None:
    CONFIGS["ln"] = lambda: peft.LNTuningConfig(target_modules=["norm"])
    try:
        merged, folder = trained("ln", tmp_path, target_modules={"norm"})
    finally:
        del CONFIGS["ln"]
    base = open_whole(folder / "base")
    (source,) = opener(base)(str(folder / "adapter"))
    assert len(source.deltas) == 4, "weight and bias of two norms"
    for delta in source.deltas:
        end = "bias" if delta.address.module_type.endswith("bias") else "weight"
        key = f"layers.{delta.address.layer}.norm.{end}"
        wanted = merged[key].astype(float) - base.tensors[key].read().astype(float)
        np.testing.assert_allclose(delta.open().dense().ravel(), wanted, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_bases_that_frod_did_not_save_are_refused_rather_than_guessed(tmp_path: Path) -> None:
    _, folder = trained("frod", tmp_path, save_projection=False)
    (source,) = opener(open_whole(folder / "base"))(str(folder / "adapter"))
    with pytest.raises(BadInput) as caught:
        source.deltas[0].open()
    assert caught.value.slug == "not-merged"
    assert "save_projection" in str(caught.value.found)


def test_every_method_that_needs_the_base_is_compared_with_peft() -> None:
    """Norms and tokens have tests of their own."""
    compared = {name.upper() for name in CONFIGS} | {"LN_TUNING", "TRAINABLE_TOKENS"}
    assert compared >= set(NEEDS_BASE)


@pytest.mark.filterwarnings("ignore")
def test_saved_modules_and_biases_are_rows(tmp_path: Path) -> None:
    merged, folder = trained("ia3", tmp_path, modules_to_save=["norm"])
    study = tunescope.norms(folder / "adapter", base=folder / "base")
    rows = {(r["layer"], r["module_type"]): r for r in study.table.frame.iter_rows(named=True)}
    base = open_whole(folder / "base")
    for layer in (0, 1):
        for kind in ("norm", "norm.bias"):
            key = f"layers.{layer}.norm.{'bias' if kind.endswith('bias') else 'weight'}"
            wanted = np.linalg.norm(merged[key].astype(float) - base.tensors[key].read().astype(float))
            assert rows[layer, kind]["frobenius_norm"] == pytest.approx(wanted, rel=1e-6)
    coverage = study.tables["coverage"].frame
    (label,) = study.table.frame["model_id"].unique()
    assert set(coverage.filter(coverage["model_id"] == label)["status"]) == {"used"}


@pytest.mark.filterwarnings("ignore")
def test_relative_norm_cosine_and_merge_columns(tmp_path: Path) -> None:
    merged, folder = trained("dora", tmp_path)
    study = tunescope.norms(folder / "adapter", base=folder / "base")
    base = open_whole(folder / "base")
    for row in study.table.frame.iter_rows(named=True):
        key = f"layers.{row['layer']}.{row['module_type']}.weight"
        W, after = base.tensors[key].read().astype(float), merged[key].astype(float)
        delta = after - W
        assert row["relative_norm"] == pytest.approx(np.linalg.norm(delta) / np.linalg.norm(W), rel=1e-5)
        cosine = (W * after).sum() / np.linalg.norm(W) / np.linalg.norm(after)
        assert row["cosine_to_base"] == pytest.approx(cosine, abs=1e-6)
        moved = after.astype("f2").astype(float) - W
        error = np.linalg.norm(moved - delta) / np.linalg.norm(delta)
        assert row["merge_error_fp16"] == pytest.approx(error, rel=0.02)
        assert row["merge_error_bf16"] < row["merge_error_fp8"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    ["dora", "ia3", "oft", "lora, all biases", "lora, bias of B", "beft", "miss, bat", "oft, all biases"],
)
def test_verify_finds_what_peft_merged(name: str, tmp_path: Path) -> None:
    merged, folder = trained(name, tmp_path)
    (folder / "merged").mkdir()
    save_file(merged, folder / "merged" / "model.safetensors")
    study = tunescope.verify(folder / "merged", folder / "adapter", base=folder / "base")
    assert study.readout["verdict"] == "as_expected"
    assert not [finding.text for finding in study.findings if "no adapter touches" in finding.text]


@pytest.mark.filterwarnings("ignore")
def test_a_bias_that_was_trained_and_added_to_has_one_row(tmp_path: Path) -> None:
    CONFIGS["both"] = lambda: peft.LoraConfig(
        bias="lora_only", lora_bias=True, init_lora_weights=False, **LORA
    )
    try:
        merged, folder = trained("both", tmp_path)
    finally:
        del CONFIGS["both"]
    base = open_whole(folder / "base")
    (source,) = opener(base)(str(folder / "adapter"))
    assert len(source.deltas) == 8
    for delta in (d for d in source.deltas if d.d_in == 1):
        key = f"layers.{delta.address.layer}.{delta.address.module_type}"
        wanted = merged[key].astype(float) - base.tensors[key].read().astype(float)
        np.testing.assert_allclose(delta.open().dense().ravel(), wanted, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_beft_is_read_without_a_base_too(tmp_path: Path) -> None:
    _, folder = trained("beft", tmp_path)
    study = tunescope.norms(folder / "adapter")
    assert sorted(study.table.frame["module_type"]) == ["down_proj.bias"] * 2 + ["q_proj.bias"] * 2
    assert study.table.frame["frobenius_norm"].min() > 0


class Kinds(torch.nn.Module):
    """A layer of every kind that DoRA splits into directions and magnitudes."""

    def __init__(self) -> None:
        super().__init__()
        conv1d = pytest.importorskip("transformers.pytorch_utils").Conv1D
        self.embed_tokens = torch.nn.Embedding(20, 8)
        self.square, self.wide = conv1d(8, 8), conv1d(24, 8)
        self.conv1, self.conv2 = torch.nn.Conv1d(8, 6, 3), torch.nn.Conv2d(8, 6, (2, 3))

    def forward(self, x: Any) -> Any:
        return self.wide(self.square(self.embed_tokens(x)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_dora_of_every_kind_of_layer_is_what_pefts_merge_added(rank_stabilised: bool, tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = Kinds()
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    (tmp_path / "base").mkdir()
    save_file(before, tmp_path / "base" / "model.safetensors")
    targets = ["embed_tokens", "square", "wide", "conv1", "conv2"]
    config = peft.LoraConfig(
        use_dora=True, use_rslora=rank_stabilised, init_lora_weights=False, fan_in_fan_out=True,
        target_modules=targets, **LORA
    )  # fmt: skip
    wrapped = peft.get_peft_model(model, config)
    nudge(wrapped, 0.1)
    wrapped.save_pretrained(tmp_path / "adapter")
    merged = wrapped.merge_and_unload().state_dict()
    (source,) = opener(open_whole(tmp_path / "base"))(str(tmp_path / "adapter"))
    assert {d.address.module_type for d in source.deltas} == {*targets}
    for delta in source.deltas:
        key = f"{delta.address.module_type}.weight"
        wanted = (merged[key].double().numpy() - before[key]).reshape(len(before[key]), -1)
        turned = delta.address.module_type in ("embed_tokens", "square", "wide")
        found = delta.open().dense()
        np.testing.assert_allclose(found.T if turned else found, wanted, atol=2e-6, err_msg=key)
        assert delta.status == "ok"


SHAPELESS: dict[str, Any] = {
    "vera": lambda: peft.VeraConfig(r=3),
    "vera unsaved": lambda: peft.VeraConfig(r=3, save_projection=False),
    "pvera": lambda: peft.PveraConfig(r=3),
    "randlora": lambda: peft.RandLoraConfig(r=3),
    "fourierft": lambda: peft.FourierFTConfig(n_frequency=20),
    "waveft": lambda: peft.WaveFTConfig(n_frequency=20),
    "miss": lambda: peft.MissConfig(r=3),
    "shira": lambda: peft.ShiraConfig(r=3),
}


def shapeless(name: str, folder: Path) -> dict[str, np.ndarray]:
    """What PEFT merges into each module; base and adapter lie in the folder, the config names no base."""
    torch.manual_seed(0)
    model = Model()
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    (folder / "base").mkdir()
    save_file(before, folder / "base" / "model.safetensors")
    config = SHAPELESS[name]()
    config.target_modules = {"q_proj", "down_proj"}
    wrapped = peft.get_peft_model(model, config)
    nudge(wrapped)
    wrapped.save_pretrained(folder / "adapter")
    merged = wrapped.merge_and_unload().state_dict()
    return {
        name.removesuffix(".weight"): merged[name].numpy() - weight
        for name, weight in before.items()
        if name.endswith("_proj.weight")
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SHAPELESS)
def test_a_method_that_does_not_save_its_shapes_takes_those_of_the_named_base(
    name: str, tmp_path: Path
) -> None:
    expected = shapeless(name, tmp_path)
    (source,) = opener(open_whole(tmp_path / "base"))(str(tmp_path / "adapter"))
    found = {f"layers.{d.address.layer}.{d.address.module_type}": d for d in source.deltas}
    assert found.keys() == expected.keys()
    assert all(delta.status == "ok" and delta.base is not None for delta in found.values())
    for module, delta in found.items():
        np.testing.assert_allclose(delta.open().dense(), expected[module], rtol=2e-5, atol=1e-6)
    left = {entry.reason for entry in source.coverage if entry.status != "used"}
    assert left <= {"copy of the random bases that the modules hold"}
    assert not source.notices


@pytest.mark.filterwarnings("ignore")
def test_every_question_that_takes_a_base_takes_its_shapes(tmp_path: Path) -> None:
    sizes = [np.linalg.norm(delta) for delta in shapeless("fourierft", tmp_path).values()]
    adapter, base = str(tmp_path / "adapter"), str(tmp_path / "base")
    measured = tunescope.norms(adapter, base=base).table.frame["frobenius_norm"]
    np.testing.assert_allclose(sorted(measured), sorted(sizes), rtol=1e-5)
    compared = tunescope.subspace(f"a={adapter}", f"b={adapter}", base=base).table.frame
    assert compared["status"].to_list() == ["ok"] * 4
    attached = tunescope.check(adapter, base=base).table.frame
    assert attached["status"].to_list() == ["attached"] * 4
    assert tunescope.verify(base, adapter, base=base).readout["verdict"] != "unreadable"


def test_projections_of_modules_that_are_left_out_are_left_out_with_them() -> None:
    modules = {"base_model.model.layers.0.one": 16, "base_model.model.layers.0.two": 8}
    state = {f"{name}.vera_lambda_b": np.ones(rows, np.float32) for name, rows in modules.items()}
    state |= {f"{name}.vera_lambda_d": np.ones(3, np.float32) for name in modules}
    state |= {
        "base_model.vera_A": np.ones((3, 16), np.float32),
        "base_model.vera_B": np.ones((16, 3), np.float32),
    }
    source = tunescope.open_source(state, config={"peft_type": "VERA", "r": 3})
    reason = "VeRA: the input width is not in the file; needs the base's shapes"
    assert {entry.reason for entry in source.coverage} == {reason}
    assert [notice.slug for notice in source.notices if notice.slug == "not_understood"] == []


@pytest.mark.filterwarnings("ignore")
def test_square_weights_that_are_stored_transposed_are_turned_as_their_config_says(tmp_path: Path) -> None:
    """GPT-2 keeps (d_in, d_out), and its attention's output projection is square."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    sizes = {"n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 8, "vocab_size": 20}
    model = transformers.GPT2Model(transformers.GPT2Config(**sizes))
    model.save_pretrained(tmp_path / "base")
    config = peft.LoraConfig(
        use_dora=True, init_lora_weights=False, target_modules=["attn.c_proj"], fan_in_fan_out=True, **LORA
    )
    before = {k: v.double().numpy() for k, v in model.state_dict().items()}
    wrapped = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "magnitude" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    wrapped.save_pretrained(tmp_path / "adapter")
    merged = wrapped.merge_and_unload().state_dict()
    (source,) = opener(open_whole(tmp_path / "base"))(str(tmp_path / "adapter"))
    assert len(source.deltas) == 2
    for delta in source.deltas:
        key = f"h.{delta.address.layer}.attn.c_proj.weight"
        wanted = (merged[key].double().numpy() - before[key]).T
        np.testing.assert_allclose(delta.open().dense(), wanted, atol=1e-6)


class Mixed(torch.nn.Module):
    """A table, convolutions of one axis and of two, and a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = torch.nn.Embedding(14, 6)
        self.conv1 = torch.nn.Conv1d(4, 5, 2)
        self.conv2 = torch.nn.Conv2d(4, 7, 3)
        self.linear = torch.nn.Linear(6, 9)


@pytest.mark.filterwarnings("ignore")
def test_dora_of_tables_and_convolutions_is_what_pefts_merge_added(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = Mixed()
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    save_file(before, tmp_path / "base.safetensors")
    names = ["emb", "conv1", "conv2", "linear"]
    wrapped = peft.get_peft_model(
        model, peft.LoraConfig(use_dora=True, init_lora_weights=False, target_modules=names, **LORA)
    )
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "magnitude" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    wrapped.save_pretrained(tmp_path / "adapter")
    merged = wrapped.merge_and_unload().state_dict()
    (source,) = opener(open_whole(tmp_path / "base.safetensors"))(str(tmp_path / "adapter"))
    assert {delta.address.module_type for delta in source.deltas} == set(names)
    for delta in source.deltas:
        key = f"{delta.address.module_type}.weight"
        wanted = merged[key].double().numpy() - before[key].astype(float)
        wanted = wanted.T if key.startswith("emb") else wanted.reshape(len(wanted), -1)
        np.testing.assert_allclose(delta.open().dense(), wanted, atol=2e-6)
        assert delta.status == "ok"
    assert {entry.status for entry in source.coverage} == {"used"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["oft", "ia3"])
def test_a_scale_that_a_method_has_no_use_for_is_said_and_changes_nothing(name: str, tmp_path: Path) -> None:
    _, folder = trained(name, tmp_path)
    base = open_whole(folder / "base")
    (plain,), (scaled,) = (opener(base)(str(folder / "adapter"), **given) for given in ({}, {"scale": 2.0}))
    assert [n.slug for n in scaled.notices if n not in plain.notices] == ["scale-not-used"]
    for one, other in zip(plain.deltas, scaled.deltas, strict=True):
        np.testing.assert_array_equal(one.open().dense(), other.open().dense())


@pytest.mark.filterwarnings("ignore")
def test_dora_without_magnitudes_is_what_peft_loads_and_is_said(tmp_path: Path) -> None:
    trained("dora", tmp_path, init_lora_weights=True)
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    held = load_file(path)
    save_file({name: t for name, t in held.items() if "magnitude" not in name}, path)
    torch.manual_seed(0)
    model = Model()
    before = {name: w.detach().clone().numpy() for name, w in model.state_dict().items()}
    merged = peft.PeftModel.from_pretrained(model, tmp_path / "adapter").merge_and_unload().state_dict()

    study = tunescope.norms(tmp_path / "adapter", base=tmp_path / "base")
    rows = study.table.to_polars().to_dicts()
    assert len(rows) == 4
    for row in rows:
        name = f"layers.{row['layer']}.{row['module_type']}.weight"
        right = np.linalg.norm(merged[name].numpy().astype(np.float64) - before[name])
        assert row["frobenius_norm"] == pytest.approx(right, rel=1e-4)
        assert row["status"] == "ok"
    assert "half_saved" in {finding.kind for finding in study.findings}
    for deep in (False, True):
        (finding,) = tunescope.check(tmp_path / "adapter", deep=deep).findings
        assert (finding.kind, "4 modules of DoRA" in finding.text) == ("half_saved", True)
