"""Maps are pixels in PNG and rectangles in SVG and PDF; scales print their limits."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tunescope.picture.cells import cells, scale
from tunescope.picture.grid import heatmap
from tunescope.picture.style import figure_of, own_axes, save
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


def test_pixels_and_rectangles_agree() -> None:
    values = np.random.default_rng(0).random((3, 4))
    ax = own_axes(None, 4.0, 3.0)
    image = cells(ax, values, "viridis", (0.0, 1.0))
    colours = image.to_rgba(values, bytes=True).astype(float) / 255
    for colour, path in image._paths():
        for corner in path.vertices[::5]:
            x, y = (corner + 0.5).round().astype(int)
            np.testing.assert_allclose(colours[y, x], colour)
    assert sum(len(path.vertices) // 5 for _, path in image._paths()) == 12


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
    (png,) = save(figure, tmp_path / "f", ("png",))
    figure.savefig(tmp_path / "plain.png", dpi=150)
    with Image.open(png) as ours, Image.open(tmp_path / "plain.png") as plain:
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(plain))
