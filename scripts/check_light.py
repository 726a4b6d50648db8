"""In an environment with the base install alone: every verb and public name works or says what to install.

Run with that environment's Python; `make light` makes it. Ends with 1 and a line for each thing that fails.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import tunescope
from tunescope.cli import VERBS
from tunescope.demo.adapters import made_adapters
from tunescope.errors import UsageError

FAILED: list[str] = []
NEEDS_MORE = {
    "importance": ["MODEL", "--data", "TEXTS"],
    "attribute": ["ADAPTER", "--base", "MODEL", "--data", "TEXTS"],
    "finetune": ["--model", "MODEL", "--data", "x=TEXTS", "-o", "OUT"],
    "demo": ["-o", "OUT"],
}


def check(what: str, holds: bool, found: object) -> None:
    """Print one line, and remember what does not hold."""
    print(f"{'ok  ' if holds else 'FAIL'} {what}: {found}")
    if not holds:
        FAILED.append(what)


def tunescope_run(*arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "tunescope", *arguments],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, done.stderr.strip()


def check_names() -> None:
    """Public names load; what an extra brings refuses with the words that install it."""
    for name in tunescope.__all__:
        found = getattr(tunescope, name)
        if name in ("TrainingCapture", "finetune"):
            try:
                found()
            except UsageError as refusal:
                check(
                    name, refusal.slug == "extra-missing" and "pip install" in str(refusal.fix), refusal.what
                )
            else:
                check(name, False, "it worked")
        else:
            check(name, found is not None, type(found).__name__)
    shown = subprocess.run(
        [sys.executable, "-c", "import tunescope; help(tunescope)"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    check("help(tunescope)", shown.returncode == 0 and "norms" in shown.stdout, shown.stderr[-80:])


def check_verbs(folder: Path) -> None:
    """Every verb has help; what reads adapters works, what needs torch says so."""
    adapters = made_adapters(folder / "adapters")
    first, second = (str(path) for path in list(adapters.values())[:2])
    texts = folder / "texts.jsonl"
    texts.write_text(json.dumps({"text": "a b c"}))
    for verb in VERBS:
        check(f"{verb} --help", tunescope_run(verb, "--help")[0] == 0, "help")
    quick = folder / "demo-quick"
    works = {
        "norms": [first, second, "-o", str(folder / "norms")],
        "subspace": [first, second, "--layers", "0", "-o", str(folder / "subspace")],
        "trajectory": [first, second, "-o", str(folder / "trajectory"), "--figures", "none"],
        "check": [first, second],
        "draw": [str(folder / "norms")],
        "report": [str(folder / "norms"), "-o", str(folder / "report.html")],
        "demo": ["--quick", "-o", str(quick)],
        "verify": [str(quick / "merged"), "--base", str(quick / "base"), str(quick / "adapters" / "seed-0")],
    }
    check("every verb is tried", {*works, *NEEDS_MORE} == {*VERBS}, ", ".join(VERBS))
    for verb, arguments in works.items():
        code, said = tunescope_run(verb, *arguments)
        check(verb, code == 0 or (verb == "trajectory" and code == 3), said[-80:] if code else "works")
    values = {"MODEL": str(folder), "ADAPTER": first, "TEXTS": str(texts), "OUT": str(folder / "out")}
    for verb, arguments in NEEDS_MORE.items():
        for word, value in values.items():
            arguments = [part.replace(word, value) for part in arguments]
        code, said = tunescope_run(verb, *arguments)
        check(verb, code == 2 and "[extra-missing]" in said and "pip install" in said, said[:100])


def main() -> int:
    """Check everything; the exit code."""
    check("no torch here", importlib.util.find_spec("torch") is None, "base install")
    check("numpy", np.__version__ >= "2", np.__version__)
    check_names()
    with tempfile.TemporaryDirectory() as folder:
        check_verbs(Path(folder))
    print(f"{len(FAILED)} failed")
    return int(bool(FAILED))


if __name__ == "__main__":
    sys.exit(main())
