"""The importance map as a drawing: what stands where, read back from the axes."""

from dataclasses import replace

import numpy as np
import pytest

from tunescope.questions.importance.figures import importance_figure, importance_map
from tunescope.questions.importance.views import ImportanceMap


@pytest.fixture
def view():
    values = np.linspace(0, 1, 30).reshape(6, 5)
    values[2, 3] = np.nan
    columns = ("Layer Importance", "mlp.down_proj", "mlp.up_proj", "self_attn.q_proj", "self_attn.q_norm")
    ticks = tuple((k / 5, f"{k / 5:.1f}") for k in range(6))
    layers, caption = tuple(range(6)), "Words. " * 40
    return ImportanceMap(
        "Importance", "taylor", layers, columns, values, "Layer Importance", "score", ticks, caption
    )


def test_layers_go_down_from_zero_with_even_ticks(view):
    """Layer 0 at the top as in every other picture, every second layer named."""
    ax = importance_map(view)
    bottom, top = ax.get_ylim()
    assert bottom > top
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "2", "4"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Parameter", "Layer")


def test_columns_are_named_at_an_angle_in_their_order(view):
    """Every column has its name below, at 45 degrees."""
    ax = importance_map(view)
    assert [label.get_text() for label in ax.get_xticklabels()] == list(view.columns)
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {45.0}


def test_the_scale_runs_from_zero_to_one_and_dark_is_more(view):
    """Colours are anchored at zero; the largest cell is the darkest."""
    ax = importance_map(view)
    image = ax.images[0]
    assert image.get_clim() == (0, 1)
    colours = image.to_rgba(view.values[:, 1:])[..., :3].sum(-1)
    assert colours[0, 0] > colours[5, 3]
    drawn = np.ma.filled(image.get_array(), np.nan)
    np.testing.assert_array_equal(np.isnan(drawn), np.isnan(view.values[:, 1:]))


def test_layer_importance_below_zero_is_another_colour_hatched_with_zero_marked(view):
    """Two blocks whose removal lowers the loss: orange and hatched, and the scale has a tick below zero."""
    view.values[:, 0] = [-0.5, 0.2, -0.1, 0.4, 1.0, 0.0]
    ax = importance_map(view)
    column = ax.images[1]
    red, _, blue, _ = column.to_rgba(view.values[:, :1]).transpose(2, 0, 1)[:, :, 0]
    assert (red > blue)[[0, 2]].all()
    assert (red < blue)[[3, 4]].all()
    assert [patch.get_y() for patch in ax.patches if patch.get_hatch()] == [-0.5, 1.5]
    bar = ax.child_axes[1]
    assert [label.get_text() for label in bar.get_yticklabels()] == ["−0.5", "1", "0"]
    assert len(bar.lines) == 1


def test_a_figure_holds_every_stack_and_no_prose(view):
    """Two stacks, two panels; the caption stands beside the picture, not in it."""
    figure = importance_figure([view, view])
    assert len([ax for ax in figure.axes if ax.get_xlabel() == "Parameter"]) == 2
    assert not figure.get_supxlabel()


def test_layers_and_parameters_have_one_scale_where_it_is_the_same(view):
    """Two bars with the same colours and numbers left open which was whose."""

    def bars(of):
        return [bar.get_ylabel() for bar in importance_map(of).child_axes]

    values = np.abs(view.values)
    values[:, 0] = np.linspace(0, 1, 6)
    assert bars(replace(view, values=values)) == ["score\nLayer Importance"]
    assert len(bars(replace(view, values=values, even=False))) == 2
    values[0, 0] = -0.5
    assert len(bars(replace(view, values=values))) == 2


@pytest.mark.parametrize("layers", [6, 80])
@pytest.mark.parametrize("last", ["self_attn.q_norm", "post_attention_layernorm_of_every_block"])
def test_names_of_both_scales_lie_on_the_picture(view, layers, last):
    """Of a narrow map with values below zero, the name of the second scale began beyond the edge."""
    values = np.linspace(-1, 1, layers * 5).reshape(layers, 5)
    columns = (last, *view.columns[1:-1], last)
    own = "Layer Importance ÷ its largest size (3 below 0, hatched)"
    wide = replace(view, layers=tuple(range(layers)), values=values, columns=columns, own_scale=own)
    figure = importance_figure([wide, wide])
    figure.canvas.draw()
    names = [bar.yaxis.label for ax in figure.axes for bar in ax.child_axes]
    assert len(names) == 4
    for name in (*names, *figure.axes[0].get_xticklabels()):
        box = name.get_window_extent()
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
