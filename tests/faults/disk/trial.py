"""A command with one fault at one point of its writing, in a process of its own; then what is left."""

import contextlib
import importlib
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import tunescope.demo.family
from tunescope.hashes import sha256_of

from .branches import Branch, Branching, digest_of
from .commands import COMMANDS, make_inputs
from .pictures import drawn_in, write_as_drawn
from .processes import forked, read, run
from .shim import Shim

# Exit codes by which an interrupted command may end; zero where the fault came when all was done.
_ENDS = {"ENOSPC": {5}, "EIO": {5}, "EINTR": {0, 5}, "SIGINT": {130}, "SIGTERM": {143}, "SIGKILL": {-9}}


@dataclass(frozen=True)
class Lost:
    """A fault after which something was not as it should be."""

    command: str
    fault: str
    point: int
    over: bool
    what: str

    def __str__(self) -> str:
        over = " over an earlier study" if self.over else ""
        return f"{self.command}{over}, {self.fault} at point {self.point}: {self.what}"


class Bench:
    """One command with its inputs in a folder."""

    def __init__(self, command: str, folder: Path) -> None:
        self.command, self._tried = command, COMMANDS[command]
        self._inputs, self.place = folder / "inputs", folder / "outputs"
        self._inputs.mkdir(parents=True)
        self._earlier = folder / "earlier"
        # What a sweep without a fault ends with, by file.
        self._straight: dict[str, str] = {}
        # What is wrong with what faults left; the same bytes are judged alike again.
        self._judged: dict[tuple[bool, str], str | None] = {}
        # The pictures of the run without a fault, which those with one write without drawing them again.
        self._pictures: dict[str, bytes] = {}
        forked(lambda: make_inputs(self._inputs))
        code = forked(lambda: run(["norms", self._inputs / "b", "-o", self._earlier, "--figures", "none"]))
        assert code == 0, f"the earlier study cannot be made: exit {code}"
        (self._earlier / "notes.txt").write_text("kept")

    @property
    def over(self) -> tuple[bool, ...]:
        """Whether to try it over no study, over an earlier one, or both."""
        return self._tried.over

    def points(self, over: bool) -> int:
        """At how many points the command writes, renames or brings to the disk.

        What the command has imported by its end is imported here then, so that no trial has to.
        """
        self._pictures = {}
        count = self._counted(over)
        if self._out.is_dir() and (drawn := drawn_in(self._out)):
            self._pictures = drawn
            again = self._counted(over)
            assert again == count, f"pictures that are not drawn again make {again} points of {count}"
        if self._tried.makes == "sweep":
            self._straight = self._trained()
            assert self._straight, "a sweep without a fault leaves no runs"
        return count

    def _counted(self, over: bool) -> int:
        self.begin(over)
        record = self._inputs.parent / "counted.json"

        def counted() -> int:
            shim = Shim("EIO", 0)
            code = self._run(shim, over)
            record.write_text(json.dumps([code, shim.count, list(sys.modules)]))
            return code

        forked(counted)
        code, count, modules = json.loads(record.read_text())
        assert code == 0, f"{self.command} without a fault ends with {code}"
        for name in modules:
            # Some come about while another is imported, and cannot be by their own names.
            with contextlib.suppress(ImportError, AttributeError):
                importlib.import_module(name)
        return int(count)

    def struck(self, chosen: Sequence[tuple[str, int]], over: bool) -> Iterator[Lost]:
        """What is lost after each of these faults at these points, from one run of the command."""
        for branch in self._branches(chosen, over):
            if branch.code is None:
                found = self.lost(branch.fault, branch.point, over)
            else:
                found = self.judge(branch, over, self._lefts / branch.left)
            if found is not None:
                yield found

    def lost(self, fault: str, point: int, over: bool) -> Lost | None:
        """As `struck` of one fault, in a run of its own."""
        self.begin(over)
        code = forked(lambda: self._run(Shim(fault, point), over))
        return self.judge(Branch(fault, point, code, digest_of(self.place)), over)

    def _branches(self, chosen: Sequence[tuple[str, int]], over: bool) -> list[Branch]:
        self.begin(over)
        shutil.rmtree(self._lefts, ignore_errors=True)
        self._lefts.mkdir()
        wanted: dict[int, list[str]] = {}
        for fault, point in chosen:
            wanted.setdefault(point, []).append(fault)
        record = self._lefts / "branches.json"

        def trunk() -> int:
            shim = Branching(wanted, self.place, self._lefts)
            code = self._run(shim, over)
            if not shim.is_branch:
                record.write_text(json.dumps([asdict(branch) for branch in shim.met]))
            return code

        code = forked(trunk)
        assert code == 0, f"{self.command} whose branches were struck ends with {code}"
        branches = [Branch(**met) for met in json.loads(record.read_text())]
        assert len(branches) == len(chosen), f"{len(branches)} of {len(chosen)} points were reached"
        return branches

    def run_drawn(self, over: bool) -> int:
        """Run the command here and now, without a fault, and draw its pictures; its exit code."""
        self._pictures = {}
        return self._run(Shim("EIO", 0), over)

    def judge(self, branch: Branch, over: bool, left: Path | None = None) -> Lost | None:
        """None where the fault is answered, the output whole or absent, and the same command completes it.

        What the fault left is in the place, or in the folder `left`.
        """
        lost = partial(Lost, self.command, branch.fault, branch.point, over)
        if branch.code not in _ENDS[branch.fault] | {0}:
            return lost(f"exit {branch.code}")
        known = over, branch.left
        if known not in self._judged:
            if left is not None:
                shutil.rmtree(self.place)
                left.rename(self.place)
            self._judged[known] = self._wrong(over)
        said = self._judged[known]
        return None if said is None else lost(said)

    def begin(self, over: bool) -> None:
        """A fresh place, or one with an earlier study of another source."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        if over:
            shutil.copytree(self._earlier, self._out)

    def _run(self, shim: Shim, over: bool) -> int:
        shim.install()
        if self._pictures:
            write_as_drawn(self._pictures)
        if self._tried.makes == "demo":
            tunescope.demo.family.LAYERS = 2
        again = ["--overwrite"] if over and not self._tried.in_place else []
        return run([*self._tried.arguments(self._inputs, self._out), *again])

    @property
    def _out(self) -> Path:
        return self.place / "study"

    @property
    def _lefts(self) -> Path:
        return self._inputs.parent / "lefts"

    def _wrong(self, over: bool) -> str | None:
        """What is wrong after the fault: the output, or what the same command makes of it."""
        if self._tried.makes == "sweep":
            return self._wrong_sweep()
        if self._tried.makes == "page":
            return self._wrong_page()
        if self._tried.makes == "demo":
            return self._wrong_demo()
        there = (self._out / "study.json").is_file()
        whole = not there or forked(lambda: read(self._out)) == 0
        if not whole or (not there and self._out.exists() and any(self._out.iterdir())):
            return f"the output is torn: {sorted(p.name for p in self._out.iterdir())}"
        if over and not there:
            return "the earlier study is gone"
        if over and (self._out / "notes.txt").read_text() != "kept":
            return "a file of somebody else is gone"
        again = forked(lambda: self._run(Shim("EIO", 0), over=there))
        if again != 0 or forked(lambda: read(self._out)) != 0:
            return f"the same command does not complete it: exit {again}"
        left = [p.name for p in self.place.iterdir() if p.name != "study"]
        return f"left behind: {left}" if left else None

    def _wrong_page(self) -> str | None:
        """What is wrong after the fault: half a page, or one that the same command does not write."""
        whole = not self._out.exists() or self._out.read_text().rstrip().endswith("</html>")
        if not whole:
            return "the page is torn"
        again = [] if not self._out.exists() else ["--overwrite"]
        code = forked(lambda: run([*self._tried.arguments(self._inputs, self._out), *again]))
        left = [p.name for p in self.place.iterdir() if p.name != "study"]
        if code != 0 or left:
            return f"the same command ends with {code} and leaves {left}"
        return None

    def _wrong_demo(self) -> str | None:
        """What is wrong after the fault: a torn study or page, or one that cannot be made again."""
        if torn := [study.name for study in self._studies() if forked(partial(read, study)) != 0]:
            return f"studies are torn: {torn}"
        page = self._out / "report.html"
        if page.exists() and not page.read_text().rstrip().endswith("</html>"):
            return "the page is torn"
        again = ["--overwrite"] if self._is_whole_demo() else []
        code = forked(lambda: run([*self._tried.arguments(self._inputs, self._out), *again]))
        whole = len(self._studies()) == 2 and page.exists() and (self._out / "merged").exists()
        left = [p.name for p in self.place.rglob("*") if p.suffix in (".part", ".lock")]
        if code != 0 or not whole or left:
            return f"the same command ends with {code}, whole: {whole}, and leaves {left}"
        return None

    def _is_whole_demo(self) -> bool:
        record = self._out / "demo.json"
        return record.exists() and bool(json.loads(record.read_text())["complete"])

    def _studies(self) -> list[Path]:
        return [path.parent for path in sorted(self._out.glob("*/study.json"))]

    def _wrong_sweep(self) -> str | None:
        """What is wrong after the same command was given again: it ends as one that met no fault."""
        again = forked(lambda: self._run(Shim("EIO", 0), over=False))
        if again != 0:
            return f"the same command does not complete it: exit {again}"
        now = self._trained()
        if other := [name for name in self._straight if now.get(name) != self._straight[name]]:
            return f"other bytes than without a fault: {other}"
        left = [p.name for p in self.place.rglob("*") if p.suffix in (".part", ".lock")]
        return f"left behind: {left}" if left else None

    def _trained(self) -> dict[str, str]:
        """The digests of a sweep's weights, captures and markers."""
        names = ("adapter_model.safetensors", "capture.parquet", "transfer.csv")
        runs = [p for p in self._out.rglob("*") if p.name in names and "checkpoint-" not in str(p)]
        marked = [p for p in self._out.rglob("complete") if (p.parent / "run.json").is_file()]
        return {
            **{str(p.relative_to(self._out)): sha256_of(p) for p in runs},
            **{str(p.relative_to(self._out)): "marked" for p in marked},
        }
