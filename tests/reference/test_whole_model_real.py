"""A full fine-tune of the demonstration's model: every row of the table against torch's own tensors."""

from pathlib import Path

import numpy as np
import pytest

import tunescope
from tunescope.demo import model_path

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def test_rows_of_a_full_fine_tune_are_the_differences_of_torchs_parameters(tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32)
    model.save_pretrained(tmp_path / "base")
    before = {name: p.detach().double().numpy().copy() for name, p in model.named_parameters()}
    ids = torch.arange(1, 65).reshape(2, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0)
    for _ in range(2):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(tmp_path / "tuned")
    after = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    study = tunescope.norms(tmp_path / "tuned", base=tmp_path / "base", spectra="top")
    ledger = study.tables["coverage"].frame
    names = ledger.filter((ledger["model_id"] == "tuned") & (ledger["status"] == "used"))["tensor"].to_list()
    assert sorted(names) == sorted(before)
    frame = study.table.frame
    assert frame.height == len(before)
    for name, row in zip(names, frame.iter_rows(named=True), strict=True):
        change, W = after[name] - before[name], before[name]
        size = np.linalg.norm(change)
        assert row["frobenius_norm"] == pytest.approx(size, rel=1e-7), name
        assert row["relative_norm"] == pytest.approx(size / np.linalg.norm(W), rel=1e-7), name
        assert row["changed_fraction"] == (change != 0).mean(), name
        assert row["max_abs"] == np.abs(change).max(), name
        if change.ndim == 2:
            top = np.linalg.svd(change, compute_uv=False)[0]
            assert row["spectral_norm"] is None or row["spectral_norm"] == pytest.approx(top, rel=1e-4), name
