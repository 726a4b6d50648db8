"""Writes the page's colour tables, 256 entries of each map that the pictures use: `make_colours [FILE]`."""

import base64
import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import Colormap

from tunescope.picture.dusk import dusk
from tunescope.picture.style import CHANGE, DIFFERENCE, IMPORTANCE

TARGET = Path(__file__).parents[1] / "web" / "src" / "tables.js"
NAMES = (CHANGE, IMPORTANCE, "dusk", "viridis", "cividis", DIFFERENCE)


def tables() -> str:
    """The module: name and 768 bytes of red, green, blue in base64."""
    lines = ["// Made by scripts/make_colours.py: red, green and blue of 256 colours each, as base64."]
    lines.append("export const TABLES = {")
    lines += [f'  {name}: "{_bytes(_map(name))}",' for name in NAMES]
    return "\n".join([*lines, "};"]) + "\n"


def _map(name: str) -> Colormap:
    return dusk() if name == "dusk" else matplotlib.colormaps[name]


def _bytes(colours: Colormap) -> str:
    rgb = colours(np.arange(256) if colours.N == 256 else np.linspace(0, 1, 256), bytes=True)
    return base64.b64encode(np.asarray(rgb)[:, :3].astype(np.uint8).tobytes()).decode()


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET).write_text(tables(), encoding="utf-8")
