"""A taste without torch: made-up adapters, and what the commands that only read weights say of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunescope.demo.family import SEEDS, UNTRAINED, made_family
from tunescope.demo.output import PAGE, filling
from tunescope.writing import write_text

TITLE = "A taste: three adapters made by hand"
ABOUT = (
    f"No model was trained. {SEEDS[0]} and {SEEDS[1]} stand for two seeds of one training: both move layers "
    "4 to 7 further than the others, and share three directions of every weight. "
    f"{UNTRAINED} is an adapter as PEFT begins it, which changes nothing."
)
FOLDERS = ("base", "adapters", "merged", "norms", "subspace")


@dataclass(frozen=True)
class Taste:
    """Where everything lies, and the studies."""

    places: Mapping[str, Path]
    studies: tuple[Any, ...]


def run_quick(output: str | Path, *, overwrite: bool = False) -> Taste:
    """Make a base, three adapters and a merge; norms of the adapters and directions of two, on one page.

    Raises `UsageError` where `output` holds something else.
    """
    with filling(Path(output), "quick", FOLDERS, overwrite) as root:
        return _filled(root)


def _filled(root: Path) -> Taste:
    # Deferred: --help must not load the numeric libraries.
    from tunescope.questions.norms.study import norms
    from tunescope.questions.subspace.study import subspace
    from tunescope.study.report import report

    made = made_family(root)
    seeds = [f"{seed}={made[seed]}" for seed in SEEDS]
    studies = {
        "norms": norms(*seeds, f"{UNTRAINED}={made[UNTRAINED]}", base=str(made["base"])),
        "subspace": subspace(*seeds),
    }
    for name, study in studies.items():
        study.save(root / name, figures=(), report=False)
    page = write_text(root / PAGE, report(list(studies.values()), title=TITLE, about=ABOUT))
    places = {"page": page, **{name: root / name / "readout.md" for name in studies}}
    return Taste({**places, "adapters": root / "adapters"}, tuple(studies.values()))
