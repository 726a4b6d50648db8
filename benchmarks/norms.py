"""`tunescope norms` on a Llama-3-8B-shaped adapter: CPU time, memory and error, beside peers and limits.

Every contender runs alone in a fresh interpreter with one thread. Times are CPU seconds of the measured
call, the median of the repeats, and are reported as ratios to a bare float32 Gram pass of the same run.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.llama8b import make
from benchmarks.process import ROOT, environment

RESULT = Path(__file__).parent / "results" / "norms.json"
# name -> (repeats, layers of the adapter it gets); slow peers get fewer layers and are scaled up.
CONTENDERS = {
    "read": (5, 32),
    "gram32": (5, 32),
    "tunescope_no_spectra": (5, 32),
    "tunescope_full": (5, 32),
    "notebook": (1, 1),
    "gradience": (1, 32),
    "weightwatcher": (1, 1),
}


def main() -> dict[str, Any]:
    """Run all contenders, print the table, write `results/norms.json`."""
    adapters = {layers: make(ROOT / f"llama8b-r64-{layers}", layers=layers) for layers in (32, 1)}
    runs = {name: _repeat(name, *CONTENDERS[name], adapters) for name in CONTENDERS}
    results = {name: _sum_up(name, runs) for name in runs} | {"startup": _startup()}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))
    return results


def _repeat(name: str, repeats: int, layers: int, adapters: dict[int, Path]) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.norms_contenders", name, str(adapters[layers])]
    out = []
    for _ in range(repeats):
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            out.append(
                {"failed": done.stderr.strip().splitlines()[-1][:200] if done.stderr else "no message"}
            )
            break
        out.append(json.loads(done.stdout.splitlines()[-1]))
    return out


def _sum_up(name: str, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    if "failed" in runs[name][0]:
        return runs[name][0]
    seconds = statistics.median(run["cpu_seconds"] for run in runs[name])
    first = runs[name][0]
    gram = statistics.median(run["cpu_seconds"] for run in runs["gram32"])
    read = statistics.median(run["cpu_seconds"] for run in runs["read"])
    scaled = seconds * first["share"]
    return {
        "over_gram": scaled / gram,
        "over_read": scaled / read,
        "modules_measured": first["modules"],
        "peak_mb": max(run["peak_mb"] for run in runs[name]),
        "max_relative_error": first["max_relative_error"],
        "repeats": len(runs[name]),
    }


def _startup() -> dict[str, float]:
    """Wall time of `import tunescope` and `tunescope --help` over that of `import numpy`, medians of 15."""
    codes = {
        "numpy": [sys.executable, "-c", "import numpy"],
        "import": [sys.executable, "-c", "import tunescope"],
        "help": [str(Path(sys.executable).parent / "tunescope"), "--help"],
    }
    times = {name: _wall(command) for name, command in codes.items()}
    return {
        "import_over_numpy": times["import"] / times["numpy"],
        "help_over_numpy": times["help"] / times["numpy"],
    }


def _wall(command: list[str]) -> float:
    import time

    walls = []
    for _ in range(15):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment())
        walls.append(time.perf_counter() - start)
    return statistics.median(walls)


NAMES = {
    "read": "reading the bytes",
    "gram32": "bare float32 Gram pass",
    "tunescope_no_spectra": "**tunescope norms --no-spectra**",
    "tunescope_full": "**tunescope norms**, every column, full spectra",
    "notebook": "notebook way: float32 B@A, then its norm",
    "gradience": "gradience 0.11.0 audit",
    "weightwatcher": "weightwatcher 0.7.7 (peft=True)",
}


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| | CPU ÷ Gram pass | ÷ reading | memory above imports | largest error of ‖ΔW‖ | modules |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in NAMES.items():
        row = results[name]
        if "failed" in row:
            lines.append(f"| {title} | failed: {row['failed']} | | | | |")
            continue
        error = "" if row["max_relative_error"] is None else f"{row['max_relative_error']:.0e}"
        lines.append(
            f"| {title} | {row['over_gram']:.2f} | {row['over_read']:.1f} | {row['peak_mb']:.0f} MB "
            f"| {error} | {row['modules_measured']} |"
        )
    start = results["startup"]
    lines += [
        "",
        f"`import tunescope` takes {start['import_over_numpy']:.2f}× the time of `import numpy`, "
        f"`tunescope --help` {start['help_over_numpy']:.2f}×.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
