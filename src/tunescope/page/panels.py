"""What a page is made of: data with units, panels that draw them, checks, and what one study gives of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

Tab = Literal["much", "directions", "when", "matter", "trust"]
State = Literal["good", "note", "warning", "unknown"]
# Colour tables of the page's script: sizes of change, importance, φ on 0-1, differences around a centre.
Palette = Literal["change", "importance", "phi", "difference"]


@dataclass(frozen=True, eq=False)
class Data:
    """A frame of the page; `meanings` has unit and meaning of its columns, `note` what was left out."""

    frame: pl.DataFrame
    meanings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    note: str = ""
    # Binary digits kept of every float, of the 23 that a float32 has; fewer make a large table small.
    bits: int = 23


@dataclass(frozen=True, eq=False)
class Measure:
    """A numeric column as an axis or a colour bar names it; `error` is the column of its standard error.

    Of a `smallest` measure the small values say that much happened: they are listed first.
    """

    column: str
    label: str
    palette: Palette = "change"
    limits: tuple[float, float] | None = None
    error: str | None = None
    smallest: bool = False


@dataclass(frozen=True, eq=False)
class Panel:
    """One figure of the page: where it stands, what it is called, and which of the part's data it draws."""

    name: str
    tab: Tab
    title: str
    caption: str
    data: str


@dataclass(frozen=True, eq=False)
class Maps(Panel):
    """Small multiples of heatmaps on one scale.

    One map for every combination of the `facets`; `x` and `y` are columns whose values are the axes.
    `margin` says how a row or column is summed up, `over` is a column (such as the step) that a slider
    moves along. `ranked` adds the list of the largest, `compare` the difference of two maps. `select` are
    columns of which one value at a time is shown, chosen from a list. `sizes` are columns that say how far a
    weight moved, the first that is known: kinds of weight of which none moved count in no rank, no median
    and no mean of a column, unless none moved at all. `within` says that only cells of one column compare:
    ranks, medians and the list are of columns. `explained` says what values of `select` mean.
    """

    measures: Sequence[Measure] = ()
    facets: Sequence[str] = ("model_id", "stack")
    x: str = "module_type"
    y: str = "layer"
    margin: Literal["mean", "sum", "none"] = "mean"
    over: str | None = None
    ranked: bool = False
    compare: bool = False
    select: Sequence[str] = ()
    sizes: Sequence[str] = ()
    within: bool = False
    explained: Mapping[str, str] = field(default_factory=dict)
    kind: str = field(default="maps", init=False)


@dataclass(frozen=True, eq=False)
class Squares(Panel):
    """Models by models: one square for each measure, rows of pairs in the columns `a` and `b`.

    `among` are columns whose values restrict the pairs that are averaged (all where nothing is chosen).
    """

    measures: Sequence[Measure] = ()
    a: str = "model_a"
    b: str = "model_b"
    diagonal: float | None = 1.0
    kind: str = field(default="squares", init=False)


@dataclass(frozen=True, eq=False)
class Lines(Panel):
    """Measures above one another along one axis, a line for every model; marks alone where not `joined`."""

    measures: Sequence[Measure] = ()
    x: str = "step"
    x_label: str = "optimizer step"
    series: str = "model_id"
    joined: bool = True
    kind: str = field(default="lines", init=False)


@dataclass(frozen=True, eq=False)
class Grids(Panel):
    """φ(i, j) of one component of a pair, beside chance; opened from the maps of the same pairs."""

    i: str = "i"
    j: str = "j"
    value: str = "phi"
    chance: str = "phi_chance"
    facets: Sequence[str] = ("of", "side")
    kind: str = field(default="grids", init=False)


@dataclass(frozen=True, eq=False)
class Gain(Panel):
    """From one loss to another: a bar per row, with what it consists of."""

    before: str = "loss_base"
    after: str = "loss_tuned"
    error: str | None = None
    label: Sequence[str] = ("model_id", "data")
    unit: str = "nats/token"
    kind: str = field(default="gain", init=False)


@dataclass(frozen=True, eq=False)
class Scatter(Panel):
    """One measure against another, a mark for every row; a brush outlines the cells in all maps.

    `equal` draws the line on which both are the same.
    """

    x: Measure = field(default_factory=lambda: Measure("", ""))
    y: Measure = field(default_factory=lambda: Measure("", ""))
    series: str = "model_id"
    select: Sequence[str] = ()
    equal: bool = False
    kind: str = field(default="scatter", init=False)


@dataclass(frozen=True, eq=False)
class Rows(Panel):
    """A plain table, sortable."""

    columns: Sequence[str] = ()
    kind: str = field(default="rows", init=False)


@dataclass(frozen=True, eq=False)
class Check:
    """One thing that a reader must be able to trust: what was found of it, and what that means."""

    name: str
    state: State
    text: str


@dataclass(frozen=True, eq=False)
class Content:
    """What a question gives to the page.

    `tab` is where its findings and panels are looked for; `sentences` describe, without a test, `caution`
    is what must not be read into them; `methods` is how the numbers were made, in words; `nothing` is said
    where there are no findings, `others` of the models without one where some have one; `about` names the
    method and size of what was measured, `command` is the line that measures it again.
    """

    tab: Tab
    data: Mapping[str, Data] = field(default_factory=dict)
    panels: Sequence[Panel] = ()
    checks: Sequence[Check] = ()
    sentences: Sequence[str] = ()
    caution: str = ""
    methods: str = ""
    nothing: str = "Nothing stands out."
    others: str = ""
    about: Sequence[str] = ()
    command: str = ""


@dataclass(frozen=True, eq=False)
class Part:
    """What one study gives to the page: what its question says, and what every study has."""

    kind: str
    content: Content
    labels: Sequence[str]
    findings: Sequence[Mapping[str, Any]] = ()
    sources: Sequence[Mapping[str, Any]] = ()
    base: str | None = None
    read: str = ""
    checks: Sequence[Check] = ()
