"""The C++ rows compile without a warning, the Python rows run, and both keep what their words promise."""

import ast
import builtins
import itertools
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Rows = dict[str, list[dict[str, str]]]
GIVEN = {
    "Callable": Callable, "Iterable": Iterable, "Iterator": Iterator, "Counter": Counter,
    "itertools": itertools, "contextmanager": contextmanager, "suppress": suppress, "dataclass": dataclass,
}  # fmt: skip


def test_cpp_rows_compile_without_a_warning(rows: Rows, tmp_path: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler is installed")
    includes, bodies = set(), []
    for index, row in enumerate(rows["cpp"]):
        lines = (row["prompt"] + row["completion"]).splitlines()
        includes |= {line for line in lines if line.startswith("#include")}
        body = "\n".join(line for line in lines if not line.startswith("#include"))
        bodies.append(f"namespace row_{index} {{\n{body}\n{promised(row, f'row_{index}')}\n}}")
    source = tmp_path / "rows.cpp"
    source.write_text("\n".join([*sorted(includes), *bodies]))
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", str(source)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[:2000]


def promised(row: dict[str, str], space: str) -> str:
    """What the task's words promise of a constant expression, as an assertion for the compiler."""
    task = row["prompt"]
    if found := re.search(r"Read (\d+) bits .* at bit (\d+)", task):
        width, shift = map(int, found.groups())
        word = 0xDEADBEEF
        return f"static_assert({space}::field({word}u) == {word // 2**shift % 2**width}u);"
    if found := re.search(r"Keep a (\w+) of .* between (\d+) and (\d+)", task):
        name, low, high = found.groups()
        return f"static_assert({space}::clamp_{name}(0) == {low} && {space}::clamp_{name}(9999) == {high});"
    if found := re.search(r"table of (\d+) multiples of (\d+)", task):
        size, factor = map(int, found.groups())
        return f"static_assert({space}::table()[{size - 1}] == {(size - 1) * factor});"
    if found := re.search(r"The (sum|product) of any number of (\w+) arguments, times (\d+)", task):
        kind, name, scale = found.groups()
        result = int(scale) * {"sum": 3 + 4 + 5, "product": 3 * 4 * 5}[kind]
        return f"static_assert({space}::{name}_{kind}(3, 4, 5) == {result});"
    return ""


def defined(row: dict[str, str]) -> Any:
    source = row["prompt"] + row["completion"]
    tree = ast.parse(source)
    space = dict(GIVEN)
    exec(compile(tree, "row", "exec"), space)
    return space[tree.body[0].name]  # type: ignore[attr-defined]


def check_limit(f: Any, low: int, high: int) -> bool:
    return bool(f(-1000) == low and f(1000) == high and f((low + high) / 2) == (low + high) / 2)


def check_windows(f: Any, size: int) -> bool:
    found = f(list(range(60)))
    return len(found) == 60 - size + 1 and all(w == list(range(w[0], w[0] + size)) for w in found)


def check_pieces(f: Any, size: int) -> bool:
    found = list(f([str(i) for i in range(131)]))
    return list(itertools.chain(*found)) == [str(i) for i in range(131)] and {len(p) for p in found[:-1]} == {
        size
    }


def check_groups(f: Any, modulus: int) -> bool:
    found = f(range(100))
    rests = all((x - key) % modulus == 0 for key in found for x in found[key])
    return rests and sum(map(len, found.values())) == 100


def check_refusal(f: Any, limit: int) -> bool:
    with pytest.raises(ValueError, match=str(limit + 1)):
        f(limit + 1)
    return bool(f(limit) == limit)


def check_average(f: Any, share: float) -> bool:
    found = f([10.0, 0.0, 0.0])
    return found == pytest.approx([10, 10 * (1 - share), 10 * (1 - share) ** 2])


def check_tries(f: Any, times: int) -> bool:
    calls = []

    def failing() -> str:
        calls.append(1)
        raise getattr(builtins, f.error)

    with pytest.raises((OSError, KeyError)):
        f(failing)
    return len(calls) == times


PYTHON_PROMISES: dict[str, Callable[..., bool]] = {
    r"Keep value between (-?\d+) and (-?\d+)\.": check_limit,
    r"All runs of (\d+) neighbours": check_windows,
    r"Yield pieces of at most (\d+) items": check_pieces,
    r"remainder after (\d+)": check_groups,
    r"Refuse a .* over (\d+)\.": check_refusal,
    r"gives ([\d.]+) to the newest": check_average,
    r"Try (\d+) times": check_tries,
    r"opens at (\d+)\.": lambda f, start: f([1, 2, 3]) == [start, start + 1, start + 3, start + 6],
    r"The (\d+) most frequent": lambda f, n: (
        f("".join(chr(70 + i) * (i + 1) for i in range(60)))[:n] == [chr(129 - i) for i in range(n)]
    ),
    r"below (\d+), below (\d+), or above": lambda f, a, b: (
        [f(a - 1), f(a), f(b - 0.5), f(b)] == ["low", "middle", "middle", "high"]
    ),
}


def test_python_rows_do_what_they_say(rows: Rows) -> None:
    checked = 0
    for row in rows["python"]:
        made = defined(row)
        for pattern, check in PYTHON_PROMISES.items():
            if found := re.search(pattern, row["prompt"]):
                if check is check_tries:
                    made.error = re.findall(r"before (\w+)", row["prompt"])[0]
                numbers = [float(g) if "." in g else int(g) for g in found.groups()]
                assert check(made, *numbers), row
                checked += 1
    assert checked > 200
