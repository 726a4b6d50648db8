import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from tunescope.errors import UsageError
from tunescope.picture.animation import durations, indexed, write_animation
from tunescope.picture.style import save, style
from tunescope.picture.views import Grid
from tunescope.questions.trajectory.figures import Animated, Drawing, looks_of, norm_heatmap
from tunescope.questions.trajectory.views import Animation, Track, animation

LAYERS, CAPTURES = 12, 5


def tracks(domains: tuple[str, ...] = ("cpp",), captures: int = CAPTURES) -> list[Track]:
    rng = np.random.default_rng(0)
    out = []
    for domain in domains:
        t = np.linspace(0, 1, captures)[:, None]
        centre = 3e-4 * t * rng.normal(size=LAYERS)
        steps = np.arange(captures) * 10
        whole = np.zeros(centre.shape, dtype=bool)
        spread = np.abs(centre) * 0.3
        out.append(Track(domain, domain, np.arange(LAYERS), steps, steps / 40, centre, spread, whole))
    return out


def view(*domains: str, captures: int = CAPTURES) -> Animation:
    return animation(
        "2e-4_cpp_mean", "cpp", "4 matrices a layer", "mean", tracks(domains or ("cpp",), captures)
    )


def frames_of(path: Path) -> tuple[list[np.ndarray], list[int]]:
    with Image.open(path) as image:
        pairs = [(np.array(f.convert("RGB")), int(f.info["duration"])) for f in ImageSequence.Iterator(image)]
    return [f for f, _ in pairs], [d for _, d in pairs]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    Animated(view("cpp", "python"), looks_of(["cpp", "python"]), 4, 2.0).write(folder, ("png", "svg"))
    return folder


@pytest.mark.parametrize("suffix", ["gif", "apng"])
def test_one_frame_for_each_capture_and_the_last_stands_longer(written: Path, suffix: str) -> None:
    frames, times = frames_of(written / f"2e-4_cpp_mean.{suffix}")
    assert len(frames) == CAPTURES
    assert times == [250, 250, 250, 250, 2000]


@pytest.mark.parametrize("suffix", ["gif", "apng"])
def test_it_loops_for_ever(written: Path, suffix: str) -> None:
    with Image.open(written / f"2e-4_cpp_mean.{suffix}") as image:
        assert image.info["loop"] == 0


def test_both_formats_show_the_very_same_pixels(written: Path) -> None:
    gif, _ = frames_of(written / "2e-4_cpp_mean.gif")
    apng, _ = frames_of(written / "2e-4_cpp_mean.apng")
    for a, b in zip(gif, apng, strict=True):
        np.testing.assert_array_equal(a, b)


def test_axes_labels_and_legend_are_the_same_pixels_in_all_frames(written: Path) -> None:
    frames, _ = frames_of(written / "2e-4_cpp_mean.gif")
    height, width, _ = frames[0].shape
    around = np.ones((height, width), dtype=bool)
    box = Drawing(view("cpp", "python"), looks_of(["cpp", "python"])).axes.get_position()
    top, bottom = int((1 - box.y1) * height) - 24, int((1 - box.y0) * height) + 1
    around[top:bottom, int(box.x0 * width) : int(box.x1 * width) + 1] = False
    around[: int(0.10 * height), int(0.5 * width) :] = False
    for frame in frames[1:]:
        np.testing.assert_array_equal(frame[around], frames[0][around])
    assert (frames[0][around] != 255).any()


def test_lines_move_and_captions_change(written: Path) -> None:
    frames, _ = frames_of(written / "2e-4_cpp_mean.gif")
    height, width, _ = frames[0].shape
    plot = np.s_[int(0.2 * height) : int(0.85 * height), int(0.12 * width) : int(0.75 * width)]
    caption = np.s_[: int(0.10 * height), int(0.5 * width) :]
    for before, after in itertools.pairwise(frames):
        assert (before[plot] != after[plot]).any()
        assert (before[caption] != after[caption]).any()


def test_the_lines_keep_their_exact_colours(written: Path) -> None:
    frames, _ = frames_of(written / "2e-4_cpp_mean.gif")
    for colour, _ in looks_of(["cpp", "python"]).values():
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (frames[-1] == wanted).all(axis=2).sum() > 50


