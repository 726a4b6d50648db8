"""How many damaged inputs and how many faults of the disk were tried, and how many went wrong."""

from typing import Any


def section(r: dict[str, Any]) -> list[str]:
    """The figures of `make fuzz` and `make faults`."""
    lines = [
        "`python -m tests.faults.fuzz --seconds N --seed S` (`make fuzz`): sound inputs damaged byte by byte",
        "and value by value. What is neither read nor refused with slug, file and expectation is uncaught.",
        "",
        "| seconds | seed | kinds of input | inputs tried | uncaught |",
        "|---|---|---|---|---|",
        *(
            f"| {run['seconds']:,} | {run['seed']} | {run['kinds']} | {run['tried']:,} | {run['uncaught']} |"
            for run in r["fuzz"]
        ),
        "",
        "`python -m tests.faults.disk --command NAME --stride N` (`make faults`: every point): ENOSPC, EIO,",
        "EINTR, SIGINT, SIGTERM and SIGKILL where the command writes, renames or brings to the disk, over no",
        "study and over an earlier one. Lost is a study that is neither whole nor absent, an exit code that",
        "fits no fault, a lock or half a file left behind, or work that the same command does not complete.",
        "",
        "| command | points | stride | faults tried | lost |",
        "|---|---|---|---|---|",
        *(
            f"| `{run['command']}` | {run['points']} | {run['stride']} | {run['tried']} | {run['lost']} |"
            for run in r["faults"]
        ),
        "",
        "`python -m tests.faults.disk.moments --command NAME`: SIGINT, SIGTERM and SIGKILL, 40 each, at",
        "random moments, between writes too and while pictures are drawn; judged as above.",
        "",
        "| command | signals | before the end | lost |",
        "|---|---|---|---|",
        *(
            f"| `{run['command']}` | {run['moments']} | {run['before_the_end']} | {run['lost']} |"
            for run in r["moments"]
        ),
    ]
    return [*lines, "", r["mended"]]
