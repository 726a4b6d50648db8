"""A picture that is made when it is asked for: name, caption, and files in several formats."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tunescope.errors import UsageError
from tunescope.picture.style import figure_of, own_axes, save

Panel = Callable[[Axes], Axes]


@dataclass(frozen=True, eq=False)
class Drawn:
    """A picture of matplotlib: `make` draws it whole, `panels` each of its panels on given axes, by title.

    One that is `on_request` is written only where all pictures are asked for.
    """

    name: str
    caption: str
    make: Callable[[], Figure]
    panels: Mapping[str, Panel] = field(default_factory=dict)
    on_request: bool = False

    def draw(self, ax: Any = None, panel: str | None = None) -> Figure:
        """The whole figure, or one panel on `ax`; a panel must be named where there are several.

        Raises `UsageError` for a panel that is not there, and for `ax` without a panel.
        """
        if ax is None and panel is None:
            return self.make()
        if panel is None and len(self.panels) == 1:
            panel = next(iter(self.panels))
        if panel is None or panel not in self.panels:
            there = ", ".join(f"{self.name}/{title}" for title in self.panels)
            raise UsageError(
                "no-such-panel",
                f"the figure {self.name!r} has no panel {panel!r}" if panel else "the panel is not named",
                expected=there or "no ax: it has no panels",
                fix="name one of these, or leave ax out",
            )
        return figure_of(self.panels[panel](own_axes(ax, 5.0, 4.0)))

    def write(self, folder: Path, formats: Sequence[str]) -> list[Path]:
        """Write `NAME.png` and so on; the caption goes into the files' own metadata."""
        return save(self.make(), folder / self.name, tuple(formats), caption=self.caption)