def test_the_palette_stays_close_to_what_was_drawn() -> None:
    drawing = Drawing(view("cpp", "python"), looks_of(["cpp", "python"]))
    shown = np.array(indexed(drawing, drawing.exact())[-1].convert("RGB")).astype(int)
    gap = np.abs(shown - drawing[CAPTURES - 1][..., :3].astype(int)).max(axis=2)
    assert gap.mean() < 0.5
    assert (gap > 24).mean() < 0.001


def test_frames_of_three_and_of_four_bytes_a_pixel_give_the_same_pictures() -> None:
    drawing = Drawing(view("cpp", "python"), looks_of(["cpp", "python"]))
    narrow = [np.ascontiguousarray(frame[..., :3]) for frame in drawing]
    for a, b in zip(indexed(drawing, drawing.exact()), indexed(narrow, drawing.exact()), strict=True):
        assert a.tobytes() == b.tobytes()
        assert a.getpalette() == b.getpalette()


def test_a_fast_frame_equals_the_figure_drawn_whole() -> None:
    drawing = Drawing(view(), looks_of(["cpp"]))
    fast = drawing[2][..., :3].astype(int)
    drawing.draw(2)
    for artist in drawing.moving():
        artist.set_animated(False)
    with style():
        drawing.figure.canvas.draw()
    whole = np.asarray(drawing.figure.canvas.buffer_rgba())[..., :3].astype(int)
    assert (np.abs(fast - whole).max(axis=2) > 40).mean() < 0.002


@pytest.mark.parametrize(("domains", "bands"), [(("a",), 1), (("a", "b"), 2), (("a", "b", "c"), 0)])
def test_bands_are_drawn_for_at_most_two_runs(domains: tuple[str, ...], bands: int) -> None:
    drawing = Drawing(view(*domains), looks_of(domains))
    drawing.draw(CAPTURES - 1)
    shown = [patch for patch in drawing.axes.patches if patch.get_visible()]
    assert len(shown) == bands


def test_frames_are_sharp_on_a_dense_screen_and_not_more_than_tell_something() -> None:
    long = animation("x", "x", "", "mean", tracks(captures=400))
    assert len(long.thinned(120).moments) <= 120
    assert (long.thinned(120).moments[0], long.thinned(120).moments[-1]) == (
        long.moments[0],
        long.moments[-1],
    )
    assert Drawing(view(), looks_of(["cpp"]))[0].shape == (860, 1520, 4)


def test_every_value_lies_within_the_axes_in_every_frame() -> None:
    drawing = Drawing(view("cpp", "python"), looks_of(["cpp", "python"]))
    low, high = drawing.axes.get_ylim()
    for i in range(len(drawing)):
        drawing.draw(i)
        for line in drawing.axes.lines:
            values = np.asarray(line.get_ydata(), dtype=float)
            assert (values >= low).all()
            assert (values <= high).all()
        assert drawing.axes.get_ylim() == (low, high)


def test_the_last_frame_is_there_as_png_and_svg(written: Path) -> None:
    svg = (written / "2e-4_cpp_mean.svg").read_text()
    assert svg.startswith("<?xml")
    with Image.open(written / "2e-4_cpp_mean.png") as image:
        assert image.width > 1000


def test_the_same_view_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    Animated(view("cpp", "python"), looks_of(["python", "cpp"]), 4, 2.0).write(tmp_path, ("png", "svg"))
    for path in sorted(tmp_path.iterdir()):
        assert path.read_bytes() == (written / path.name).read_bytes(), path.name


def test_equal_neighbours_merge_and_time_adds_up(tmp_path: Path) -> None:
    red, blue = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    write_animation(tmp_path / "x", [red, red, blue, blue, red], [100, 100, 100, 100, 500])
    for suffix in ("gif", "apng"):
        frames, times = frames_of(tmp_path / f"x.{suffix}")
        assert times == [200, 200, 500]
        assert [tuple(f[0, 0]) for f in frames] == [(255, 0, 0), (0, 0, 255), (255, 0, 0)]


def test_a_single_capture_is_a_picture_of_one_frame(tmp_path: Path) -> None:
    Animated(view(captures=1), looks_of(["cpp"]), 4, 2.0).write(tmp_path, ("png", "svg"))
    with Image.open(tmp_path / "2e-4_cpp_mean.gif") as image:
        assert getattr(image, "n_frames", 1) == 1


