"""Pictures that were drawn once, written again as they were: faults strike writing, and drawing is slow."""

from collections.abc import Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from tunescope.picture.animation import write_animation
from tunescope.picture.drawing import Drawn
from tunescope.questions.trajectory.figures import Animated
from tunescope.writing import write_atomically


def drawn_in(folder: Path) -> dict[str, bytes]:
    """What the pictures anywhere in a folder hold, by the names of their files."""
    return {path.name: path.read_bytes() for path in folder.rglob("figures/*") if path.suffix != ".md"}


def write_as_drawn(pictures: Mapping[str, bytes]) -> None:
    """Let this process write pictures of these names by the same calls, without drawing them."""

    def put(content: bytes, out: Any) -> None:
        out.write(content)

    def write(self: Drawn | Animated, folder: Path, formats: Sequence[str]) -> list[Path]:
        names = [f"{self.name}.{kind}" for kind in formats]
        return [write_atomically(folder / name, partial(put, pictures[name])) for name in names]

    def animate(self: Animated, folder: Path, formats: Sequence[str]) -> list[Path]:
        with Image.open(BytesIO(pictures[f"{self.name}.gif"])) as gif:
            shown = [
                (np.asarray(f.convert("RGB")), int(f.info["duration"])) for f in ImageSequence.Iterator(gif)
            ]
        frames, times = zip(*shown, strict=True)
        return [*write_animation(folder / self.name, frames, times), *write(self, folder, formats)]

    Drawn.write = write  # type: ignore[method-assign]
    Animated.write = animate  # type: ignore[method-assign]
