"""A dark-purple-to-cream colour map whose lightness rises evenly, made in OKLab."""

from functools import cache

import numpy as np
from matplotlib.colors import Colormap, ListedColormap
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# Where the hue (degrees) and the chroma pass, at even steps of lightness from night purple to cream.
_LIGHTNESS = (0.15, 0.955)
_HUES = (308.0, 322.0, 345.0, 368.0, 384.0, 398.0, 416.0, 425.0)
_CHROMAS = (0.045, 0.105, 0.155, 0.190, 0.190, 0.140, 0.075, 0.022)
# OKLab to cone responses, and those to linear sRGB [Ottosson 2020].
_TO_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@cache
def dusk() -> Colormap:
    """The map, 256 colours; grey where there is no number."""
    colours = ListedColormap(_to_srgb(_path(256)).tolist(), name="dusk")
    return colours.with_extremes(bad="#d9d9d6")


def _path(count: int) -> Float64:
    """OKLab coordinates along the map, shape `(count, 3)`."""
    at = np.linspace(0.0, 1.0, count)
    knots = np.linspace(0.0, 1.0, len(_HUES))
    hue = np.radians(_smooth(np.interp(at, knots, _HUES)))
    chroma = _smooth(np.interp(at, knots, _CHROMAS))
    lightness = _LIGHTNESS[0] + (_LIGHTNESS[1] - _LIGHTNESS[0]) * at
    return np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)


def _smooth(values: Float64, half: int = 18) -> Float64:
    """A moving average, so that no knot of the path shows as a band."""
    padded = np.pad(values, half, mode="edge")
    out: Float64 = np.convolve(padded, np.ones(2 * half + 1) / (2 * half + 1), mode="valid")
    return out


def _to_srgb(lab: Float64) -> Float64:
    linear = np.clip((lab @ _TO_CONES.T) ** 3 @ _TO_RGB.T, 0.0, 1.0)
    out: Float64 = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return out
