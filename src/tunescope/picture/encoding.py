"""A figure as the bytes of its files: the same bytes whenever the figure is the same."""

from collections.abc import Sequence
from io import SEEK_END, BytesIO, StringIO
from struct import pack
from typing import Any
from zlib import compress

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo, putchunk

from tunescope.picture.rendering import UNITS, Both

# The filter of a PNG that takes away the row above; inches to metres.
_UP, _METRE = 2, 0.0254


def encoded(figure: Figure, kinds: Sequence[str], caption: str = "") -> dict[str, bytes]:
    """The bytes of a figure as `png`, `svg` and `pdf`, at its own resolution and without a date.

    Pixels and SVG are drawn in one walk, and all is measured as the pixels need it, so that no file depends
    on which others were asked for.
    """
    about = {"Description": caption} if caption else {}
    out = {"pdf": _pdf(figure, caption)} if "pdf" in kinds else {}
    if not {"png", "svg"} & set(kinds):
        return out
    dpi = figure.dpi
    wide, high = (int(inches * dpi) for inches in figure.get_size_inches())
    # Both classes come without types.
    pixels: Any = RendererAgg(wide, high, dpi)  # type: ignore[no-untyped-call]
    text = StringIO()
    size = wide * UNITS / dpi, high * UNITS / dpi
    metadata = {"Date": None, **about}
    vectors: Any = RendererSVG(*size, text, image_dpi=dpi, metadata=metadata)  # type: ignore[no-untyped-call]
    figure.draw(Both(pixels, "png" in kinds, vectors, text if "svg" in kinds else None))
    if "png" in kinds:
        out["png"] = _png(pixels.buffer_rgba(), (wide, high), dpi, caption)
    if "svg" in kinds:
        vectors.finalize()
        # A viewer without the font takes one of the same widths, so that nothing moves.
        out["svg"] = text.getvalue().replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif").encode()
    return out


def _png(pixels: Any, size: tuple[int, int], dpi: float, caption: str) -> bytes:
    """The buffer of pixels, red to alpha, of `size` (width, height), as a PNG without alpha.

    Each row is written as its difference from the one above: pictures of maps and text are as small by that
    as by the best of five filters for every row, which takes Pillow four times as long.
    """
    width, height = size
    # Pillow leaves alpha out several times faster than strided arrays do.
    opaque = Image.frombuffer("RGBA", size, pixels, "raw", "RGBA", 0, 1).convert("RGB").tobytes()
    colours = np.frombuffer(opaque, dtype=np.uint8).reshape(height, 3 * width)
    rows = np.empty((height, 1 + 3 * width), dtype=np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = colours[0]
    np.subtract(colours[1:], colours[:-1], out=rows[1:, 1:])
    about = PngInfo()
    if caption:
        about.add_text("Description", caption)
    out, each = BytesIO(b"\x89PNG\r\n\x1a\n"), round(dpi / _METRE)
    out.seek(0, SEEK_END)
    putchunk(out, b"IHDR", pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    putchunk(out, b"pHYs", pack(">IIB", each, each, 1))
    for kind, data, *_ in about.chunks:
        putchunk(out, kind, data)
    putchunk(out, b"IDAT", compress(rows.data, 3))
    putchunk(out, b"IEND", b"")
    return out.getvalue()


def _pdf(figure: Figure, caption: str) -> bytes:
    out, about = BytesIO(), {"Subject": caption} if caption else {}
    figure.savefig(out, format="pdf", metadata={"CreationDate": None, **about})
    return out.getvalue()
