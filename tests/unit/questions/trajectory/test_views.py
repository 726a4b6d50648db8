from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tunescope.questions.trajectory import layers
from tunescope.questions.trajectory.gallery import gallery
from tunescope.questions.trajectory.views import Track, animation, norm_grid, panel_name, track


def simple(label: str, steps: list[int], epochs: list[float], scale: float = 1.0) -> Track:
    centre = scale * np.outer(np.arange(len(steps)), np.linspace(-1, 1, 4))
    return Track(
        label, label, np.arange(4), np.array(steps), np.array(epochs), centre, np.full_like(centre, 0.5),
        np.zeros(centre.shape, dtype=bool),
    )  # fmt: skip


def test_limits_hold_every_band_of_every_capture() -> None:
    view = animation(
        "x", "", "", "mean", [simple("a", [0, 1, 2], [0, 0.5, 1]), simple("b", [0, 1], [0, 1], 3)]
    )
    assert view.limits[0] < -3.5
    assert view.limits[1] > 3.5
    assert animation("x", "", "", "abs_mean", list(view.tracks)).limits[0] == 0


def test_there_is_one_frame_for_each_capture_of_the_longest_run() -> None:
    long = simple("a", [10, 20, 30, 40], [0.25, 0.5, 0.75, 1.0])
    short = simple("b", [6, 12], [0.5, 1.0])
    view = animation("x", "", "", "mean", [short, long])
    assert [m.captures for m in view.moments] == [(0, 0), (0, 1), (0, 2), (1, 3)]
    assert [m.caption for m in view.moments][-1] == "steps 12–40 · epoch 1.00"
    assert [m.progress for m in view.moments] == [0.25, 0.5, 0.75, 1.0]


def test_unknown_epochs_are_left_out_and_steps_align() -> None:
    view = animation("x", "", "", "mean", [simple("a", [500, 2000], [np.nan, np.nan])])
    assert [m.caption for m in view.moments] == ["step 500", "step 2,000"]


def test_a_run_that_stays_at_zero_still_has_limits() -> None:
    flat = simple("a", [0], [0.0])
    still = replace(flat, centre=flat.centre * 0, spread=flat.spread * 0)
    assert animation("x", "", "", "mean", [still]).limits == (-1, 1)
    assert animation("x", "", "", "abs_mean", [still]).limits == (0, 1)


def test_names_become_harmless_file_names() -> None:
    assert panel_name("2e-4", "../../etc/passwd", "mean") == "2e-4_etc-passwd_mean"
    assert panel_name("a/b", "…") == "a-b_run"


def run(
    name: str, domain: str | None, rate: float | None, seed: int | None = 0, factors: str = "AB"
) -> pl.DataFrame:
    rows: list[dict[str, Any]] = [
        {
            "run": name, "domain": domain, "learning_rate": rate, "seed": seed, "step": step,
            "epoch": step / 2, "numel": 4, "delta_frobenius_norm": float(step), "abs_variance": 1.0,
            "stack": "model", "layer": layer, "module_type": "self_attn.q_proj", "family": "attention",
            "component_name": f"L{layer}", "factor": factor, "reference": "start", "mean": 1.0,
            "variance": 1.0, "abs_mean": 1.0,
        }
        for step in (1, 2) for layer in range(3) for factor in factors
    ]  # fmt: skip
    return layers.frame(rows)


def built(*runs: pl.DataFrame) -> Any:
    motion = pl.concat(runs)
    return gallery(layers.by_layer(motion), layers.norms_by_layer(motion))


def test_all_domains_come_first_then_each_with_its_rates() -> None:
    made = built(*(run(f"{d}/{r}", d, r) for r in (1e-3, 2e-4) for d in ("python", "cpp")))
    titles = [(title, [p.title for p in panels]) for title, panels in made.chapters]
    rates = ["Learning rate 2e-4", "Learning rate 1e-3"]
    assert titles == [("All domains", rates), ("cpp", rates), ("python", rates)]
    names = [p.mean.name for p in made.panels()]
    assert names == [
        "2e-4_all_mean",
        "1e-3_all_mean",
        "2e-4_cpp_mean",
        "1e-3_cpp_mean",
        "2e-4_python_mean",
        "1e-3_python_mean",
    ]
    assert made.chapters[1][1][0].abs_mean.name == "2e-4_cpp_abs_mean"
    assert made.chapters[1][1][0].norm[0] == "2e-4_cpp_norm"
    assert len(made.chapters[0][1][0].mean.tracks) == 2


