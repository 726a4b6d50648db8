"""Many maps stand on one sheet: one scale, one set of rows and columns, labels at the edges."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tunescope.picture.cells import broken
from tunescope.picture.grid import ends_text, heatmaps, size_of
from tunescope.picture.lettering import names
from tunescope.picture.matrix import matrices
from tunescope.picture.matrix_views import Matrix
from tunescope.picture.profiles import curves, profiles, rankings
from tunescope.picture.sheet import aligned, sheet
from tunescope.picture.style import save
from tunescope.picture.views import Curve, Grid, Line, Profile, Ranking, shared


def panel(title: str, rows: int = 6, columns: tuple[str, ...] = ("Q", "K", "V"), top: float = 1.0) -> Grid:
    values = np.linspace(0, top, rows * len(columns)).reshape(rows, len(columns))
    labels = tuple(f"L{i}" for i in range(rows))
    return Grid(title, labels, columns, values, np.zeros(values.shape, bool), "size", (0.0, top))


def test_all_panels_of_a_kind_have_one_scale() -> None:
    scaled = shared([panel("a", top=1.0), panel("b", top=4.0)])
    assert {grid.limits for grid in scaled} == {(0.0, 4.0)}
    from_data = shared([panel("a", top=1.0), panel("b", top=4.0)], "data")
    assert {grid.limits for grid in from_data} == {(0.0, 4.0)}
    figure = sheet([scaled])
    assert {image.get_clim() for image in figure.axes[0].images} == {(0.0, 4.0)}


def test_limits_from_the_data_begin_at_the_smallest_value() -> None:
    view = panel("a")
    (found,) = shared([view.with_cells(view.rows, view.columns, view.values + 2, view.broken)], "data")
    assert found.limits == (2.0, 3.0)


def test_models_with_other_layers_and_modules_get_the_rows_and_columns_of_all() -> None:
    first, second = aligned([panel("a", 3), panel("b", 2, ("Q", "Up"))])
    assert first.columns == second.columns
    assert set(first.columns) == {"Q", "K", "V", "Up"}
    assert first.rows == second.rows == ("L0", "L1", "L2")
    assert np.isnan(second.values[2]).all()
    assert second.values[1, second.columns.index("Up")] == 1.0


def test_twelve_long_names_stand_apart_and_inside_the_sheet() -> None:
    labels = [f"tinyllama-1.1b-chat_turkish_instructions_lr{k}e-4" for k in range(12)]
    figure = sheet([[panel(name, 22) for name in labels]])
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    titles = [text for text in figure.axes[0].texts if "…" in text.get_text()]
    assert len({text.get_text() for text in titles}) == 12
    boxes = [text.get_window_extent(renderer) for text in titles]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_name_of_a_scale_beside_low_maps_with_long_names_of_modules_lies_on_the_paper() -> None:
    """It has room along the whole block, but its scale is as high as the cells."""
    columns = ("Q", "Input layernorm", "Post attention layernorm, of every block")
    label = "‖ΔW‖_F / √d_out (unit of the weights)"
    figure = sheet([[replace(panel("a", 6, columns), label=label) for _ in "ab"]])
    (name,) = (text for text in figure.axes[0].texts if text.get_text().replace("\n", " ") == label)
    box = name.get_window_extent(figure.canvas.get_renderer())  # type: ignore[attr-defined]
    assert figure.bbox.y0 <= box.y0
    assert box.y1 <= figure.bbox.y1


@pytest.mark.parametrize("rows", [1, 80, 400])
def test_any_number_of_layers_fits_a_page(rows: int) -> None:
    _, height = size_of([panel("m", rows)])
    assert height <= 11
    figure = heatmaps([panel("m", rows)])
    figure.canvas.draw()
    labels = [t for t in figure.axes[0].get_yticklabels() if t.get_text()]
    boxes = [label.get_window_extent() for label in labels]
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))


def test_a_map_of_128_experts_names_some_of_them() -> None:
    values = np.random.default_rng(0).random((24, 128))
    names = tuple(f"L{i}" for i in range(24)), tuple(map(str, range(128)))
    none = np.zeros(values.shape, bool)
    grid = Grid("m", *names, values, none, "size", (0.0, 1.0), across="expert", numbered=True)
    figure = heatmaps([grid])
    figure.canvas.draw()
    (ax,) = [ax for ax in figure.axes if ax.get_xlabel() == "expert"]
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert len(boxes) > 8
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))


@pytest.mark.parametrize("layers", [0, 5])
def test_matrices_are_drawn_with_their_numbers(layers: int) -> None:
    values = np.array([[1.0, 0.2], [0.2, 1.0]])
    views = [Matrix(f"L{k}", ("a", "b"), values) for k in range(layers + 1)]
    drawn = matrices(views[:1], views[1:], "output side")
    texts = [text.get_text() for text in drawn.axes[0].texts]
    assert [text for text in texts if text in ("1.00", "0.20")] == ["1.00", "0.20", "0.20", "1.00"]
    assert [text for text in texts if text.startswith("L")] == [f"L{k}" for k in range(layers + 1)]
    assert texts[0] == "output side"


@pytest.mark.parametrize(
    "title", ["cpp · learning rate 1e-3", "math_reasoning · learning rate 2e-4", "x" * 44]
)
@pytest.mark.parametrize("columns", [1, 3, 13])
def test_the_title_of_a_map_alone_is_whole_and_leaves_its_scale_free(title: str, columns: int) -> None:
    figure = sheet([[panel(title, 10, tuple(map(str, range(columns))))]])
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in figure.axes[0].texts}
    heading = boxes.pop(title)
    assert not any(heading.overlaps(box) for box in boxes.values())
    assert heading.x1 < figure.bbox.x1


def outside(title: str, value: float) -> Grid:
    return Grid(title, ("",), ("Embed",), np.full((1, 1), value), np.zeros((1, 1), bool), "size", (0.0, 1.0))


@pytest.mark.parametrize(("value", "limits", "bars"), [(0.0, (0.0, 4.0), 1), (9.0, (0.0, 9.0), 2)])
def test_what_is_outside_has_a_scale_of_its_own_only_where_it_moved(
    value: float, limits: tuple[float, float], bars: int
) -> None:
    maps = shared([panel("a", top=4.0), outside("a · outside", value)])
    assert [grid.limits for grid in maps] == [(0.0, 4.0), limits]
    figure = sheet([[maps[0]], [maps[1]]])
    assert [text.get_text() for text in figure.axes[0].texts].count("size") == bars


def test_a_caption_says_the_scale_of_what_is_outside_where_it_is_another() -> None:
    maps = [panel("a", top=4.0), outside("a · outside", 9.0)]
    assert ends_text(*shared(maps)) == "colours from 0 to 4, outside the layers from 0 to 9"
    assert ends_text(*reversed(shared(maps))) == "colours from 0 to 4, outside the layers from 0 to 9"
    assert ends_text(*shared([panel("a", top=4.0), outside("a · outside", 0.0)])) == "colours from 0 to 4"


def test_the_name_of_a_scale_ends_before_the_small_matrices_begin() -> None:
    large = Matrix("all weights", ("a", "b", "c"), np.eye(3), "(φ − chance)/(1 − chance), mean over weights")
    figure = matrices([large], [Matrix(f"L{k}", ("a", "b", "c"), np.eye(3)) for k in range(26)])
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    (ax,) = figure.axes
    first = ax.transData.transform((ax.images[-1].get_extent()[0], 0))[0]
    (name,) = [text for text in ax.texts if text.get_text().startswith("(φ")]
    assert name.get_window_extent(renderer).x1 < first


def test_names_of_bars_lie_inside_the_picture(tmp_path: Path) -> None:
    long = tuple(f"L{k}_MLP_DOWN" for k in range(12, 27))
    figure = rankings([Ranking("cpp", long, np.arange(15.0, 0, -1), ("mlp",) * 15, "size")] * 2)
    save(figure, tmp_path / "bars")
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    assert all(t.get_window_extent(renderer).x0 > 0 for ax in figure.axes for t in ax.get_yticklabels())


def test_titles_of_rankings_side_by_side_meet_neither_each_other_nor_the_edge(tmp_path: Path) -> None:
    bars = tuple(f"L{k}_ATTN_V" for k in range(15))
    titles = [f"task-{k:02d}-with-a-rather-long-name-of-a-run" for k in range(8)]
    views = [Ranking(title, bars, np.arange(15.0, 0, -1), ("attention",) * 15, "size") for title in titles]
    figure = rankings(views)
    save(figure, tmp_path / "bars")
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [ax.title.get_window_extent(renderer) for ax in figure.axes]
    assert len({ax.get_title() for ax in figure.axes}) == 8
    for row in (boxes[:4], boxes[4:]):
        assert row[-1].x1 < figure.bbox.width
        assert all(one.x1 < next_.x0 for one, next_ in pairwise(row))


def test_lines_that_coincide_are_drawn_one_inside_the_other() -> None:
    x, y = np.arange(1, 9), np.linspace(0.2, 1.0, 8)
    lines = [Curve("a", x, y, y, y), Curve("b", x, y, y, y), Curve("c", x, y / 2, y, y)]
    widths = [line.get_linewidth() for line in curves(lines, "t", "share", "k").lines]
    assert widths[0] >= widths[1] + 1.5
    assert widths[1] == widths[2]


def test_names_that_the_font_must_spell_are_shortened_and_stay_apart() -> None:
    shown = names(["学習済みモデルその一", "学習済みモデルその二", "plain"], 26)
    assert len(set(shown)) == 3
    assert all(len(name) <= 52 for name in shown)
    assert names(["学習済み", "plain"], 16)[0].count("…") == 1


def test_names_of_rows_leave_the_name_of_their_axis_free() -> None:
    rows = tuple(f"run-{k:02d}-lr-{k}e-4-long-name" for k in range(12))
    values = np.ones((12, 26))
    none = np.zeros(values.shape, bool)
    numbers = tuple(map(str, range(26)))
    grid = Grid("mlp", rows, numbers, values, none, "size", (0.0, 1.0), "model", "layer", True)
    figure = sheet([[grid]])
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in figure.axes[0].texts}
    model = boxes.pop("model")
    assert not any(model.overlaps(box) for box in boxes.values())


def test_every_kind_of_weight_is_named_below_a_sheet() -> None:
    kinds = ("Gate", "Up", "Down", "Q", "K", "V", "O")
    for count in (2, 3, 12):
        shown = [
            text.get_text()
            for text in sheet([[panel(f"m{k}", 26, kinds) for k in range(count)]]).axes[0].texts
        ]
        assert all(kind in shown for kind in kinds)


def test_the_name_of_a_scale_lies_within_the_sheet_whatever_its_numbers() -> None:
    """Numbers with an exponent are wide, and a small map leaves the name two lines."""
    grid = Grid(
        title="run", rows=("L0", "L1"), columns=("10", "20"), values=np.full((2, 2), 7.19e-4),
        broken=np.zeros((2, 2), dtype=bool), label="‖ΔW‖ of the layer (unit of the weights)",
        limits=(0.0, 7.19e-4), across="step", numbered=True,
    )  # fmt: skip
    figure = sheet([[grid]])
    figure.canvas.draw()
    (name,) = [text for text in figure.axes[0].texts if "unit of the weights" in text.get_text()]
    assert name.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize(("count", "rows"), [(12, 80), (7, 10), (10, 30), (5, 6)])
def test_no_row_of_a_sheet_is_emptier_than_the_others_need(count: int, rows: int) -> None:
    figure = sheet([[panel(f"run-{k}", rows) for k in range(count)]])
    titles = [text.get_position() for text in figure.axes[0].texts if text.get_text().startswith("run-")]
    across = [sum(y == row for _, y in titles) for row in dict.fromkeys(y for _, y in titles)]
    assert sum(across) == count
    assert max(across) == -(-count // len(across))


def test_maps_of_many_layers_below_each_other_share_a_page() -> None:
    """Layers × heads of a model of 80 layers: four maps were 28 inches high."""
    wide = tuple(map(str, range(64)))
    figure = heatmaps([replace(panel(kind, 80, wide), numbered=True) for kind in "QKVO"])
    assert figure.get_size_inches()[1] < 16
    figure.canvas.draw()
    for ax in figure.axes:
        boxes = [label.get_window_extent() for label in ax.get_yticklabels() if label.get_text()]
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))


def test_names_of_lines_lie_inside_the_picture() -> None:
    labels = [f"meta-llama-3.1-70b-instruct-{k}-v2-lora-r16-alpha32-checkpoint-1000" for k in "abcdef"]
    lines = tuple(Line(label, np.arange(4), np.arange(4.0) + k) for k, label in enumerate(labels))
    figure = profiles([Profile("mlp", lines, "size"), Profile("attention", lines, "size")])
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1


def test_a_title_keeps_the_part_of_the_model_that_its_map_is_of() -> None:
    model = "meta-llama-3.1-70b-instruct-lora"
    maps = [replace(panel(f"{model}-{k} · outside blocks"), model=f"{model}-{k}") for k in "ab"]
    drawn = {text.get_text() for text in sheet([maps]).axes[0].texts}
    assert sum(text.endswith(" · outside blocks") for text in drawn) == 2


def test_a_caption_says_what_pale_and_crossed_cells_are() -> None:
    whole = panel("a")
    values, broken = whole.values.copy(), whole.broken.copy()
    values[0, 0], values[1, 1], broken[1, 1] = np.nan, np.nan, True
    assert ends_text(whole) == "colours from 0 to 1"
    holed = whole.with_cells(whole.rows, whole.columns, values, broken)
    said = "colours from 0 to 1; pale: no such weight, or no number of it; 1 cell crossed out: not finite"
    assert ends_text(holed) == said


def test_a_formula_in_the_name_of_a_scale_is_not_broken() -> None:
    for room in (1.0, 1.5, 2.0):
        lines = broken("difference of ‖ΔW‖_F / √d_out (unit of the weights)", room).split("\n")
        assert "‖ΔW‖_F / √d_out" in " ".join(line for line in lines if "‖" in line)
        assert not any(line.startswith(("/ ", "√")) for line in lines)
