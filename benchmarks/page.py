"""The report page: bytes, time until it is ready in headless Chromium, and a step of its slider."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
from tests.browser.conftest import started
from tests.browser.reader import Reader
from tests.browser.studies import attribution, importance

import tunescope
from tunescope.demo.adapters import made_adapters
from tunescope.study.report import report
from tunescope.study.study import Study

OUT = Path(__file__).parent / "results" / "page.json"
REPEATS = 5
_STEP = """
const done = arguments[arguments.length - 1];
const input = document.querySelector('#panel-motion input[type=range]');
const times = [];
const step = (k) => {
  if (k === 8) return done(times);
  input.value = k % 2 ? 0 : input.max;
  const before = performance.now();
  input.dispatchEvent(new Event('input'));
  times.push(performance.now() - before);
  requestAnimationFrame(() => step(k + 1));
};
step(0);
"""


def main() -> None:
    """Measure both pages and write `results/page.json`."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made = made_adapters(folder / "made")
        pages = {"three adapters": usual(made, folder), "twelve models": large(made, folder)}
        found = {name: measured(studies, folder / f"{i}") for i, (name, studies) in enumerate(pages.items())}
    OUT.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


def usual(made: dict[str, Path], folder: Path) -> list[Study]:
    """Everything on: three adapters of 182 weights, their runs of 24 captures, a gain, an importance."""
    sources = [f"{label}={path}" for label, path in made.items()]
    return [
        tunescope.norms(sources), tunescope.subspace(*sources), captured(made, folder, list(made), 24),
        attribution("cpp"), importance("base", layers=26),
    ]  # fmt: skip


def large(made: dict[str, Path], folder: Path) -> list[Study]:
    """Twelve models of 8,400 expert weights each, and twelve runs of 400 captures."""
    names = [f"model-{i}" for i in range(12)]
    norms = tunescope.norms([f"{label}={path}" for label, path in list(made.items())[:1]])
    draws = np.random.default_rng(0)
    modules = ("gate_proj", "up_proj", "down_proj")
    places = pl.DataFrame({
        "layer": [layer for layer in range(28) for _ in range(300)],
        "module_type": [f"mlp.experts.{m}" for _ in range(28) for m in modules for _ in range(100)],
        "expert": [e for _ in range(84) for e in range(100)],
    })  # fmt: skip
    frames = []
    for name in names:
        sizes = {c: draws.lognormal(-4, 0.3, places.height) for c in ("frobenius_norm", "stable_rank")}
        rows = places.with_columns(model_id=pl.lit(name), stack=pl.lit("model"), scale=pl.lit(2.0), **sizes)
        named = pl.format("L{}_{}_E{}", "layer", pl.col("module_type").str.slice(12), "expert")
        rows = rows.with_columns(
            component_name=named, status=pl.lit("ok"), method=pl.lit("lora"), family=pl.lit("mlp"),
            frobenius_norm_normalized=pl.col("frobenius_norm") / 16,
            unscaled_frobenius_norm=pl.col("frobenius_norm"),
        )  # fmt: skip
        frames.append(rows)
    frame = pl.concat([norms.table.frame.clear(), *frames], how="diagonal_relaxed")
    models = {name: next(iter(norms.readout["models"].values())) for name in names}
    document = {**norms.readout, "models": models, "findings": []}
    tables = {"norms": norms.table.with_rows(frame)}
    return [replace(norms, tables=tables, readout=document), captured(made, folder, names, 400, thin=True)]


def captured(
    made: dict[str, Path], folder: Path, names: Sequence[str], count: int, thin: bool = False
) -> Study:
    """Runs of so many captures, grown from one that is read: sizes that rise, a loss that falls."""
    run = folder / f"run-{count}"
    for step, path in zip((10, 20, 40), made.values(), strict=True):
        shutil.copytree(path, run / f"checkpoint-{step}")
    study = tunescope.trajectory(run)
    summary = next(iter(study.readout["runs"].values()))
    tables = {
        name: table.with_rows(_grown(table.frame, names, count)) for name, table in study.tables.items()
    }
    if thin:
        inside = pl.col("module_type").str.ends_with("q_proj")
        tables["motion"] = tables["motion"].with_rows(tables["motion"].frame.filter(inside))
    return replace(study, tables=tables, readout={**study.readout, "runs": dict.fromkeys(names, summary)})


def _grown(frame: pl.DataFrame, names: Sequence[str], count: int) -> pl.DataFrame:
    first = frame.filter(pl.col("step") == 10).drop("model_id", "step")
    draws = np.random.default_rng(1)
    keys = pl.DataFrame({
        "model_id": [name for name in names for _ in range(count)],
        "step": list(range(10, 10 * count + 1, 10)) * len(names),
    })  # fmt: skip
    rows = keys.join(first, how="cross")
    noise = pl.Series(draws.lognormal(0, 0.05, rows.height))
    size = pl.col("delta_frobenius_norm") * (pl.col("step") / (10 * count)).sqrt() * noise
    grown = [size.alias("delta_frobenius_norm")] if "delta_frobenius_norm" in rows.columns else []
    if "loss" in rows.columns:
        grown.append((2 + (-pl.col("step") / (4 * count)).exp() + noise / 20).alias("loss"))
    return rows.with_columns(grown).select(frame.columns)


def measured(studies: Sequence[Study], folder: Path) -> dict[str, Any]:
    """Bytes, milliseconds from navigation until ready, and of a slider step; medians of a warm browser."""
    folder.mkdir()
    path = folder / "report.html"
    path.write_text(report(studies), encoding="utf-8")
    driver = started(folder)
    try:
        reader = Reader(driver, path)
        # Of the thread that draws the page, the time it works; other programs do not add to it.
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        ready, busy = [], []
        for _ in range(REPEATS + 1):
            reader.open()
            ready.append(float(reader.run("return document.documentElement.dataset.ready")))
            metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
            busy.append(1000 * next(m["value"] for m in metrics if m["name"] == "TaskDuration"))
        reader.open("tab=when")
        steps = driver.execute_async_script(_STEP)
    finally:
        driver.quit()
    # The first time pays for the browser's own start.
    return {
        "bytes": path.stat().st_size,
        "ready_ms": median(ready[1:]),
        "fastest_ready_ms": min(ready[1:]),
        "busy_ms": median(busy[1:]),
        "step_ms": median(steps),
    }


def section(results: dict[str, Any]) -> list[str]:
    """The figures as Markdown."""
    lines = [
        "`python -m benchmarks.page`: headless Chromium, from navigation until the first figure is drawn and",
        "answers keys. *Busy* is how long the page's own thread worked until all figures of the tab stood",
        "there, which other programs on a shared machine do not add to. The first page has three adapters of",
        "182 weights with norms, subspace, runs of 24 captures, attribution and importance; the second",
        "twelve models with 8,400 expert weights each, and twelve runs of 400 captures.",
        "",
        "| page | bytes | busy | ready, median (fastest) | one step of the slider |",
        "|---|---|---|---|---|",
    ]
    return lines + [
        f"| {name} | {r['bytes'] / 1e6:.2f} MB | {r['busy_ms']:.0f} ms | {r['ready_ms']:.0f} "
        f"({r['fastest_ready_ms']:.0f}) ms | {r['step_ms']:.0f} ms |"
        for name, r in results.items()
    ]


if __name__ == "__main__":
    main()
