"""`python -m benchmarks.gpu`: every benchmark that needs a GPU, each figure printed and saved as it comes.

    python -m benchmarks.gpu                    # goes on where a run before it was stopped
    python -m benchmarks.gpu --only importance_passes capture
    python -m benchmarks.gpu --tiny --out /tmp/rehearsal         # small models, on the CPU

What has ended on this device with these versions is not run again; `--again` forgets it. The figures lie
beside those that `python -m benchmarks.report` makes the page of.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.importance_gpu import machine
from benchmarks.report import HERE

# What each script calls its place for figures: a file, the folder of it, or none but its own.
SCRIPTS = {
    "importance_passes": "file",
    "importance": "file",
    "attribution": "file",
    "capture": "folder",
    "subspace": "own",
}


def command(name: str, out: Path, tiny: bool) -> list[str]:
    """The command line of one benchmark."""
    where = {"file": ["--out", str(out / f"{name}_gpu.json")], "folder": ["--out", str(out)], "own": []}
    return [sys.executable, "-m", f"benchmarks.{name}_gpu", *where[SCRIPTS[name]], *["--tiny"] * tiny]


def run(names: list[str], out: Path, tiny: bool, again: bool) -> list[str]:
    """Run what has not ended here before; the names of those that failed."""
    out.mkdir(parents=True, exist_ok=True)
    record, here = out / "gpu_done.json", machine()
    done = json.loads(record.read_text()) if record.exists() and not again else {}
    failed = []
    for name in names:
        if done.get(name) == here:
            print(f"{name}: has ended before", flush=True)
            continue
        if name in done or again:
            # Figures of another machine, which a script that goes on would keep.
            (out / f"{name}_gpu.json").unlink(missing_ok=True)
        print(f"{name}:", flush=True)
        if subprocess.run(command(name, out, tiny), check=False).returncode:
            failed.append(name)
            continue
        done[name] = here
        record.write_text(json.dumps(done, indent=1) + "\n")
    return failed


def main() -> int:
    """Run them; 1 where one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=list(SCRIPTS))
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    names = [n for n in options.only if not (options.tiny and SCRIPTS[n] == "own")]
    failed = run(names, options.out, options.tiny, options.again)
    print("failed: " + ", ".join(failed) if failed else "all have ended")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
