"""Write the five small fine-tuning domains that ship with tunescope; the same bytes every time.

python scripts/make_domains.py [--out src/tunescope/demo/domains]
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from demo_domains import cpp, math_reasoning, math_solutions, physics, python

Row = dict[str, str]
Family = Callable[[Random], Row]

ROWS = 320
DOMAINS: dict[str, Sequence[Family]] = {
    "cpp": cpp.FAMILIES,
    "python": python.FAMILIES,
    "math_solutions": math_solutions.FAMILIES,
    "math_reasoning": math_reasoning.FAMILIES,
    "physics": physics.FAMILIES,
}
DEFAULT = Path(__file__).parents[1] / "src/tunescope/demo/domains"


def rows(name: str, count: int = ROWS) -> list[Row]:
    """``count`` different rows, the families in turn, in an order that the domain's name fixes."""
    rng, found = Random(f"tunescope {name}"), dict[str, Row]()
    families, turn = DOMAINS[name], 0
    while len(found) < count:
        row = families[turn % len(families)](rng)
        found.setdefault(next(iter(row.values())), row)
        turn += 1
    return rng.sample(list(found.values()), count)


def text(name: str) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(name))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DEFAULT)
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name in DOMAINS:
        (folder / f"{name}.jsonl").write_text(text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
