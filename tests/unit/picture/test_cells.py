"""Maps are pixels in PNG and rectangles in SVG and PDF; scales print their limits."""

import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from tunescope.picture.cells import cells, scale
from tunescope.picture.grid import heatmap
from tunescope.picture.style import figure_of, own_axes, save, style
from tunescope.picture.views import Grid


def grid(values: np.ndarray, title: str = "map") -> Grid:
    rows, columns = values.shape
    labels = tuple(f"L{i}" for i in range(rows)), tuple(f"m{j}" for j in range(columns))
    return Grid(title, *labels, values, np.zeros(values.shape, bool), "size", (0.0, 1.0))


def test_an_svg_holds_rectangles_and_text_and_no_pixels(tmp_path: Path) -> None:
    values = np.array([[0.1, 0.1, 0.9], [np.nan, 0.5, 0.5]])
    (svg,) = save(figure_of(heatmap(grid(values, "a <label> 語"))), tmp_path / "f", ("svg",))
    text = svg.read_text()
    assert "<image" not in text
    assert "a &lt;label&gt; \\u8a9e" in re.findall(r"<text[^>]*>(.*?)</text>", text)
    # Neighbours of one colour are one rectangle: three colours in row one and two, one pale cell.
    drawn = text.split('<g id="cells_1">')[1].split("</g>")[0]
    assert drawn.count("<path") == 4


@pytest.mark.parametrize("origin", ["upper", "lower"])
def test_pixels_and_rectangles_agree(origin: Literal["upper", "lower"]) -> None:
    ax = own_axes(None, 4.0, 3.0)
    image = cells(ax, np.random.default_rng(0).random((3, 4)), "viridis", (0.0, 1.0), origin=origin)
    ax.figure.draw_without_rendering()
    tiles = image._tiles()
    pixels, left, bottom = tiles.pixels()
    found = list(tiles.rectangles())
    assert sum(len(corners) for _, corners in found) == 12
    for colour, corners in found:
        for x0, y0, x1, y1 in corners:
            middle = pixels[int((y0 + y1) / 2) - bottom, int((x0 + x1) / 2) - left] / 255
            np.testing.assert_allclose(middle, colour)


@pytest.mark.parametrize("origin", ["upper", "lower"])
def test_pixels_are_those_of_matplotlibs_own_images(origin: Literal["upper", "lower"]) -> None:
    values = np.random.default_rng(0).random((7, 5))
    drawn = []
    for ours in (True, False):
        ax = own_axes(None, 3.3, 2.7)
        if ours:
            cells(ax, values, "viridis", (0.0, 1.0), origin=origin)
        else:
            ax.imshow(
                values, "viridis", vmin=0, vmax=1, origin=origin, interpolation="nearest", aspect="auto"
            )
        figure = figure_of(ax)
        figure.canvas.draw()
        drawn.append(np.asarray(figure.canvas.buffer_rgba()))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(*drawn)


def test_cells_beyond_the_axes_are_cut_off_in_every_format(tmp_path: Path) -> None:
    ax = heatmap(grid(np.arange(16.0).reshape(4, 4) / 16))
    ax.set(xlim=(0.0, 2.0), ylim=(2.0, 0.0))
    (svg,) = save(figure_of(ax), tmp_path / "f", ("svg",))
    drawn = svg.read_text().split('<g id="cells_1">')[1].split("</g>")[0]
    x = [float(v) for v in re.findall(r"[MH]([\d.]+)", drawn)]
    box = ax.get_window_extent().extents * 72 / 150
    assert (min(x), max(x)) == pytest.approx((box[0], box[2]), abs=0.02)


def test_a_file_is_the_same_whatever_is_drawn_beside_it(tmp_path: Path) -> None:
    figure = figure_of(heatmap(grid(np.eye(3))))
    both = save(figure, tmp_path / "both", ("png", "svg"))
    alone = [save(figure, tmp_path / "alone", (kind,))[0] for kind in ("png", "svg")]
    assert [p.read_bytes() for p in both] == [p.read_bytes() for p in alone]


def test_every_format_repeats_its_bytes(tmp_path: Path) -> None:
    view = grid(np.random.default_rng(1).random((5, 4)))
    first = save(figure_of(heatmap(view)), tmp_path / "a", ("png", "svg", "pdf"), caption="one")
    second = save(figure_of(heatmap(view)), tmp_path / "b", ("png", "svg", "pdf"), caption="one")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_the_text_of_a_pdf_is_text(tmp_path: Path) -> None:
    (pdf,) = save(figure_of(heatmap(grid(np.ones((2, 2))))), tmp_path / "f", ("pdf",))
    data = pdf.read_bytes()
    assert b"/CIDFontType2" in data
    assert b"/Type3" not in data
    assert b"/Subtype /Image" not in data


@pytest.mark.parametrize(
    ("limits", "ends"), [((0.0, 0.153), ("0", "0.153")), ((-2e-7, 2e-7), ("−2e−7", "2e−7"))]
)
def test_a_scale_prints_where_it_begins_and_ends(limits: tuple[float, float], ends: tuple[str, str]) -> None:
    bar = own_axes(None, 1.0, 3.0)
    scale(bar, "viridis", limits, "size")
    texts = [label.get_text() for label in bar.get_yticklabels()]
    assert (texts[0], texts[-1]) == ends
    assert bar.get_ylim() == limits


def test_a_png_keeps_its_pixels_whatever_its_compression(tmp_path: Path) -> None:
    figure = figure_of(heatmap(grid(np.eye(3))))
    (png,) = save(figure, tmp_path / "f", ("png",), caption="‖ΔW‖ of a")
    with style():
        figure.savefig(tmp_path / "plain.png", dpi=150)
    with Image.open(png) as ours, Image.open(tmp_path / "plain.png") as plain:
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(plain.convert("RGB")))
        assert ours.info["dpi"] == plain.info["dpi"]
        assert ours.text == {"Description": "‖ΔW‖ of a"}