def test_a_folder_of_checkpoints_is_named_by_its_run() -> None:
    (panel,) = built(run("my run", None, None, None)).panels()
    assert panel.mean.name == "my-run_mean"


def test_runs_that_share_domain_and_rate_get_different_names() -> None:
    made = built(
        run("a", "cpp", 2e-4, 0),
        run("b", "cpp", 2e-4, 1),
        run("c", "cpp", 2e-4, 0, "W"),
        run("d", "cpp", 2e-4, 0),
    )
    names = [p.mean.name for p in made.panels()]
    assert len(set(names)) == len(names)
    assert "2e-4_cpp_full_mean" in names
    assert "2e-4_cpp_seed-1_mean" in names


def test_runs_of_which_no_rate_is_known_have_a_picture_of_all() -> None:
    made = built(*(run(f"run-{i}", None, None, None, "W") for i in range(6)))
    (title, (panel,)), *rest = made.chapters
    assert (title, panel.title, panel.mean.name) == ("All runs", "All runs", "all_runs_mean")
    assert panel.runs == tuple(f"run-{i}" for i in range(6))
    assert [track.label for track in panel.abs_mean.tracks] == list(panel.runs)
    assert [title for title, _ in rest] == list(panel.runs)


def test_a_run_that_is_called_like_the_picture_of_all_keeps_its_own() -> None:
    made = built(*(run(name, None, None, None) for name in ("all_runs", "b")))
    names = [panel.mean.name for panel in made.panels()]
    assert len(set(names)) == len(names) == 3


def test_one_run_alone_has_no_picture_of_all() -> None:
    assert [title for title, _ in built(run("a", "cpp", 2e-4)).chapters] == ["cpp"]


def test_mixed_origins_draw_b_alone() -> None:
    frame = run("a", None, None, None).with_columns(
        reference=pl.when(pl.col("factor") == "A").then(pl.lit("first_checkpoint")).otherwise(pl.lit("zero")),
        mean=pl.when(pl.col("factor") == "A").then(0.0).otherwise(2.0),
    )
    (panel,) = built(frame).panels()
    assert (panel.mean.tracks[0].centre == 2.0).all()
    assert "LoRA B" in panel.mean.subtitle


def test_a_track_orders_layers_and_steps() -> None:
    frame = layers.by_layer(run("a", None, None)).filter(pl.col("factor") == "A").reverse()
    found = track(frame, "mean", label="a", key="a")
    assert found is not None
    assert found.layers.tolist() == [0, 1, 2]
    assert found.steps.tolist() == [1, 2]


def test_the_norm_grid_has_layers_down_and_steps_across() -> None:
    grid = norm_grid(layers.norms_by_layer(run("a", None, None)), "a")
    assert grid is not None
    assert (grid.rows, grid.columns) == (("L0", "L1", "L2"), ("1", "2"))
    assert grid.values.tolist() == [[1.0, 2.0]] * 3
    unknown = layers.norms_by_layer(
        run("a", None, None).with_columns(delta_frobenius_norm=pl.lit(None, pl.Float64))
    )
    assert norm_grid(unknown, "a") is None


@pytest.mark.parametrize("statistic", ["mean", "abs_mean"])
def test_alt_text_speaks_from_the_numbers(statistic: str) -> None:
    view = animation("x", "", "", statistic, [simple("cpp", [1, 2, 3], [0.1, 0.2, 0.3])])
    assert "cpp largest in size at layer 0 (−2)" in view.alt()


def test_of_layers_that_do_not_differ_none_is_called_the_largest() -> None:
    still = simple("cpp", [1, 2, 3], [0.1, 0.2, 0.3])
    view = animation("x", "", "", "mean", [replace(still, centre=np.zeros_like(still.centre))])
    assert "cpp the same in every layer (0)" in view.alt()
    assert "largest" not in view.alt()
