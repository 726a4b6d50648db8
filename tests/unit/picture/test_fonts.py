"""Labels of any script: drawn with a font that is on the machine, spelled where none has the sign."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from tunescope.picture import fonts
from tunescope.picture.lettering import legible, names, width_of
from tunescope.picture.style import new_figure, save, style

# Signs that matplotlib's own font lacks.
SIGN, OTHER = "\u5fae", "\u8abf"
FAMILY = "Tunescope Test"


def font(path: Path, signs: str, family: str = FAMILY) -> Path:
    """A font whose every sign is a filled square of one em."""
    pen = TTGlyphPen(None)
    for x, y in ((0, 0), (0, 1000), (1000, 1000), (1000, 0)):
        (pen.lineTo if (x, y) != (0, 0) else pen.moveTo)((x, y))
    pen.closePath()
    square = pen.glyph()
    glyphs = [".notdef", *(f"u{ord(sign):04x}" for sign in signs)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap({ord(sign): f"u{ord(sign):04x}" for sign in signs})
    builder.setupGlyf(dict.fromkeys(glyphs, square))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": family, "styleName": "Regular", "psName": family.replace(" ", "")})
    builder.setupOS2(sTypoAscender=1000, usWinAscent=1000, usWinDescent=0)
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which there is matplotlib's own font alone."""
    manager = font_manager.fontManager
    own = [entry for entry in manager.ttflist if entry.name == fonts.HOUSE]
    monkeypatch.setattr(manager, "ttflist", own)
    forget()
    yield
    forget()


def forget() -> None:
    fonts.forget()
    width_of.cache_clear()
    # What a family was found as is remembered by matplotlib, too.
    font_manager.fontManager._findfont_cached.cache_clear()


@pytest.fixture
def both(only: None, tmp_path: Path) -> None:  # noqa: ARG001 (the fonts of the machine go first)
    """The same machine with a font that has `SIGN`."""
    font_manager.fontManager.addfont(font(tmp_path / "test.ttf", SIGN))
    forget()


@pytest.mark.usefixtures("only")
def test_a_sign_that_no_font_has_is_spelled() -> None:
    assert legible(f"a{SIGN}") == "a\\u5fae"


@pytest.mark.usefixtures("both")
def test_a_sign_that_a_font_on_the_machine_has_is_drawn() -> None:
    assert legible(f"a{SIGN}{OTHER}") == f"a{SIGN}\\u8abf"
    assert names([SIGN, "\\u5fae"], 40) == [SIGN, "\\u5fae"]


@pytest.mark.usefixtures("both")
def test_only_texts_that_need_another_font_name_it() -> None:
    assert fonts.families("β→Δ") == [fonts.HOUSE]
    assert fonts.families(SIGN) == [fonts.HOUSE, FAMILY]


@pytest.mark.usefixtures("both")
def test_the_width_of_a_sign_is_that_of_the_font_that_has_it() -> None:
    assert width_of(SIGN * 2, 72.0) == pytest.approx(2.0, rel=0.01)


@pytest.mark.usefixtures("only")
def test_a_font_with_a_sign_for_everything_is_not_asked(tmp_path: Path) -> None:
    font_manager.fontManager.addfont(font(tmp_path / "blank.ttf", SIGN, "Last Resort"))
    forget()
    assert legible(SIGN) == "\\u5fae"


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_files_have_the_sign_itself(tmp_path: Path, kind: str, recwarn: pytest.WarningsRecorder) -> None:
    with style():
        figure = new_figure(2.0, 1.0)
        ax = figure.add_subplot()
        ax.set_yticks([0.5], [SIGN])
        ax.set_title("title")
    (path,) = save(figure, tmp_path / "figure", [kind])
    assert not [str(w.message) for w in recwarn if "lyph" in str(w.message)]
    if kind == "svg":
        text = path.read_text(encoding="utf-8")
        assert SIGN in text
        assert text.count(FAMILY) == 1
    if kind == "pdf":
        assert b"TunescopeTest" in path.read_bytes()


@pytest.mark.usefixtures("both")
def test_pixels_of_the_sign_are_those_of_its_font(tmp_path: Path) -> None:
    """The square of the test font is full of ink, as no sign for what is missing is."""
    import numpy as np
    from PIL import Image

    with style():
        figure = new_figure(1.0, 1.0, placed=True)
        figure.text(0.1, 0.1, SIGN, fontsize=36, color="black")
    (path,) = save(figure, tmp_path / "figure", ["png"])
    dark = np.asarray(Image.open(path).convert("L")) < 128
    rows, columns = np.nonzero(dark)
    box = dark[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert box.mean() > 0.98
    assert box.shape[0] == pytest.approx(36 / 72 * 150, abs=3)
