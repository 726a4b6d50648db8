"""All pictures of a trajectory study in reading order: all domains first, then each."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from tunescope.picture.views import Grid
from tunescope.questions.trajectory.views import (
    BANDS,
    Animation,
    Track,
    animation,
    norm_grid,
    panel_name,
    rate_text,
    track,
)

_REFERENCES = {
    "start": "the start of training",
    "zero": "zero, where it begins",
    "first_checkpoint": "the first checkpoint",
    "mixed": "different origins",
}


@dataclass(frozen=True, eq=False)
class Panel:
    """The pictures of one run, or of several together: mean, absolute mean, and ‖ΔW‖ for a run."""

    title: str
    runs: tuple[str, ...]
    mean: Animation
    abs_mean: Animation
    norm: tuple[str, Grid] | None = None


@dataclass(frozen=True, eq=False)
class Gallery:
    """Chapters (a title and its panels) in reading order, and the keys that colours are given to."""

    chapters: tuple[tuple[str, tuple[Panel, ...]], ...]
    keys: tuple[str, ...]

    def panels(self) -> Iterator[Panel]:
        """Every panel, in reading order."""
        for _, panels in self.chapters:
            yield from panels


@dataclass(frozen=True, slots=True)
class _Series:
    run: str
    domain: str | None
    rate: float | None
    seed: int | None
    method: str

    @property
    def key(self) -> str:
        return self.domain if self.domain is not None else self.run

    @property
    def placed(self) -> bool:
        return self.domain is not None and self.rate is not None


def gallery(by_layer: pl.DataFrame, norms: pl.DataFrame) -> Gallery:
    """Pictures of every run that has layers, from the tables of motion and of ‖ΔW‖ by layer."""
    inside = by_layer.filter(pl.col("layer").is_not_null())
    every = list(_series(inside))
    stems = _stems(every)
    chapters: list[tuple[str, tuple[Panel, ...]]] = []
    if shared := list(_shared(inside, every)):
        chapters.append(("All domains", tuple(shared)))
    if alike := list(_unplaced(inside, every, set(stems.values()))):
        chapters.append(("All runs", tuple(alike)))
    domains = dict.fromkeys(s.domain for s in every if s.placed)
    groups = [(str(d), [s for s in every if s.placed and s.domain == d]) for d in domains]
    groups += [(s.run, [s]) for s in every if not s.placed]
    for title, members in groups:
        panels = tuple(_single(inside, norms, s, stems[s.run], members) for s in members)
        chapters.append((title, panels))
    return Gallery(tuple(chapters), tuple(dict.fromkeys(s.key for s in every)))


def _series(inside: pl.DataFrame) -> Iterator[_Series]:
    rows = inside.group_by("run", "domain", "learning_rate", "seed", maintain_order=True).agg(
        (pl.col("factor") == "A").any().alias("low_rank")
    )
    found = [
        _Series(run, domain, rate, seed, "lora" if low_rank else "full")
        for run, domain, rate, seed, low_rank in rows.iter_rows()
    ]
    yield from sorted(
        found, key=lambda s: (not s.placed, s.domain or "", s.rate or 0.0, s.method != "lora", s.run)
    )


def _stems(every: Sequence[_Series]) -> dict[str, str]:
    """A file stem for every run, lengthened by method, seed and number only as far as two runs share one."""
    stems: dict[str, str] = {s.run: _stem(s, 0) for s in every}
    for detail in (1, 2):
        counts = Counter(stem.lower() for stem in stems.values())
        stems = {s.run: _stem(s, detail) if counts[stems[s.run].lower()] > 1 else stems[s.run] for s in every}
    seen: Counter[str] = Counter()
    for run, stem in stems.items():
        seen[stem.lower()] += 1
        stems[run] = stem if seen[stem.lower()] == 1 else f"{stem}_{seen[stem.lower()]}"
    return stems


def _stem(series: _Series, detail: int) -> str:
    if not series.placed:
        return panel_name(series.run)
    parts = [rate_text(series.rate or 0.0), str(series.domain)]
    parts += [series.method] if detail > 0 and series.method == "full" else []
    parts += [f"seed-{series.seed}"] if detail > 1 else []
    return panel_name(*parts)


def _shared(inside: pl.DataFrame, every: Sequence[_Series]) -> Iterator[Panel]:
    """One panel for every rate (and method, where both occur) that several runs share."""
    groups: dict[tuple[float, str], list[_Series]] = {}
    for series in every:
        if series.rate is not None and series.placed:
            groups.setdefault((series.rate, series.method), []).append(series)
    both = len({method for _, method in groups}) > 1
    for (rate, method), members in sorted(groups.items()):
        if len(members) > 1:
            name = panel_name(rate_text(rate), "all", *(["full"] if both and method == "full" else []))
            title = f"Learning rate {rate_text(rate)}" + (f" · {_METHODS[method]}" if both else "")
            yield _panel(inside, members, name, title, f"All domains · learning rate {rate_text(rate)}")


def _unplaced(inside: pl.DataFrame, every: Sequence[_Series], taken: set[str]) -> Iterator[Panel]:
    """One panel for each method of the runs without a known domain and rate, such as bare checkpoints."""
    groups: dict[str, list[_Series]] = {}
    for series in every:
        if not series.placed:
            groups.setdefault(series.method, []).append(series)
    for method, members in sorted(groups.items()):
        if len(members) < 2:
            continue
        several = len(groups) > 1
        name = panel_name("all", "runs", *([method] if several else []))
        while name in taken:
            name += "_together"
        title = "All runs" + (f" · {_METHODS[method]}" if several else "")
        yield _panel(inside, members, name, title, title)


_METHODS = {"lora": "low-rank", "full": "all weights"}


def _single(
    inside: pl.DataFrame, norms: pl.DataFrame, series: _Series, stem: str, members: Sequence[_Series]
) -> Panel:
    if series.placed:
        rate = rate_text(series.rate or 0.0)
        peers = [s for s in members if s.rate == series.rate]
        detail = f" · {_METHODS[series.method]}" if len({s.method for s in peers}) > 1 else ""
        detail += f" · seed {series.seed}" if len({s.seed for s in peers}) > 1 else ""
        heading, title = f"Learning rate {rate}{detail}", f"{series.domain} · learning rate {rate}{detail}"
    else:
        heading = title = series.run
    grid = norm_grid(norms.filter(pl.col("run") == series.run), title)
    panel = _panel(inside, [series], stem, heading, title)
    return Panel(
        panel.title, panel.runs, panel.mean, panel.abs_mean, None if grid is None else (f"{stem}_norm", grid)
    )


def _panel(inside: pl.DataFrame, members: Sequence[_Series], name: str, heading: str, title: str) -> Panel:
    rows = {s.run: drawn(inside.filter(pl.col("run") == s.run)) for s in members}
    subtitle = _subtitle(pl.concat(list(rows.values())), len(members))
    views = {}
    for statistic in ("mean", "abs_mean"):
        tracks = [_track(rows[s.run], statistic, s, members) for s in members]
        views[statistic] = animation(
            f"{name}_{statistic}", title, subtitle, statistic, [t for t in tracks if t is not None]
        )
    return Panel(heading, tuple(s.run for s in members), views["mean"], views["abs_mean"])


def _track(rows: pl.DataFrame, statistic: str, series: _Series, members: Sequence[_Series]) -> Track | None:
    several = sum(s.key == series.key for s in members) > 1
    label = f"{series.key} (seed {series.seed})" if several else series.key
    return track(rows, statistic, label=label, key=series.key)


def drawn(rows: pl.DataFrame) -> pl.DataFrame:
    """All factors together, or B alone where A and B count from different origins."""
    together = rows.filter(pl.col("factor") == "all")
    if (together["reference"] == "mixed").any() and (rows["factor"] == "B").any():
        return rows.filter(pl.col("factor") == "B")
    return together


def _subtitle(rows: pl.DataFrame, runs: int) -> str:
    counts = rows["n_matrices"].unique().sort().to_list()
    count = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
    which = " (LoRA B)" if (rows["factor"] == "B").all() else ""
    references = [_REFERENCES[r] for r in rows["reference"].unique().sort().to_list()]
    plural = "matrix" if counts == [1] else "matrices"
    band = "; band: ±1 std across them" if runs <= BANDS else ""
    return f"{count} {plural} a layer{which}, Δ counted from {' or '.join(references)}{band}"
