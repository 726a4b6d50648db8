"""The φ figure is drawn as published: axes, ticks, titles, one scale."""

import numpy as np
import pytest

from tunescope.picture.dusk import dusk
from tunescope.questions.subspace.figures import phi_figure, phi_panel
from tunescope.questions.subspace.views import Panel, PhiFigure

GRID = np.linspace(0, 1, 64 * 64).reshape(64, 64)


def test_a_panel_has_i_down_j_across_and_the_origin_at_the_top_left() -> None:
    ax = phi_panel(Panel("Layer 1", GRID), vmax=0.8)
    image = ax.get_images()[0]
    assert list(image.get_extent()) == [0.5, 64.5, 64.5, 0.5]
    assert image.origin == "upper"
    assert image.get_clim() == (0.0, 0.8)
    np.testing.assert_array_equal(image.get_array(), GRID)
    assert list(ax.get_yticks())[:3] == [1, 7, 13]
    assert list(ax.get_xticks())[:3] == [1, 6, 11]


def figure(vmax: float = 1.0, clipped: float = 0.0) -> PhiFigure:
    row = tuple(Panel(f"panel {k}", GRID[:8, :8]) for k in range(4))
    formula = "$\\phi(A_{r=8},\\ A'_{r=8},\\ i,\\ j)$"
    control = Panel("Random Gaussian", GRID[:8, :8] * 0)
    return PhiFigure(formula, (row, row), (control,), vmax, clipped)


def test_controls_fill_the_last_row_and_then_a_column_of_their_own() -> None:
    panels = tuple(Panel(f"{k}", GRID[:8, :8]) for k in range(7))
    controls = tuple(Panel(name, GRID[:8, :8]) for name in ("one", "two"))
    drawn = phi_figure(PhiFigure("$x$", (panels[:4], panels[4:]), controls, 1.0, 0.0))
    boxes = {ax.get_title(): ax.get_position() for ax in drawn.axes[:-1]}
    assert boxes["one"].x0 == pytest.approx(boxes["3"].x0)
    assert [boxes[k].y0 for k in ("one", "two")] == pytest.approx([boxes["4"].y0] * 2)
    assert boxes["two"].x0 > boxes["one"].x0


def test_all_panels_share_one_scale_and_one_colour_bar_and_the_control_is_last() -> None:
    drawn = phi_figure(figure(vmax=0.8, clipped=0.03))
    panels, bars = drawn.axes[:-1], drawn.axes[-1:]
    assert len(panels) == 9
    assert {ax.get_images()[0].get_clim() for ax in panels} == {(0.0, 0.8)}
    assert panels[-1].get_title() == "Random Gaussian"
    assert "clipped at 0.8: 3%" in bars[0].get_ylabel()
    assert drawn.get_suptitle().startswith("$\\phi(A_{r=8}")


def test_nothing_is_said_of_clipping_where_nothing_is_clipped() -> None:
    assert phi_figure(figure()).axes[-1].get_ylabel() == "φ"


def test_the_colour_maps_lightness_rises_evenly_from_dark_to_light() -> None:
    rgb = dusk()(np.linspace(0, 1, 256))[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(linear @ np.array([0.2126, 0.7152, 0.0722])) - 16
    assert lightness[0] < 12
    assert lightness[-1] > 90
    assert (np.diff(lightness) > 0).all()
