"""What each run gained and forgot: held-out loss before and after, on its own domain and all others."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from tunescope.table import write_csv
from tunescope.training.run import Run

SCHEMA = {
    "run": pl.String,
    "domain": pl.String,
    "learning_rate": pl.Float64,
    "seed": pl.Int64,
    "evaluated_on": pl.String,
    "loss_before": pl.Float64,
    "loss_after": pl.Float64,
    "change": pl.Float64,
    "tokens": pl.Int64,
}


def transfer(runs: Sequence[Run]) -> pl.DataFrame:
    """One row a trained run and domain: loss before, after and their difference, in nats a token.

    The difference is null where a loss is not a number.
    """
    rows = [
        (run.name, run.domain, run.learning_rate, run.seed, name, at["before"], at["after"],
         change(at), at["tokens"])
        for run in runs
        if run.trained
        for name, at in run.record["losses"].items()
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def change(losses: Mapping[str, float | None]) -> float | None:
    """Loss after training less that before; None where one of them is not a number."""
    before, after = losses["before"], losses["after"]
    return None if before is None or after is None else after - before


def write_transfer(root: Path, runs: Sequence[Run]) -> None:
    """Write `tables/transfer.csv`, and `tables/transfer_change.csv` with one column a domain."""
    frame = transfer(runs)
    (root / "tables").mkdir(exist_ok=True)
    write_csv(frame, root / "tables" / "transfer.csv")
    if frame.height:
        keys = ["run", "domain", "learning_rate", "seed"]
        wide = frame.pivot("evaluated_on", index=keys, values="change", maintain_order=True)
        write_csv(wide, root / "tables" / "transfer_change.csv")
