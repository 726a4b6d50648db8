"""What published adapters of other people are known to share, and not to share."""

from pathlib import Path

import polars as pl
import pytest

from tunescope.questions.subspace.study import subspace
from tunescope.study.study import Study


def study(*sources: str) -> Study:
    return subspace(*sources, of=("delta",))


def kinds(found: Study, a: str, b: str) -> set[str | None]:
    rows = found.table.frame.filter((pl.col("model_a") == a) & (pl.col("model_b") == b))
    return set(rows.filter(pl.col("status") == "ok")["finding"])


def whole_cosines(found: Study) -> dict[tuple[str, str], float]:
    return {(p["model_a"], p["model_b"]): p["delta_cosine"] for p in found.readout["pairs"]}


def test_the_qwen_checkpoints_are_one_run(real: Path) -> None:
    folder = real / "qwen2.5-0.5b_vinuni_r8"
    found = study(*(f"{k}={folder}/checkpoint-{k}" for k in (23, 46, 69)))
    assert kinds(found, "23", "46") == kinds(found, "23", "69") == kinds(found, "46", "69") == {"same_run"}
    assert whole_cosines(found)["23", "69"] == pytest.approx(0.928, abs=5e-4)
    assert whole_cosines(found)["46", "69"] == pytest.approx(0.998, abs=5e-4)


def test_the_portuguese_roberta_checkpoints_are_one_run(real: Path) -> None:
    folder = real / "roberta-base_portuguese-news_r8"
    found = study(*(f"{k}={folder}/checkpoint-{k}" for k in (500, 2000, 4000, 8610)))
    assert set(found.table.frame["finding"]) == {"same_run"}
    cosines = whole_cosines(found)
    assert cosines["500", "8610"] == pytest.approx(0.58, abs=5e-3)
    assert cosines["500", "8610"] < cosines["2000", "8610"] < cosines["4000", "8610"]


def test_portuguese_and_ag_news_share_nothing_although_z_is_large(real: Path) -> None:
    found = study(
        f"pt={real}/roberta-base_portuguese-news_r8/checkpoint-8610",
        f"ag={real}/roberta-base_agnews_r4_bias-all/checkpoint-1200",
    )
    assert kinds(found, "pt", "ag") == {"nothing_shared"}
    (pair,) = found.readout["pairs"]
    assert pair["excess_input"] < 0.1
    assert pair["excess_output"] < 0.1
    assert pair["overlap_output"] == pytest.approx(0.076, abs=2e-3)
    assert pair["overlap_output_chance"] == pytest.approx(0.010, abs=1e-3)
    assert found.table.frame["overlap_output_z"].mean() > 20  # type: ignore[operator]
    assert {f["kind"] for f in found.readout["findings"]} == {"nothing_shared"}
    assert pair["not_compared"] == {"only in ag": 12}


def test_the_three_sam_ranks_learned_common_directions_from_different_starts(real: Path) -> None:
    """Their input sides lie near chance, so what the output sides share was learned."""
    found = study(*(f"r{k}={real}/sam_lora_own-naming/lora_rank{k}.safetensors" for k in (2, 4, 8)))
    frame = found.table.frame
    assert frame.select("rank_a", "rank_b").unique().sort("rank_a", "rank_b").rows() == [
        (2, 4),
        (2, 8),
        (4, 8),
    ]
    assert frame["excess_input"].max() < 0.2  # type: ignore[operator]
    assert frame["excess_output"].min() > 0.3  # type: ignore[operator]
    assert set(frame["finding"]) == {"shared_directions", "first_directions_shared"}
    assert (frame["dimensions_shared_output"] >= 1).all()
