"""Documents and pictures as they were accepted: a change is seen, and `make gold` accepts it.

Texts are compared word for word once versions and hashes are taken out; pictures by their pixels, with room
for the rounding of another processor.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tunescope
from tunescope.demo.adapters import made_adapters
from tunescope.study.study import Study
from tunescope.version import __version__

FILES = Path(__file__).parent / "files"
ACCEPT = os.environ.get("TUNESCOPE_ACCEPT_GOLD") == "1"
# The mean difference of two pictures, of 255, that another processor's rounding may make.
NEAR = 0.5
STUDIES: dict[str, Callable[[str, str], Study]] = {
    "norms": lambda a, b: tunescope.norms(a, b, layers="0-11", focus_layer=5),
    "subspace": lambda a, b: tunescope.subspace(a, b, layers="0,5,11", modules="q_proj,v_proj", max_rank=8),
}
PICTURES = [
    ("norms", "norm_heatmap_cpp_normalized"),
    ("norms", "norm_heatmaps_normalized"),
    ("norms", "layer_profiles"),
    ("norms", "difference_python_minus_cpp"),
    ("subspace", "subspace_cpp_vs_python"),
]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Study]:
    made = made_adapters(tmp_path_factory.mktemp("made"))
    return {name: ask(str(made["cpp"]), str(made["python"])) for name, ask in STUDIES.items()}


def scrubbed(text: str) -> str:
    """The text without what differs between versions and machines."""
    return re.sub(r"sha256 [0-9a-f]{12,64}", "sha256 …", text.replace(__version__, "VERSION"))


@pytest.mark.parametrize("name", STUDIES)
def test_the_readout_is_as_accepted(studies: dict[str, Study], name: str) -> None:
    path, text = FILES / f"{name}.md", scrubbed(studies[name].markdown())
    if ACCEPT:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), "look at the change; `make gold` accepts it"


@pytest.mark.parametrize(("name", "picture"), PICTURES)
def test_the_picture_is_as_accepted(
    studies: dict[str, Study], tmp_path: Path, name: str, picture: str
) -> None:
    drawn = tmp_path / f"{picture}.png"
    studies[name].figure(picture).savefig(drawn, dpi=80)
    path = FILES / drawn.name
    if ACCEPT:
        path.write_bytes(drawn.read_bytes())
    with Image.open(drawn) as new, Image.open(path) as old:
        assert new.size == old.size
        pixels = [np.asarray(image.convert("RGB"), dtype=np.float64) for image in (new, old)]
    assert np.abs(pixels[0] - pixels[1]).mean() < NEAR, "look at both; `make gold` accepts the new one"


def test_the_captions_are_as_accepted(studies: dict[str, Study]) -> None:
    path = FILES / "captions.md"
    lines = [f"- `{k}`: {v}" for study in studies.values() for k, v in study.figures().items()]
    if ACCEPT:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert lines == path.read_text(encoding="utf-8").splitlines()
