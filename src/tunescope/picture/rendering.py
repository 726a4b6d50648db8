"""One walk over a figure's artists that draws its pixels and its vectors at once."""

from io import StringIO
from typing import Any

from matplotlib.backend_bases import RendererBase
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Bbox, TransformedPath

# Units of an SVG in an inch.
UNITS = 72.0


class Both(RendererBase):
    """A renderer that hands every call to one of pixels and to one of vectors, whose units are points.

    `text` is what the vectors are written into, where they are.
    """

    def __init__(self, pixels: Any, seen: bool, vectors: Any, text: StringIO | None) -> None:
        super().__init__()
        self.pixels, self.vectors, self.text = pixels, vectors, text
        self.seen, self.written = seen, text is not None
        self.width, self.height, self.dpi = pixels.width, pixels.height, pixels.dpi
        self.share = UNITS / pixels.dpi
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
