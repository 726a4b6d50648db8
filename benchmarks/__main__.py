"""`python -m benchmarks`: every benchmark that runs on a CPU, then the page of results."""

import subprocess
import sys

from benchmarks import (
    figures,
    finetune_cpu,
    many,
    norms,
    page,
    report,
    subspace,
    whole,
    whole_cold,
    whole_engines,
    whole_peers,
    whole_stream,
)


def main() -> None:
    """Run all and write `RESULTS.md`."""
    norms.main()
    many.main()
    subspace.main()
    whole.main()
    whole_cold.main()
    whole_engines.main()
    page.main()
    whole_stream.main()
    whole_peers.main()
    figures.main()
    finetune_cpu.main()
    # In processes of their own, whose whole time is taken.
    for more in ([], ["--demo"]):
        subprocess.run([sys.executable, "-m", "benchmarks.finetune_shares", *more], check=True)
    out = report.HERE / "results" / "importance_cpu.json"
    subprocess.run([sys.executable, "-m", "benchmarks.importance_cpu", "--out", str(out)], check=True)
    print(report.write().read_text())


if __name__ == "__main__":
    main()