def test_no_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bad-frames"):
        write_animation(tmp_path / "x", [], [])


@pytest.mark.parametrize(("fps", "each"), [(50, 20), (3, 330), (0.5, 2000)])
def test_durations_come_in_hundredths_and_never_below_two(fps: float, each: int) -> None:
    assert durations(3, fps, 1.0)[:2] == [each, each]
    assert durations(3, fps, 1.0)[2] == max(each, 1000)


def test_values_that_are_not_finite_leave_a_gap(tmp_path: Path) -> None:
    (track,) = tracks()
    track.centre[2, 3:6] = np.nan
    track.spread[3] = np.inf
    Animated(animation("x", "x", "", "mean", [track]), {"cpp": ("#0072B2", "-")}, 4, 1.0).write(
        tmp_path, ("png", "svg")
    )
    assert (tmp_path / "x.gif").stat().st_size > 1000


@pytest.mark.parametrize("columns", [1, 8, 300])
def test_heatmaps_of_few_and_many_steps(tmp_path: Path, columns: int) -> None:
    values = np.linspace(0, 1, 16 * columns).reshape(16, columns)
    names = tuple(f"{10 * i:,}" for i in range(columns))
    grid = Grid(
        "cpp", tuple(f"L{i}" for i in range(16)), names, values, values > 2, "‖ΔW‖ of the layer", (0, 1)
    )
    png, svg = save(norm_heatmap(grid), tmp_path / "norm", ("png", "svg"))
    with Image.open(png) as image:
        assert image.width < 1600
    assert svg.exists()


def test_a_frame_says_where_its_line_breaks_off() -> None:
    """Layers that were not captured are gaps without a word; values that are not finite get one."""
    (one,) = tracks()
    assert _said(one, np.zeros_like(one.broken)) == ""
    some = np.zeros_like(one.broken)
    some[-1, 3] = True
    assert _said(one, some) == "not finite in some layers"
    assert _said(one, np.ones_like(one.broken)) == "not finite"


def _said(of: Track, broken: np.ndarray) -> str:
    centre = np.where(broken, np.nan, of.centre)
    drawn = animation("x", "x", "", "mean", [replace(of, centre=centre, broken=broken)])
    drawing = Drawing(drawn, looks_of(["cpp"]))
    drawing.draw(len(drawing) - 1)
    return "".join(text.get_text() for text in drawing.axes.texts)


def test_limits_are_those_of_what_is_drawn() -> None:
    """Of more runs than have bands, the lines fill the axes; the spreads that are not drawn do not."""
    many = animation(
        "x", "x", "", "mean", [replace(t, spread=9 * np.abs(t.centre)) for t in tracks(("a", "b", "c"))]
    )
    drawn = np.concatenate([t.centre.ravel() for t in many.tracks])
    low, high = many.limits
    assert low < drawn.min() < drawn.max() < high
    assert high - low < 1.2 * (max(drawn.max(), 0) - min(drawn.min(), 0))


def test_no_two_of_thirty_runs_are_drawn_alike_and_all_stand_in_the_legend_or_are_counted() -> None:
    runs = tuple(f"run-{k:02d}" for k in range(30))
    drawing = Drawing(view(*runs), looks_of(runs))
    lines = {
        (line.get_color(), line.get_linestyle()) for line in drawing.axes.lines if line.get_marker() == "o"
    }
    assert len(lines) == 30
    legend = drawing.axes.get_legend()
    assert legend is not None
    named = [text.get_text() for text in legend.get_texts()]
    more = int(named[-1].split()[1]) if named[-1].startswith("and ") else 0
    assert len(named) - bool(more) + more == 30
    box, page = legend.get_window_extent(), drawing.figure.bbox
    assert box.y0 >= page.y0
    assert box.x1 <= page.x1


def test_runs_that_coincide_are_both_seen() -> None:
    """Of two equal runs the one drawn last hid the other: the lower line is wider."""
    first, last = tracks(("a", "b"))
    same = animation("x", "x", "", "mean", [first, replace(last, centre=first.centre)])
    below, above = (
        line for line in Drawing(same, looks_of(["a", "b"])).axes.lines if line.get_marker() == "o"
    )
    assert below.get_linewidth() >= 1.5 * above.get_linewidth()
