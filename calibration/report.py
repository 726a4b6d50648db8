"""The table of false-positive rates and power as a page of the documentation."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from calibration.facts import FACTS
from calibration.harness import ANY, ANY_BUDGET, KIND_BUDGET, POWER, Planted, Row, Scenario, kinds_of

_LEAD = f"""# Calibration: how often findings are wrong, and how often missed

A finding needs both: an effect of a stated size, and a test against the null hypothesis that fits it,
corrected for all models, towers and weights of the study. This page is simulated: every row draws whole
studies (one call with all its models) and counts those in which the kind was raised. Budgets: a kind in
at most {KIND_BUDGET:.0%} of the studies without such an effect, any kind of a question in at most
{ANY_BUDGET:.0%} of them, and at least {POWER:.0%} of the studies with the planted effect. Rows without a
budget are marked `shown`: of effects and of laws for which nothing is promised. Statements that nothing
happens are held the other way round: their null studies hold the smallest effect worth saying. Findings
that state a fact (an update of zero, equal updates, values that are not finite) are not tested.
`loss_ending` is no finding but the verdict of a sentence; with noise of much memory (AR(1) 0.8) and 40
losses or fewer it is wrong in 6 to 10 %.

`make calibrate` writes this page; `make calibrate-quick` simulates fewer studies, of other seeds, and
fails where a rate leaves its budget. Thresholds were chosen on other laws and seeds than those of this
table.

How a `hot_cell` of 5× shows depends on how other cells scatter: it is found nine times in ten where they
do by 10 %. At 20 % it depends on their tail, which is read from the other cells: a scatter with short
tails leaves little in doubt, one with long tails is a scatter in which such cells come about by chance.
So it is with a whole layer (`hot_layer`) among the others. That nothing stands out then says little, so
the readout names the factors that would have been found among these cells and layers. Models of one
recipe or one run scatter alike, so what several have at one place is one draw.

What the rates of `norms` are promised for: layers that are exchangeable (no layer follows its neighbours
but by chance), common to all kinds of weight, of any law up to exponential tails; cells whose tails are
no heavier than t₄. Beyond that they do not hold, as rows marked `shown` say. Where layers follow their
neighbours, the test of thirds reads how far from what thirds and a line leave of all profiles of the study,
and asks for more: with an AR(1) of 0.3 over layers of 20 % it stays below 7 %, with 0.6 at 10 to 12 %; a
profile as smooth as 0.9 still has thirds that differ. Cells with tails as heavy as t₃ hold single ones so far
out that some are called hot (7 %). Where a layer has one or two kinds of weight, its own level cannot be
told from that of its weights: of layers with a long tail some weights are then called hot (6 to 8 % of
studies of twelve layers that scatter exponentially by 30 %).

`moves_first` measures the way from checkpoint to checkpoint, which shows a layer that moves early however
little ground the weights gain. Captures know ‖ΔW‖ alone: there steps at random of twice the drift still
show it, of twenty times the drift they do not.
`plateau` is a measured fact, not a reason: under a rate that falls to zero all weights come to stand
still, and the sentence says by how much the rate had fallen.

The rates of `attribute` and `importance` hold for sequences with tails as heavy as t₄, on both sides alike
or with a skewness of 1. A mean of few sequences with one long tail (skewness 3.7) misleads any t test: of
8 sequences a gain that is none is told in 12 % of studies (of 64 in 7 %), a layer that does harm in 29 %.

The rates of `subspace` hold for updates whose entries are spread over the coordinates and for ones that lie
on few of them (rows or columns of unlike size, sparse or heavy-tailed entries): what random rotations make
rare is held against random placements of the two updates' own coordinates. Adapters that were trained on
noise from unlike seeds of one small Llama do share output directions (overlap 0.17 to 0.22 in 1 to 4 of 42
to 112 weights, 10 of 12 studies); two such studies of unlike bases told none.

`verify` gives one verdict for each study; its null studies count every claim that is not so, and its
planted ones the right claim. That nothing can be told is no claim: a ΔW of 1e-5 of ‖W‖ moves ten of these
few thousand values in bfloat16, and mostly says too little.
"""


# A line of the page: of which scenario and kind it is, and as it stands there.
Lines = Mapping[tuple[str, ...], str]


def page(rows: Sequence[Row], kept: Lines | None = None, scenarios: Iterable[Scenario] = ()) -> str:
    """The page: a table for each question, and the kinds that state facts.

    Of `scenarios` that have no row the lines are those of `kept`, if there are any.
    """
    lines = dict(kept or {}) | {_key(row.scenario, row.kind): _line(row) for row in rows}
    every = [(row.scenario, row.kind) for row in rows]
    every = [(s, kind) for s in scenarios for kind in kinds_of(s)] or every
    text = [_LEAD]
    for question in dict.fromkeys(scenario.question for scenario, _ in every):
        mine = [each for each in every if each[0].question == question]
        ordered = sorted(mine, key=lambda each: isinstance(each[0], Planted))
        there = [lines[key] for each in ordered if (key := _key(*each)) in lines]
        text += [f"## {question}", "", *_HEADER, *there, ""]
    return "\n".join([*text, *_facts()]).rstrip() + "\n"


def lines_of(text: str) -> Lines:
    """The lines of a page by what they are about."""
    found, question = {}, ""
    for line in text.splitlines():
        if line.startswith("## "):
            question = line.removeprefix("## ")
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == len(_COLUMNS) and cells[3].replace(",", "").isdigit():
            found[(question, cells[0].strip("`"), cells[1], cells[2], cells[5])] = line
    return found


def without(kept: Lines, scenarios: Iterable[Scenario]) -> Iterator[Scenario]:
    """The scenarios of which the page lacks a line."""
    return (s for s in scenarios if any(_key(s, kind) not in kept for kind in kinds_of(s)))


_COLUMNS = (
    "kind", "studies of", "shape", "N", "false-positive rate [95 %]", "planted effect", "power [95 %]",
)  # fmt: skip
_HEADER = (f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|")


def _key(scenario: Scenario, kind: str) -> tuple[str, ...]:
    effect = scenario.effect if isinstance(scenario, Planted) else "—"
    return scenario.question, kind, scenario.law, scenario.shape, effect


def _facts() -> list[str]:
    """The kinds that are not simulated, and why."""
    lines = ["## Not simulated", "", "| question | kind | because |", "|---|---|---|"]
    return lines + [
        f"| {question} | `{kind}` | {why} |"
        for question, kinds in FACTS.items()
        for kind, why in kinds.items()
    ]


def _line(row: Row) -> str:
    low, high = row.interval
    rate = f"{100 * row.rate:.1f} % [{100 * low:.1f}, {100 * high:.1f}]" + ("" if row.kept else " **over**")
    scenario = row.scenario
    kind = f"`{row.kind}`" if row.kind != ANY else row.kind
    lead = f"| {kind} | {scenario.law} | {scenario.shape} | {row.n:,} |"
    if isinstance(scenario, Planted):
        mark = " (shown)" if scenario.least is None else ""
        return f"{lead} — | {scenario.effect} | {rate}{mark} |"
    return f"{lead} {rate}{' (shown)' if scenario.shown else ''} | — | — |"
