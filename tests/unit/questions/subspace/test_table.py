"""`tunescope.subspace` gives the numbers of the command, as tables."""

import numpy as np
import pytest

import tunescope
from tunescope.errors import BadInput, UsageError
from tunescope.linalg.overlap import chance_grid
from tunescope.questions.subspace.measure import GRID_SCHEMA, SUMMARY_SCHEMA
from tunescope.source import Source


def weights(seed: int, layer: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
    return {
        f"{name}.lora_A.weight": random.standard_normal((3, 20)).astype(np.float32),
        f"{name}.lora_B.weight": random.standard_normal((30, 3)).astype(np.float32),
    }


def opened(label: str, seed: int, layer: int = 0) -> Source:
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 3, "target_modules": ["q_proj"]}
    return tunescope.open_source(weights(seed, layer), label=label, config=config)


def test_the_summary_and_the_grids_are_tables_with_units() -> None:
    a, b = opened("a", 1), opened("b", 2)
    summary, grids = tunescope.subspace(a, b), tunescope.subspace(a, b, grids=True, of=("delta",))
    assert (summary.kind, grids.kind) == ("subspace_summary", "subspace")
    assert dict(summary.frame.schema) == SUMMARY_SCHEMA
    assert dict(grids.frame.schema) == GRID_SCHEMA
    assert (len(summary), len(grids)) == (1, 2 * 9)
    factors = [weights(seed) for seed in (1, 2)]
    spans = [np.linalg.qr(next(t for n, t in f.items() if "lora_B" in n).astype(float))[0] for f in factors]
    overlap = np.linalg.norm(spans[0].T @ spans[1]) ** 2 / 3
    assert summary.frame["overlap_output"][0] == pytest.approx(overlap)
    assert summary.frame["overlap_output_chance"][0] == chance_grid(3, 3, 30)[0][-1, -1]
    assert "phi" in grids.meta["units"]


def test_what_cannot_be_compared_is_refused_as_on_the_command_line() -> None:
    with pytest.raises(UsageError, match="one-source"):
        tunescope.subspace(opened("a", 1))
    with pytest.raises(BadInput, match="in other layers"):
        tunescope.subspace(opened("a", 1), opened("b", 2, layer=4))
    with pytest.raises(UsageError, match="no-such-side"):
        tunescope.subspace(opened("a", 1), opened("b", 2), of=("A",), sides=("output",))
