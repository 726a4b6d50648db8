"""Figures of an attribution: what is drawn where, and labels that cover nothing."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Annotation

from tunescope.picture.labels import place_labels
from tunescope.picture.style import figure_of, new_figure, style
from tunescope.picture.views import Grid
from tunescope.questions.attribution.figures import attribution_maps, change_effect, verification
from tunescope.questions.attribution.views import Checks, Map, Scatter, of_change


def grid(rows, columns):
    values = np.random.default_rng(0).normal(size=(len(rows), len(columns)))
    top = float(np.abs(values).max())
    return Grid("run", rows, columns, values, np.zeros(values.shape, bool), "loss", (-top, top))


def boxes(labels):
    return [super(Annotation, label).get_window_extent() for label in labels]


def test_a_map_has_its_zero_in_the_middle_of_the_colours():
    """White at zero, blue below, red above; sums are bars in the order of the map."""
    view = grid(("L0", "L1", "L2"), ("Q", "V"))
    outside = grid(("",), ("Embed",))
    panels = [Map(g, "blue: lowered", g.values.sum(1), g.values.sum(0)) for g in (view, outside)]
    figure = attribution_maps(panels)
    image = next(ax.images[0] for ax in figure.axes if ax.images)
    red, _, blue, _ = image.cmap(image.norm(0.0))
    assert min(red, blue) > 0.95
    low, high = image.cmap(image.norm(view.limits[0])), image.cmap(image.norm(view.limits[1]))
    assert low[2] > low[0]
    assert high[0] > high[2]
    lengths = [
        [bar.get_width() for bar in ax.patches]
        for ax in figure.axes
        if len(ax.patches) == 3 and not ax.images
    ]
    assert lengths[0] == pytest.approx(list(view.values.sum(1)))
    assert figure._supxlabel is None


def crowd(n=60, named=(0, 1, 2, 3, 4, 5)):
    rng = np.random.default_rng(3)
    change, effect = rng.lognormal(0, 0.3, n), rng.lognormal(-3, 1, n)
    return Scatter(
        "run on data", tuple(f"L{i}_ATTN_OUTPUT" for i in range(n)), ("mlp",) * n, change, effect,
        rng.random(n) < 0.5, rng.random(n) < 0.7, named, 0.31, 2, (0.8, 1.2, 0.02, 0.2),
    )  # fmt: skip


def test_names_cover_neither_each_other_nor_a_point():
    """In a crowd of sixty points, names that find no place are left out rather than laid over others."""
    view = crowd()
    ax = change_effect(view)
    labels = [child for child in ax.texts if isinstance(child, Annotation)]
    assert len(labels) >= 3
    figure_of(ax).draw_without_rendering()
    extents = boxes(labels)
    assert not any(a.overlaps(b) for a, b in combinations(extents, 2))
    points = ax.transData.transform(np.column_stack([view.change, view.effect]))
    assert not any(box.contains(*point) for box in extents for point in points)
    frame = ax.get_window_extent()
    assert all(frame.x0 <= b.x0 and b.x1 <= frame.x1 for b in extents)


def test_logarithmic_axes_have_plain_numbers():
    """No markup in a tick; what is missing stands in the caption, no prose in the picture."""
    points = crowd()
    ax = change_effect(points)
    figure_of(ax).draw_without_rendering()
    ticks = [t.get_text() for t in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    assert [t for t in ticks if t]
    assert not [t for t in ticks if "$" in t]
    assert of_change(points) == "Spearman 0.31 over 62 cells, 2 cells at zero not shown"
    assert ax.get_title() == points.title


def test_no_place_means_no_label():
    """A name longer than the axes is left out."""
    with style():
        ax = new_figure(2, 2).add_subplot()
        ax.plot([0.0, 1.0], [0.0, 1.0], "o")
        x = np.array([0.0, 1.0])
        assert place_labels(ax, x, x, [0], ["x" * 200, "b"]) == []
        assert len(ax.texts) == 0


def test_a_verification_shows_both_kinds_and_the_line_of_equality():
    """Largest filled, random open, each at its numbers."""
    attributed, measured = np.array([-0.3, -0.2, 0.01, 0.02]), np.array([-0.1, -0.05, 0.0, 0.03])
    errors = (np.full(4, 0.01), np.full(4, 0.02))
    largest = np.array([True, True, False, False])
    ax = verification(Checks("run", tuple("abcd"), attributed, measured, errors, largest))
    filled, opened = (c.lines[0] for c in ax.containers)
    assert filled.get_xdata().tolist() == [-0.3, -0.2]
    assert opened.get_markerfacecolor() == "white"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["equal", "largest", "random"]
