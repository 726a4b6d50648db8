"""Animated pictures from equal-sized RGB frames: one palette for all of them, no dithering."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunescope.errors import UsageError
from tunescope.writing import write_atomically

RGB = NDArray[np.uint8]
Indices = NDArray[np.uint8]
Packed = NDArray[np.uint32]
_COLOURS = 256
# Frames that the palette is chosen from, evenly spaced, first and last among them.
_SAMPLED = 24
_UNKNOWN = -1


def durations(frames: int, fps: float, hold: float) -> list[int]:
    """Milliseconds for which each frame stands, in the hundredths of a second that GIF knows; the last holds.

    >>> durations(3, fps=4, hold=2.0)
    [250, 250, 2000]
    """
    each = max(20, round(100 / fps) * 10)
    return [each] * (frames - 1) + [max(each, round(hold * 100) * 10)]


def pace(frames: int) -> float:
    """Frames a second: four, or so many that the animation lasts ten seconds, at most 25.

    >>> pace(10), pace(100), pace(5000)
    (4.0, 10.0, 25.0)
    """
    return min(max(4.0, frames / 10), 25.0)


def write_animation(
    stem: Path, frames: Sequence[RGB], milliseconds: Sequence[int], exact: Sequence[str] = ()
) -> list[Path]:
    """Write `stem.gif` and `stem.apng`, looping for ever, from frames of shape `(height, width, 3)`,
    or `(height, width, 4)` of which all are opaque.

    Every frame is asked for once, a few of them early, so `frames` may draw them on demand. All share one
    palette in which the `exact` colours (`#rrggbb`) stand unchanged; any other colour goes to its nearest
    entry, so pixels that do not change are the same in all frames. Equal neighbouring frames become one
    that stands as long as both.
    """
    if len(frames) == 0 or len(frames) != len(milliseconds):
        raise UsageError(
            "bad-frames",
            "an animation needs frames and a duration for each",
            found=(len(frames), len(milliseconds)),
        )
    images, times = _merged(*_indices(frames, exact), milliseconds)
    animated: dict[str, Any] = {"save_all": True, "append_images": images[1:], "loop": 0, "optimize": False}
    animated["duration"] = times if len(times) > 1 else times[0]
    written = []
    for suffix, kind, extra in ((".gif", "GIF", {"disposal": 1}), (".apng", "PNG", {})):
        path = stem.with_name(stem.name + suffix)

        def save(out: Any, kind: str = kind, extra: dict[str, Any] = extra) -> None:
            images[0].save(out, format=kind, **animated, **extra)

        written.append(write_atomically(path, save))
    return written


def _merged(
    palette: NDArray[np.int32], indices: Sequence[Indices], milliseconds: Sequence[int]
) -> tuple[list[Image.Image], list[int]]:
    kept: list[Indices] = []
    times: list[int] = []
    for index, time in zip(indices, milliseconds, strict=True):
        if kept and np.array_equal(index, kept[-1]):
            times[-1] += time
        else:
            kept.append(index)
            times.append(time)
    return [_image(index, palette) for index in kept], times


def indexed(frames: Sequence[RGB], exact: Sequence[str] = ()) -> list[Image.Image]:
    """The frames as palette images that share one palette."""
    palette, indices = _indices(frames, exact)
    return [_image(index, palette) for index in indices]


def _indices(frames: Sequence[RGB], exact: Sequence[str]) -> tuple[NDArray[np.int32], list[Indices]]:
    """The palette, and the number of every pixel's colour in it; only what changes is looked up again."""
    picks = np.unique(np.linspace(0, len(frames) - 1, _SAMPLED).round().astype(int))
    drawn = {int(i): _packed(frames[i]) for i in picks}
    palette = _palette(list(drawn.values()), [_code(colour) for colour in exact])
    table = np.full(1 << 24, _UNKNOWN, dtype=np.int16)
    found: list[Indices] = []
    before: Packed | None = None
    for i in range(len(frames)):
        packed = drawn.pop(i) if i in drawn else _packed(frames[i])
        changed = np.ones(packed.shape, dtype=bool) if before is None else packed != before
        index = np.empty(packed.shape, dtype=np.uint8) if before is None else found[-1].copy()
        index[changed] = _looked_up(packed[changed], table, palette)
        found.append(index)
        before = packed
    return palette, found


