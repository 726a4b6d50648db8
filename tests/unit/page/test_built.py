"""What ships is what the sources build, colours are matplotlib's, and a licence goes along."""

import shutil
import subprocess
from pathlib import Path

from scripts.make_colours import TARGET, tables
from tests.absent import absent

from tunescope.page.document import built

WEB = Path(__file__).parents[3] / "web"


def test_the_colours_are_those_of_the_pictures() -> None:
    assert TARGET.read_text(encoding="utf-8") == tables()


def test_the_licence_of_what_draws_lines_stands_in_every_page() -> None:
    script = built("page.js")
    assert "Permission is hereby granted" in script[:1500]
    assert "uPlot" in script[:200]


def test_no_source_names_a_registry_and_none_is_long() -> None:
    assert '"resolved"' not in (WEB / "package-lock.json").read_text()
    assert "http" not in (WEB / "package.json").read_text()
    for path in sorted((WEB / "src").iterdir()):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 300, path.name


def test_the_script_that_ships_is_what_the_sources_build(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None or not (WEB / "node_modules" / "esbuild").is_dir():
        absent("node or web/node_modules is not here: cd web && npm ci --ignore-scripts")
    subprocess.run([node, "build.mjs", str(tmp_path)], cwd=WEB, check=True, timeout=300)
    for name in ("page.js", "page.css", "page.html"):
        assert (tmp_path / name).read_text(encoding="utf-8") == built(name), f"{name}: make page"
