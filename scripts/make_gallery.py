"""Makes the pictures of the documentation again from what `tunescope demo` left, and their page.

`python -m scripts.make_gallery demo-out` writes `docs/figures/` and `docs/gallery.md`. The picture of the
report page needs Chromium; where there is none, the one that is there stays.
"""

import argparse
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

import tunescope

DOCS = Path(__file__).parents[1] / "docs"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPENING = """# Gallery

Every picture was made by the tool from what `tunescope demo` leaves in `demo-out/`, and the command beside
it makes one of its kind, of fewer models where there are many; `python -m scripts.make_gallery demo-out`
makes them all. Captions are the tool's own: they stand in `figures/captions.md` of every study.
"""
RUN = "demo-out/runs/{}/lr-1e-3/seed-0"


@dataclass(frozen=True)
class Shown:
    """One picture: the demonstration's study of it, its name there, and the command for such a one."""

    title: str
    study: str
    figure: str
    command: str
    suffix: str = "png"

    @property
    def file(self) -> str:
        """The name of the picture below `docs/figures/`."""
        return f"{self.study}_{self.figure}.{self.suffix}"


_ADAPTERS = " ".join(f"{name}={RUN.format(name)}/adapter" for name in ("cpp", "physics"))
_SECOND = "demo-out/second-seed/cpp/lr-1e-3/seed-1"
_ALL = f"{_ADAPTERS} planted=demo-out/planted"
_TEXTS = "--data demo-out/runs/held_out/cpp.jsonl --sequences 8"
_MODEL = "src/tunescope/demo/model"
GALLERY = (
    Shown("How much, layer by module", "norms", "norm_heatmaps_normalized", f"norms {_ALL} -o norms/"),
    Shown("How much, layer by layer", "norms", "layer_profiles", f"norms {_ALL} -o profiles/"),
    Shown(
        "In which directions: two seeds against chance", "subspace", "subspace_cpp_vs_cpp-seed-1_excess",
        f"subspace cpp={RUN.format('cpp')}/adapter cpp-seed-1={_SECOND}/adapter -o subspace/",
    ),
    Shown(
        "When: mean |Δ| of the layers through training", "trajectory", "1e-3_all_abs_mean",
        "trajectory demo-out/runs -o trajectory/", "gif",
    ),
    Shown(
        "Does it matter: importance of every parameter", "importance", "importance",
        f"importance {_MODEL} {_TEXTS} -o importance/",
    ),
    Shown(
        "Does it matter: which changes bought the gain", "attribution", "attribution",
        f"attribute {RUN.format('cpp')}/adapter --base {_MODEL} {_TEXTS} -o attribution/",
    ),
)  # fmt: skip


def page(captions: dict[str, str]) -> str:
    """The whole page; `captions` by the names of files."""
    parts = [OPENING]
    for shown in GALLERY:
        caption = captions[shown.file]
        parts.append(
            f"## {shown.title}\n\n![{caption}](figures/{shown.file})\n\n*{caption}*\n\n"
            f"```sh\ntunescope {shown.command}\n```\n"
        )
    parts.append(
        "## All on one page\n\n![The report page of the demonstration](figures/page.png)\n\n"
        "```sh\ntunescope report demo-out/norms demo-out/subspace demo-out/trajectory demo-out/importance "
        "demo-out/attribution -o page.html\n```\n"
    )
    return "\n".join(parts)


def draw(demo: Path) -> dict[str, str]:
    """Write every picture below `docs/figures/`; their captions."""
    captions = {}
    for shown in GALLERY:
        study = tunescope.read(demo / shown.study)
        figures = study.figures()
        target = DOCS / "figures" / shown.file
        captions[shown.file] = figures[shown.figure]
        if shown.suffix == "gif":
            shutil.copyfile(demo / shown.study / "figures" / f"{shown.figure}.gif", target)
            continue
        out = BytesIO()
        study.figure(shown.figure).savefig(out, format="png", dpi=110)
        _small(Image.open(out), target)
    return captions


def photograph(report: Path, target: Path, base: str) -> bool:
    """A picture of the report page as a browser shows it; whether there was a browser.

    Where the `base` lies on this machine is nothing to publish.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder) / "page.html", Path(folder) / "page.png"
        page.write_text(
            report.read_text(encoding="utf-8").replace(base, "tunescope/demo/model"), encoding="utf-8"
        )
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--timeout=30000",
             "--window-size=1180,2480", f"--screenshot={shot}", page.as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip
        _small(Image.open(shot), target)
    return True


def _small(picture: Image.Image, target: Path) -> None:
    """The picture without transparency, packed as well as it can be."""
    picture.convert("RGB").save(target, optimize=True)


def main() -> None:
    """Make everything again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="what tunescope demo wrote")
    demo = parser.parse_args().demo
    (DOCS / "gallery.md").write_text(page(draw(demo)), encoding="utf-8")
    base = tunescope.read(demo / "norms").arguments["base"]
    if not photograph(demo / "report.html", DOCS / "figures" / "page.png", base):
        print("no browser is here; the picture of the page stays as it was")


if __name__ == "__main__":
    main()
