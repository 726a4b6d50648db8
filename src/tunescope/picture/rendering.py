"""One walk over a figure's artists that draws its pixels and its vectors at once."""

from collections.abc import Sequence
from io import BytesIO, StringIO
from typing import Any

from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Bbox, TransformedPath

# Units of an SVG in an inch.
_UNITS = 72.0


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
    size = wide * _UNITS / dpi, high * _UNITS / dpi
    metadata = {"Date": None, **about}
    vectors: Any = RendererSVG(*size, text, image_dpi=dpi, metadata=metadata)  # type: ignore[no-untyped-call]
    figure.draw(Both(pixels, "png" in kinds, vectors, "svg" in kinds))
    if "png" in kinds:
        out["png"] = _png(pixels, {"Software": None, **about})
    if "svg" in kinds:
        vectors.finalize()
        # A viewer without the font takes one of the same widths, so that nothing moves.
        out["svg"] = text.getvalue().replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif").encode()
    return out


def _png(pixels: Any, about: dict[str, Any]) -> bytes:
    # Pictures of cells and text are as small at the second level of compression as at the usual sixth.
    out, few = BytesIO(), {"compress_level": 2}
    imsave(out, pixels.buffer_rgba(), format="png", dpi=pixels.dpi, metadata=about, pil_kwargs=few)
    return out.getvalue()


def _pdf(figure: Figure, caption: str) -> bytes:
    out, about = BytesIO(), {"Subject": caption} if caption else {}
    figure.savefig(out, format="pdf", metadata={"CreationDate": None, **about})
    return out.getvalue()


class Both(RendererBase):
    """A renderer that hands every call to one of pixels and to one of vectors, whose units are points."""

    def __init__(self, pixels: Any, seen: bool, vectors: Any, written: bool) -> None:
        super().__init__()
        self.pixels, self.vectors = pixels, vectors
        self.seen, self.written = seen, written
        self.width, self.height, self.dpi = pixels.width, pixels.height, pixels.dpi
        self.share = _UNITS / pixels.dpi
        self.to_points = Affine2D().scale(self.share)

    def in_points(self, gc: Any) -> Any:
        """A graphics context whose clipping is in points; all else of it is already."""
        own = self.vectors.new_gc()
        own.copy_properties(gc)
        rectangle, (path, transform) = gc.get_clip_rectangle(), gc.get_clip_path()
        if rectangle is not None:
            own.set_clip_rectangle(Bbox.from_extents(*(self.share * rectangle.extents)))
        if path is not None:
            own.set_clip_path(TransformedPath(path, transform + self.to_points))
        return own

    def draw_path(self, gc: Any, path: Any, transform: Any, rgbFace: Any = None) -> None:
        """Draw a path."""
        if self.seen:
            self.pixels.draw_path(gc, path, transform, rgbFace)
        if self.written:
            self.vectors.draw_path(self.in_points(gc), path, transform + self.to_points, rgbFace)

    def draw_markers(
        self, gc: Any, marker_path: Any, marker_trans: Any, path: Any, trans: Any, rgbFace: Any = None
    ) -> None:
        """Draw a marker at every vertex of a path."""
        if self.seen:
            self.pixels.draw_markers(gc, marker_path, marker_trans, path, trans, rgbFace)
        if self.written:
            moved = marker_trans + self.to_points, path, trans + self.to_points
            self.vectors.draw_markers(self.in_points(gc), marker_path, *moved, rgbFace)

    def draw_path_collection(
        self, gc: Any, master_transform: Any, paths: Any, all_transforms: Any, offsets: Any,
        offset_trans: Any, *looks: Any, **more: Any,
    ) -> None:  # fmt: skip
        """Draw many paths of one kind."""
        if self.seen:
            moves = all_transforms, offsets, offset_trans
            self.pixels.draw_path_collection(gc, master_transform, paths, *moves, *looks, **more)
        if self.written:
            moves = all_transforms, offsets, offset_trans + self.to_points
            moved = master_transform + self.to_points
            self.vectors.draw_path_collection(self.in_points(gc), moved, paths, *moves, *looks, **more)

    def draw_text(
        self, gc: Any, x: float, y: float, s: str, prop: Any, angle: float, ismath: Any = False,
        mtext: Any = None,
    ) -> None:  # fmt: skip
        """Draw one line of text."""
        if self.seen:
            self.pixels.draw_text(gc, x, y, s, prop, angle, ismath, mtext)
        if self.written:
            anchor = None if mtext is None else _Anchor(mtext, self.to_points)
            at = self.share * x, self.share * y
            self.vectors.draw_text(self.in_points(gc), *at, s, prop, angle, ismath, anchor)

    def draw_image(self, gc: Any, x: float, y: float, im: Any, transform: Any = None) -> None:
        """Draw an image, which maps are not among vectors: see `cells.Cells`."""
        if self.seen:
            self.pixels.draw_image(gc, x, y, im)
        if self.written:
            self.vectors.draw_image(self.in_points(gc), self.share * x, self.share * y, im)

    def open_group(self, s: str, gid: str | None = None) -> None:
        """Begin a group of the SVG."""
        if self.written:
            self.vectors.open_group(s, gid)

    def close_group(self, s: str) -> None:
        """End a group of the SVG."""
        if self.written:
            self.vectors.close_group(s)

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> Any:
        """Pixels that a line of text takes."""
        return self.pixels.get_text_width_height_descent(s, prop, ismath)

    def get_canvas_width_height(self) -> tuple[float, float]:
        """Pixels of the page."""
        return self.width, self.height

    def points_to_pixels(self, points: Any) -> Any:
        """Points as pixels."""
        return self.pixels.points_to_pixels(points)

    def option_image_nocomposite(self) -> bool:
        """Whether images stay apart."""
        return True


class _Anchor:
    """A text whose anchor is in points."""

    def __init__(self, text: Text, to_points: Affine2D) -> None:
        self._text, self._to_points = text, to_points

    def get_transform(self) -> Any:
        return self._text.get_transform() + self._to_points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._text, name)