def _looked_up(packed: Packed, table: NDArray[np.int16], palette: NDArray[np.int32]) -> Indices:
    """The palette's entry for each pixel, by the table of those found before."""
    found = table[packed]
    if (found == _UNKNOWN).any():
        new = np.unique(packed[found == _UNKNOWN])
        table[new] = _nearest(_unpacked(_codes(new)), palette)
        found = table[packed]
    return found.astype(np.uint8)


def _packed(frame: RGB) -> Packed:
    """Each pixel as one number, red in the lowest byte: four bytes of a canvas are one already."""
    if frame.shape[-1] == 4:
        return np.ascontiguousarray(frame).view("<u4")[..., 0] & np.uint32(0xFFFFFF)
    wide = frame.astype(np.uint32)
    return np.asarray(wide[..., 0] | (wide[..., 1] << 8) | (wide[..., 2] << 16))


def _codes(packed: NDArray[Any]) -> NDArray[np.int32]:
    """Packed pixels with red in the highest byte, as colours are written and ordered."""
    codes = ((packed & 0xFF) << 16) | (packed & 0xFF00) | (packed >> 16)
    return np.asarray(codes.astype(np.int32))


def _unpacked(codes: NDArray[Any]) -> NDArray[np.int32]:
    return np.stack([codes >> 16 & 255, codes >> 8 & 255, codes & 255], axis=-1).astype(np.int32)


def _code(colour: str) -> int:
    return int(colour.removeprefix("#"), 16)


def _palette(samples: Sequence[Packed], exact: Sequence[int]) -> NDArray[np.int32]:
    """At most 256 colours: all that occur if so few do, else the exact ones and a median cut of the rest."""
    used, counts = _histogram(samples)
    if len(used) <= _COLOURS:
        return _unpacked(used)
    kept = np.array(list(dict.fromkeys(exact))[: _COLOURS // 2], dtype=np.int64)
    rest = ~np.isin(used, kept)
    # A colour counts by the fourth root of its area, so that thin lines get their share of the palette.
    weights = np.ceil(counts[rest] ** 0.25).astype(np.int64)
    pixels = np.repeat(_unpacked(used[rest]), weights, axis=0).astype(np.uint8)
    cut = Image.fromarray(pixels[None]).quantize(
        _COLOURS - len(kept), method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    chosen = np.array(cut.getpalette(), dtype=np.int32).reshape(-1, 3)
    return np.concatenate([_unpacked(kept), chosen])[:_COLOURS]


def _histogram(samples: Sequence[Packed]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The colours that occur and how often, a pixel counting again only where it changes."""
    changes = [after[after != before] for before, after in pairwise(samples)]
    packed, counts = np.unique(np.concatenate([samples[0].reshape(-1), *changes]), return_counts=True)
    codes = _codes(packed)
    order = np.argsort(codes)
    return codes[order], counts[order]


def _nearest(colours: NDArray[np.int32], palette: NDArray[np.int32]) -> NDArray[np.int16]:
    out = np.empty(len(colours), dtype=np.int16)
    for i in range(0, len(colours), 1024):
        gaps = colours[i : i + 1024, None, :] - palette[None]
        out[i : i + 1024] = np.square(gaps).sum(axis=2).argmin(axis=1)
    return out


def _image(indices: Indices, palette: NDArray[np.int32]) -> Image.Image:
    height, width = indices.shape
    image = Image.frombytes("P", (width, height), indices.tobytes())
    image.putpalette(palette.astype(np.uint8).tobytes())
    return image
