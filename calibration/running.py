"""Running scenarios over many processes, so that a run that stops goes on where it was."""

import hashlib
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import tunescope
from calibration.harness import Row, Scenario, draws, rows_of

# Studies that one process draws at a time: few enough to share among many, many enough to be worth a line.
BLOCK = 50


class Unfinished(Exception):
    """The time given ran out before all studies were drawn."""


@dataclass
class _Drawn:
    """What was drawn of one scenario."""

    raised: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    blocks: set[int] = field(default_factory=set)

    def add(self, first: int, raised: dict[str, int], seconds: float) -> None:
        self.blocks.add(first)
        self.raised.update(raised)
        self.seconds += seconds


def simulate_all(
    scenarios: Sequence[Scenario],
    n: int,
    salt: str = "",
    workers: int = 2,
    tell: Callable[[str], None] = print,
    record: Path | None = None,
    within: float | None = None,
) -> list[Row]:
    """The rows of every scenario, in the order given, from n studies of each over `workers` processes.

    `record` keeps a line of JSON for each block drawn; blocks that the same code drew before are not drawn
    again. `Unfinished` where `within` seconds are not enough.
    """
    code = code_digest()
    drawn = [_Drawn() for _ in scenarios]
    if record is not None:
        _recall(record, code, salt, n, scenarios, drawn)
    todo = [
        (i, first, min(BLOCK, n - first))
        for i in range(len(scenarios))
        for first in range(0, n, BLOCK)
        if first not in drawn[i].blocks
    ]
    whole = len(range(0, n, BLOCK))
    for i, first, size, raised, seconds in _blocks(scenarios, todo, salt, workers, within):
        drawn[i].add(first, raised, seconds)
        if record is not None:
            _append(record, code, salt, scenarios[i].name, first, size, raised, seconds)
        if len(drawn[i].blocks) == whole:
            for row in rows_of(scenarios[i], drawn[i].raised, n, drawn[i].seconds):
                mark = "" if row.kept else "LEAVES ITS BUDGET "
                tell(f"{row.rate:6.1%} {mark}{row.kind}: {row.scenario.name} ({row.seconds:.0f} s)")
    if missing := sum(whole - len(each.blocks) for each in drawn):
        raise Unfinished(f"{missing} of {whole * len(scenarios)} blocks of studies are left: run it again")
    pairs = zip(scenarios, drawn, strict=True)
    return [row for scenario, each in pairs for row in rows_of(scenario, each.raised, n, each.seconds)]


_Block = tuple[int, int, int, dict[str, int], float]


def _blocks(
    scenarios: Sequence[Scenario],
    todo: Sequence[tuple[int, int, int]],
    salt: str,
    workers: int,
    within: float | None,
) -> Iterator[_Block]:
    """Every block as it ends; none is begun after `within` seconds."""
    began, waiting = time.monotonic(), iter(todo)
    # Scenarios hold functions that cannot be pickled: children inherit them.
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, fork, initializer=_adopt, initargs=(scenarios,)) as pool:
        running: set[Future[_Block]] = set()
        while True:
            if within is None or time.monotonic() - began < within:
                free = 2 * workers - len(running)
                running |= {pool.submit(_block, *each, salt) for each in islice(waiting, free)}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


_scenarios: Sequence[Scenario] = ()


def _adopt(scenarios: Sequence[Scenario]) -> None:
    global _scenarios
    _scenarios = scenarios


def _block(i: int, first: int, size: int, salt: str) -> _Block:
    began = time.perf_counter()
    raised = dict(draws(_scenarios[i], first, size, salt))
    return i, first, size, raised, time.perf_counter() - began


def _append(
    record: Path, code: str, salt: str, name: str, first: int, n: int, raised: dict[str, int], seconds: float
) -> None:
    line = {"code": code, "salt": salt, "scenario": name, "first": first, "n": n, "raised": raised}
    # A line break first: what a kill cut short spoils no other line.
    with record.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({**line, "seconds": round(seconds, 3)}, ensure_ascii=False))


def _recall(
    record: Path, code: str, salt: str, n: int, scenarios: Sequence[Scenario], drawn: Sequence[_Drawn]
) -> None:
    """Take over the blocks of this code, salt and size; the line that a kill cut short is drawn again."""
    at = {scenario.name: each for scenario, each in zip(scenarios, drawn, strict=True)}
    if not record.exists():
        return
    for text in record.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        each, first = at.get(line["scenario"]), line["first"]
        fits = line["code"] == code and line["salt"] == salt and line["n"] == min(BLOCK, n - first)
        if each is not None and fits and first not in each.blocks:
            each.add(first, line["raised"], line["seconds"])


def code_digest() -> str:
    """A digest of the package and of the scenarios: what a block was drawn with."""
    digest = hashlib.sha256()
    for root in (Path(tunescope.__file__).parent, Path(__file__).parent):
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
