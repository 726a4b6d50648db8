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
    """Write `stem.gif` and `stem.apng`, looping for ever, from frames of shape `(height, width, 3)`.

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
    images, times = _merged(indexed(frames, exact), milliseconds)
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
    images: Sequence[Image.Image], milliseconds: Sequence[int]
) -> tuple[list[Image.Image], list[int]]:
    kept: list[Image.Image] = []
    times: list[int] = []
    for image, time in zip(images, milliseconds, strict=True):
        if kept and image.tobytes() == kept[-1].tobytes():
            times[-1] += time
        else:
            kept.append(image)
            times.append(time)
    return kept, times


def indexed(frames: Sequence[RGB], exact: Sequence[str] = ()) -> list[Image.Image]:
    """The frames as palette images that share one palette."""
    picks = np.unique(np.linspace(0, len(frames) - 1, _SAMPLED).round().astype(int))
    drawn = {int(i): _packed(frames[i]) for i in picks}
    palette = _palette(list(drawn.values()), [_code(colour) for colour in exact])
    table = np.full(1 << 24, _UNKNOWN, dtype=np.int16)
    images = []
    for i in range(len(frames)):
        codes = drawn.pop(i) if i in drawn else _packed(frames[i])
        found = table[codes]
        if (found == _UNKNOWN).any():
            new = np.unique(codes[found == _UNKNOWN])
            table[new] = _nearest(_unpacked(new), palette)
            found = table[codes]
        images.append(_image(found.astype(np.uint8), palette))
    return images


def _packed(frame: RGB) -> NDArray[np.int32]:
    wide = frame.astype(np.int32)
    codes: NDArray[np.int32] = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    return codes


def _unpacked(codes: NDArray[Any]) -> NDArray[np.int32]:
    return np.stack([codes >> 16 & 255, codes >> 8 & 255, codes & 255], axis=-1).astype(np.int32)


def _code(colour: str) -> int:
    return int(colour.removeprefix("#"), 16)


def _palette(samples: Sequence[NDArray[np.int32]], exact: Sequence[int]) -> NDArray[np.int32]:
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


def _histogram(samples: Sequence[NDArray[np.int32]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The colours that occur and how often, a pixel counting again only where it changes."""
    changes = [after[after != before] for before, after in pairwise(samples)]
    return np.unique(np.concatenate([samples[0].reshape(-1), *changes]), return_counts=True)


def _nearest(colours: NDArray[np.int32], palette: NDArray[np.int32]) -> NDArray[np.int16]:
    out = np.empty(len(colours), dtype=np.int16)
    for i in range(0, len(colours), 1024):
        gaps = colours[i : i + 1024, None, :] - palette[None]
        out[i : i + 1024] = np.square(gaps).sum(axis=2).argmin(axis=1)
    return out


def _image(indices: RGB, palette: NDArray[np.int32]) -> Image.Image:
    height, width = indices.shape
    image = Image.frombytes("P", (width, height), indices.tobytes())
    image.putpalette(palette.astype(np.uint8).tobytes())
    return image
