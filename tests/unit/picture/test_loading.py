"""Loading without help texts changes nothing that is drawn, and leaves matplotlib whole for later classes."""

import subprocess
import sys
from pathlib import Path

# Lines, axes, ticks and a legend, as files of every kind that is drawn by default.
DRAW = """
from pathlib import Path
import numpy as np
from tunescope.picture.profiles import profiles
from tunescope.picture.style import save
from tunescope.picture.views import Line, Profile
lines = tuple(Line(label, np.arange(4), np.arange(4.0) + k) for k, label in enumerate("ab"))
save(profiles([Profile("all", lines, "size")]), Path(folder) / "drawn", ("png", "svg"))
"""
WITHOUT = """
import sys
from tunescope.picture.loading import load_without_help
load_without_help()
from matplotlib.artist import kwdoc
from matplotlib.lines import Line2D
assert "linewidth" not in (Line2D.set.__doc__ or ""), "no text of what was loaded"
assert "linewidth" in kwdoc(Line2D), "texts are composed again"
class Own(Line2D):
    def set_own(self, value):
        self.value = value
assert "own" in Own.set.__doc__
folder = sys.argv[1]
"""


def test_a_process_without_help_texts_draws_the_same_bytes(tmp_path: Path) -> None:
    exec(DRAW, {"folder": tmp_path})
    (tmp_path / "without").mkdir()
    subprocess.run([sys.executable, "-c", WITHOUT + DRAW, tmp_path / "without"], check=True)
    for name in ("drawn.png", "drawn.svg"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "without" / name).read_bytes()
