"""`tunescope verify` with adapters that depend on each other: what a merge tells of them is told."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import tunescope

BF16 = np.dtype(ml_dtypes.bfloat16)
D, RANK = 96, 4
NAMES = [f"model.layers.{k}.{m}" for k in range(2) for m in ("self_attn.q_proj", "mlp.up_proj")]
Factors = dict[str, tuple[np.ndarray, np.ndarray]]


def drawn(seed: int, ratio: float = 1e-2) -> Factors:
    """B and A of every module, ‖BA‖ = ratio·‖W‖."""
    draw, found = np.random.default_rng([7, seed]), {}
    for name in NAMES:
        B, A = draw.standard_normal((D, RANK)), draw.standard_normal((RANK, D))
        B *= ratio * 0.02 * D / np.linalg.norm(B @ A)
        found[name] = B.astype("f4"), A.astype("f4")
    return found


def scaled(factors: Factors, *by: float) -> Factors:
    """The same with each module's update times a number, one for all or one for each."""
    return {
        name: (np.float32(by[i % len(by)]) * factors[name][0], factors[name][1])
        for i, name in enumerate(factors)
    }


def stacked(a: Factors, b: Factors) -> Factors:
    return {n: (np.hstack([a[n][0], b[n][0]]), np.vstack([a[n][1], b[n][1]])) for n in a}


class Merges:
    """A base, adapters beside it, and merges of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.held = folder, {}
        draw = np.random.default_rng(0)
        self.base = {f"{n}.weight": (0.02 * draw.standard_normal((D, D))).astype(BF16) for n in NAMES}
        self._save("base", "model", self.base)

    def _save(self, label: str, stem: str, tensors: dict[str, np.ndarray]) -> None:
        (self.folder / label).mkdir(parents=True)
        save_file(tensors, self.folder / label / f"{stem}.safetensors")

    def add(self, label: str, factors: Factors) -> None:
        self.held[label] = factors
        tensors = {}
        for name, (B, A) in factors.items():
            tensors |= {f"base_model.model.{name}.lora_{k}.weight": f for k, f in (("A", A), ("B", B))}
        self._save(label, "adapter_model", tensors)
        rank = next(iter(factors.values()))[1].shape[0]
        config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": "all-linear"}
        (self.folder / label / "adapter_config.json").write_text(json.dumps(config))

    def verify(self, planted: dict[str, float], expect: dict[str, float] | None = None) -> dict[str, Any]:
        merged = {}
        for name in NAMES:
            total = self.base[f"{name}.weight"].astype("f8")
            for label, c in planted.items():
                if name in self.held[label]:
                    B, A = (f.astype("f8") for f in self.held[label][name])
                    total = total + c * B @ A
            merged[f"{name}.weight"] = total.astype("f4").astype(BF16)
        self._save("merged", "model", merged)
        sources = [f"{label}={self.folder / label}" for label in self.held]
        study = tunescope.verify(
            self.folder / "merged", *sources, base=self.folder / "base", expect=expect or {}
        )
        return study.readout


@pytest.fixture
def merges(tmp_path: Path) -> Merges:
    return Merges(tmp_path)


def near(readout: dict[str, Any], **values: float) -> None:
    found = readout["coefficients"]
    assert {label.replace("-", "_less_").replace("+", "_and_") for label in found} == set(values)
    for label, value in found.items():
        want = values[label.replace("-", "_less_").replace("+", "_and_")]
        assert value["value"] == pytest.approx(want, abs=max(3 * value["stderr"], 2e-3)), label


@pytest.mark.parametrize(
    ("planted", "expect", "verdict", "apart"),
    [
        ({"a": 1.0, "b": 1.0}, {"n": 0.0}, "as_expected", 1.0),
        ({"a": 1.0, "n": 1.0, "b": 1.0}, {}, "as_expected", 0.0),
        ({"a": 2.0, "b": 1.0}, {"n": 0.0}, "mixture", 2.0),
        ({"n": 1.0, "b": 1.0}, {"a": 0.0}, "as_expected", -1.0),
    ],
)
def test_of_an_adapter_and_its_negation_the_difference_is_told(
    merges: Merges, planted: dict[str, float], expect: dict[str, float], verdict: str, apart: float
) -> None:
    a = drawn(1)
    for label, factors in (("a", a), ("n", scaled(a, -1)), ("b", drawn(2))):
        merges.add(label, factors)
    readout = merges.verify(planted, expect)
    assert readout["verdict"] == verdict
    near(readout, a_less_n=apart, b=1.0)
    assert readout["sums"] == {"a-n": {"a": 1.0, "n": pytest.approx(-1.0)}}
    text = readout["findings"][0]["text"]
    assert "No merge tells a and n apart: a-n stands for the coefficient of a less that of n, " in text


@pytest.mark.parametrize(
    ("planted", "expect", "verdict"),
    [
        ({"a": 1.0, "b": 1.0}, {"s": 0.0}, "as_expected"),
        ({"s": 1.0}, {"a": 0.0, "b": 0.0}, "as_expected"),
        ({"a": 1.0, "s": 0.5}, {"b": 0.0, "s": 0.5}, "as_expected"),
        ({"a": 1.0}, {"s": 0.0}, "mixture"),
    ],
)
def test_of_two_adapters_and_their_sum_the_two_sums_are_told(
    merges: Merges, planted: dict[str, float], expect: dict[str, float], verdict: str
) -> None:
    a, b = drawn(1), drawn(2)
    for label, factors in (("a", a), ("b", b), ("s", stacked(a, b))):
        merges.add(label, factors)
    readout = merges.verify(planted, expect)
    assert readout["verdict"] == verdict
    own = {label: planted.get(label, 0.0) for label in "abs"}
    near(readout, a_and_s=own["a"] + own["s"], b_and_s=own["b"] + own["s"])
    text = readout["findings"][0]["text"]
    assert "No merge tells a, s and b apart: a+s stands for the coefficients of a and s added up, " in text


def test_a_smaller_copy_counts_by_its_size(merges: Merges) -> None:
    a = drawn(1)
    merges.add("a", a)
    merges.add("half", scaled(a, 0.5))
    readout = merges.verify({"half": 1.0}, {"a": 0.0})
    assert readout["verdict"] == "as_expected"
    near(readout, a_and_half=0.5)
    text = readout["findings"][0]["text"]
    assert "a+half stands for the coefficient of a plus 0.5 times that of half, 0.5 where" in text


def test_an_adapter_that_is_read_alone_elsewhere_is_told_apart_from_its_copy_in_part(merges: Merges) -> None:
    a = drawn(1)
    merges.add("a", a)
    merges.add("part", {name: a[name] for name in NAMES[:2]})
    readout = merges.verify({"a": 1.0, "part": 0.5}, {"part": 0.5})
    assert readout["verdict"] == "as_expected"
    near(readout, a=1.0, part=0.5)


def test_copies_scaled_otherwise_in_every_module_are_told_by_all_of_them_together(merges: Merges) -> None:
    a = drawn(1)
    merges.add("a", a)
    merges.add("b", scaled(a, 0.5, -1, 2, 1))
    readout = merges.verify({"a": 1.0, "b": 0.7}, {"b": 0.7})
    assert readout["verdict"] == "as_expected"
    near(readout, a=1.0, b=0.7)
    assert readout["sums"] == {}
