"""The real PEFT adapters: every tensor is accounted for, and the norms are those of the plain product."""

from pathlib import Path

import numpy as np
import pytest

from tunescope.source.files.container import read_safetensors
from tunescope.source.files.tensors import Ledger
from tunescope.source.formats.peft import load_peft_config, read_peft

EXPECTED = {
    "open-calm-1b_r1_fp16": (24, 48),
    "qwen2.5-0.5b_vinuni_r8/checkpoint-69": (48, 96),
    "roberta-base_agnews_r4_bias-all/checkpoint-1200": (36, 177),
    "roberta-base_portuguese-news_r8/checkpoint-8610": (24, 52),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_tensor_is_accounted_for(name: str, real: Path) -> None:
    """Counts and bytes add up, and what is not used is a bias, a saved module or its copy from before."""
    file = real / name / "adapter_model.safetensors"
    tensors = read_safetensors(file).tensors
    ledger = Ledger(tensors)
    config = load_peft_config(file.with_name("adapter_config.json"))
    deltas = read_peft(tensors, config, ledger, file=str(file))
    entries = ledger.close()
    assert (len(deltas), len(entries)) == EXPECTED[name]
    assert sum(e.bytes for e in entries) == sum(t.nbytes for t in tensors.values())
    copy = "copy of the module as it was before training"
    assert {e.reason for e in entries} <= {"", "bias, needs base", "saved module, needs base", copy}
    assert ledger.notices == []
    for delta in deltas[:3]:
        a, b = (tensors[t].read().astype(np.float64) for t in delta.tensors)
        np.testing.assert_allclose(delta.open().dense(), delta.alpha / delta.rank * (b @ a), rtol=1e-12)
