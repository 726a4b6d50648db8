"""Published tables of norms as sources."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from tunescope import norms as measured_norms
from tunescope.errors import BadInput, Missing, UsageError
from tunescope.source import open_source, open_sources
from tunescope.table import Table

HEADER = "model_id,layer,module_type,component_name,frobenius_norm\n"


def written(tmp_path: Path, text: str, name: str = "weight_norms_x.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_published_table_is_one_source_for_each_model(outside: Path) -> None:
    path = outside / "reference" / "llm_morality_weight_norms_all_models.csv"
    sources = open_sources(path)
    assert [s.label for s in sources] == ["PT2_COREDe", "PT3_COREDe", "PT3_COREUt", "PT4_COREDe"]
    reference = pl.read_csv(path)
    for source in sources:
        assert source.deltas == ()
        assert source.published is not None
        rows = reference.filter(pl.col("model_id") == source.label)
        assert source.published.frame.height == rows.height == 182
        assert source.published.frame["frobenius_norm"].to_list() == rows["frobenius_norm"].to_list()
        source.verify_unchanged()


def test_a_link_of_any_name_to_a_table_is_that_table(tmp_path: Path) -> None:
    table = written(tmp_path, HEADER + "a,0,self_attn.q_proj,L0_ATTN_Q,1.5\n")
    pl.read_csv(table).write_parquet(tmp_path / "norms.parquet")
    for target in (table, tmp_path / "norms.parquet"):
        link = tmp_path / f"link-to-{target.suffix[1:]}"
        link.symlink_to(target)
        published = open_source(f"mine={link}").published
        assert published is not None
        assert published.frame["frobenius_norm"].to_list() == [1.5]


def test_one_model_may_be_relabelled(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "a,0,self_attn.q_proj,L0_ATTN_Q,1.5\n")
    source = open_source(f"mine={path}")
    assert source.label == "mine"
    assert source.published is not None
    assert source.published.frame["model_id"].to_list() == ["mine"]


def test_label_for_several_models(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "a,0,q,L0_Q,1.5\nb,0,q,L0_Q,1.5\n")
    with pytest.raises(UsageError, match="several-models"):
        open_sources(f"mine={path}")
    with pytest.raises(UsageError, match="several-models"):
        open_source(path)


def test_table_without_model_id_is_named_by_its_file(tmp_path: Path) -> None:
    path = written(tmp_path, "layer,module_type,frobenius_norm\n0,q,1.5\n,lm_head,2\n")
    source = open_source(path)
    assert source.label == "x"
    assert source.published is not None
    assert source.published.frame["layer"].to_list() == [0, None]


def test_norms_table_in_parquet(tmp_path: Path) -> None:
    frame = pl.DataFrame({"model_id": ["a"], "layer": [1], "module_type": ["q"], "frobenius_norm": [0.5]})
    path = Table(frame, "norms", {"unit": "1"}).write_parquet(tmp_path / "norms.parquet")
    assert open_source(path).label == "a"


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        HEADER,
        HEADER + "a,zero,q,L0_Q,1.5\n",
        HEADER + "a,0,q,L0_Q,many\n",
        HEADER + ",0,q,L0_Q,1\n",
    ],
)
def test_what_is_no_table_of_norms(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput):
        open_sources(written(tmp_path, text))


def test_empty_and_missing_tables(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="empty-file"):
        open_sources(written(tmp_path, ""))
    with pytest.raises(BadInput, match="html-page"):
        open_sources(written(tmp_path, "<!DOCTYPE html><html></html>"))
    with pytest.raises(Missing, match="not-found"):
        open_sources(tmp_path / "gone.csv")


def test_layers_and_modules_select_rows_of_a_published_table(tmp_path: Path) -> None:
    text = HEADER + "a,0,self_attn.q_proj,L0_Q,1\na,1,mlp.up_proj,L1_U,2\nb,0,self_attn.q_proj,L0_Q,3\n"
    path = written(tmp_path, text)
    norms = measured_norms([path], layers="1").table.frame
    assert norms.select("model_id", "layer", "frobenius_norm").rows() == [("a", 1, 2.0)]
    norms = measured_norms([path], modules="attention").table.frame
    assert norms["frobenius_norm"].to_list() == [1.0, 3.0]
    with pytest.raises(UsageError, match="nothing-selected"):
        measured_norms([path], layers=[7])


def test_our_own_table_read_back_is_the_same_table_without_a_warning(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("before", "after"):
        tensors = {}
        for name in ("model.layers.0.mlp.experts.1.w1", "encoder.layers.3.self_attn.q_proj"):
            tensors[f"{name}.lora_down.weight"] = rng.normal(size=(2, 6)).astype(np.float32)
            tensors[f"{name}.lora_up.weight"] = rng.normal(size=(4, 2)).astype(np.float32)
            tensors[f"{name}.alpha"] = np.array(2, np.float32)
        save_file(tensors, tmp_path / f"{label}.safetensors")
    study = measured_norms(*(str(tmp_path / f"{label}.safetensors") for label in ("before", "after")))
    path = tmp_path / "all.csv"
    study.table.write_csv(path)
    back = measured_norms(path)
    key = ["model_id", "stack", "layer", "module_type", "expert"]
    assert back.table.frame.select(key).equals(study.table.frame.select(key))
    assert [f.kind for f in back.findings if f.severity == "warning"] == []


SCALES = HEADER.strip() + ",lora_rank,lora_alpha,effective_scale\n"


@pytest.mark.parametrize("scale", ["alpha/r", "alpha/√r"])
def test_norms_beside_themselves_times_the_scale_are_without_it(tmp_path: Path, scale: str) -> None:
    s = {"alpha/r": 0.5, "alpha/√r": 1.0}[scale]
    rows = "".join(f"a,{i},self_attn.q_proj,L{i}_Q,{i + 1},4,2,{(i + 1) * s}\n" for i in range(2))
    study = measured_norms([written(tmp_path, SCALES + rows)], metric="frobenius_norm")
    assert study.table.frame["unscaled_frobenius_norm"].to_list() == [1.0, 2.0]
    assert study.readout["metric"] == "unscaled_frobenius_norm"


@pytest.mark.parametrize("effective", ["0.5,1.5", "0.5,0.5", "0.5,"])
def test_a_table_that_is_silent_on_the_scale_is_said_to_be(tmp_path: Path, effective: str) -> None:
    rows = [f"a,{i},self_attn.q_proj,L{i}_Q,{i + 1},4,2,{s}\n" for i, s in enumerate(effective.split(","))]
    study = measured_norms([written(tmp_path, SCALES + "".join(rows))], metric="frobenius_norm")
    assert study.table.frame["unscaled_frobenius_norm"].null_count() == 2
    text = study.question.words(study)
    assert "the table does not say whether an adapter's scale is in them" in text
    assert "scale included (of a the published table does not say whether it is)" in text
