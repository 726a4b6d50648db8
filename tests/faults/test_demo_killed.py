"""A demonstration that was killed while it wrote is made again, and nothing half-written stays."""

from pathlib import Path

from tunescope.demo.output import PAGE, RECORD, prepared


def test_what_a_killed_demonstration_left_of_its_page_is_gone_once_it_is_made_again(tmp_path: Path) -> None:
    root = prepared(tmp_path / "demo", "quick", ["one"], overwrite=False)
    (root / f".{PAGE}.0123456789ab.part").write_text("<html>")
    (root / ".notes.part").write_text("of somebody else")
    prepared(root, "quick", ["one"], overwrite=True)
    assert {path.name for path in root.iterdir()} == {RECORD, ".notes.part"}
