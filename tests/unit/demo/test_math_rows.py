"""The answers of the two mathematical domains, worked out again by other means than the generator's."""

import datetime
import itertools
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

Rows = dict[str, list[dict[str, str]]]


def integers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"-?\d+", text)]


def larger_root(text: str) -> Fraction:
    middle, factor, sign, last = re.search(r"x\^2 ([+-]) (\d*)x ([+-]) (\d+) = 0", text).groups()  # type: ignore[union-attr]
    roots = np.roots([1, int(f"{middle}{factor or 1}"), int(sign + last)])
    return Fraction(round(float(max(roots.real)), 6))


def system(text: str) -> Fraction:
    total, a, b, mixed = re.search(r"= (-?\d+)\$ and \$(\d+)x - (\d*)y = (-?\d+)", text).groups()  # type: ignore[union-attr]
    solved = np.linalg.solve([[1, 1], [int(a), -int(b or 1)]], [int(total), int(mixed)])
    return Fraction(round(float(solved[0]), 6))


def slope(text: str) -> Fraction:
    """A central difference, less what it overshoots for powers above the second."""
    a, n, at = integers(text)
    third_order = {2: 0, 3: 1, 4: 4 * at}[n]
    return Fraction(a * ((at + 1) ** n - (at - 1) ** n), 2) - a * third_order


def area(text: str) -> Fraction:
    """Simpson's rule, exact up to the third degree."""
    top, a, n = re.search(r"int_0\^(\d+) (\d*)x\^?(\d*)", text).groups()  # type: ignore[union-attr]
    f = [Fraction(a or 1) * Fraction(i * int(top), 2) ** int(n or 1) for i in range(3)]
    return Fraction(int(top), 6) * (f[0] + 4 * f[1] + f[2])


def urn(text: str) -> Fraction:
    red, blue = integers(text)
    pairs = list(itertools.combinations([True] * red + [False] * blue, 2))
    return Fraction(sum(a and b for a, b in pairs), len(pairs))


def logarithms(text: str) -> Fraction:
    first, a, second, b = integers(text)
    assert first == second
    return Fraction(round(math.log(a, first) + math.log(b, first), 9))


def chosen(text: str) -> int:
    k, n = integers(text)
    return math.factorial(n) // math.factorial(k) // math.factorial(n - k)


def ends(text: str) -> int:
    _, first, second, last = integers(text)
    return sum(range(first, last + 1, second - first))


SOLUTIONS: dict[str, Callable[[str], Any]] = {
    "larger root": larger_root,
    "Let $x + y": system,
    "derivative": slope,
    "\\int": area,
    "\\gcd": lambda text: max(d for d in range(1, 3000) if all(n % d == 0 for n in integers(text))),
    "\\bmod": lambda text: (n := integers(text))[0] ** n[1] % n[2],
    "In how many ways": chosen,
    "An urn": urn,
    "geometric": lambda text: (n := integers(text)) and sum(n[1] * n[2] ** i for i in range(n[0])),
    "hypotenuse": lambda text: Fraction(math.hypot(*integers(text))),
    "\\det": lambda text: Fraction(round(float(np.linalg.det(np.reshape(integers(text), (2, 2)))), 6)),
    "\\cdot": lambda text: int(np.dot(*np.reshape(integers(text), (2, 3)))),
    "interior angles": lambda text: 180 * integers(text)[0] - 360,
    "Add the": ends,
    "\\log": logarithms,
}


def boxed(solution: str) -> Fraction:
    text = solution.split("\\boxed{", 1)[1].removesuffix("}$")
    if found := re.fullmatch(r"(-?)\\frac\{(\d+)\}\{(\d+)\}", text):
        return Fraction(int(found[1] + found[2]), int(found[3]))
    return Fraction(int(text))


def test_every_boxed_answer_is_right(rows: Rows) -> None:
    used = set()
    for row in rows["math_solutions"]:
        key = next(key for key in SOLUTIONS if key in row["question"])
        used.add(key)
        assert SOLUTIONS[key](row["question"]) == boxed(row["solution"]), row
    assert used == set(SOLUTIONS)


def weekday(text: str) -> str:
    day, span = re.search(r"is (\w+)\. .* (\d+) days", text).groups()  # type: ignore[union-attr]
    start = next(d for i in range(7) if f"{(d := datetime.date(2024, 1, 1 + i)):%A}" == day)
    return f"{start + datetime.timedelta(int(span)):%A}"


def snail(text: str) -> str:
    up, down, wall = integers(text)
    height, day = 0, 0
    while True:
        day, height = day + 1, height + up
        if height >= wall:
            return f"day {day}"
        height -= down


def liars(text: str) -> str:
    first, second = re.search(r"lie\. (\w+) says.*?(\w+) (?:and|or) I", text).groups()  # type: ignore[union-attr]
    claims = {"both": lambda a, b: not a and not b, "least": lambda a, b: not a or not b}
    claim = claims["both" if "both knaves" in text else "least"]
    ((a, b),) = [(a, b) for a in (True, False) for b in (True, False) if a == claim(a, b)]
    kinds = {True: "knight", False: "knave"}
    return f"{first} is a {kinds[a]}, {second} a {kinds[b]}"


def clock(text: str) -> str:
    hour, minute = integers(text.replace(":0", ":"))
    turned = abs((hour % 12 + minute / 60) / 12 - minute / 60) * 360
    return f"{round(min(turned, 360 - turned))} degrees"


def goats(text: str) -> int:
    heads, legs = integers(text)
    return next(g for g in range(heads + 1) if 4 * g + 2 * (heads - g) == legs)


def larger(text: str) -> str:
    a, m, b, n = integers(text)
    return f"{a}^{m}" if a**m > b**n else f"{b}^{n}"


def singers(text: str) -> int:
    total, sing, dance, neither = integers(text)
    return next(both for both in range(total) if sing + dance - both + neither == total)


def flashes(text: str) -> str:
    a, b = integers(text)
    return f"after {next(t for t in range(1, a * b + 1) if t % a == t % b == 0)} seconds"


REASONING: dict[str, Callable[[str], Any]] = {
    "Which day": weekday,
    "shake hands": lambda text: len(list(itertools.combinations(range(integers(text)[0]), 2))),
    "drops the loser": lambda text: integers(text)[0] - 1,
    "Socks": lambda text: (n := integers(text))[0] * n[1] - n[0] + 1,
    "last digit": lambda text: int(str((n := integers(text))[0] ** n[1])[-1]),
    "Can ": lambda _: "no",
    "Must ": lambda _: "no, it is only possible",
    "lamps": flashes,
    "pupils": singers,
    "odd or even": lambda text: ("even", "odd")[sum([1] * integers(text)[0] + [2] * integers(text)[1]) % 2],
    "log takes": lambda text: f"{sum([integers(text)[0]] * (integers(text)[1] - 1))} minutes",
    "knaves": liars,
    "snail": snail,
    "larger": larger,
    "hands of a clock": clock,
    "Hens": goats,
}


def test_every_conclusion_is_right(rows: Rows) -> None:
    used = set()
    for row in rows["math_reasoning"]:
        key = next(key for key in REASONING if key in row["prompt"])
        used.add(key)
        assert (
            str(REASONING[key](row["prompt"])) == row["completion"].rstrip("\n").split("Conclusion: ")[1]
        ), row
    assert used == set(REASONING)


def balanced(side: str) -> bool:
    """Whether this is a whole expression, not the tail of one that begins with a letter."""
    return side.count("(") == side.count(")") and not side.startswith("- ")


def equations(text: str) -> list[tuple[str, str]]:
    """Both sides of every equation between numbers; words around it are left out."""
    text = text.replace("\\cdot", "*").replace("$", ",")
    text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", text)
    found, number = [], r"[-\d(][-\d+*/()^ ]*"
    for sentence in re.split(r"[,.;:\n]", text):
        for before, after in itertools.pairwise(sentence.split(" = ")):
            left, right = (
                re.search(r"(?<![\w^])" + number + "$", before),
                re.match(number + r"(?![\dxa-z{])", after),
            )
            if left and right and balanced(left[0]) and balanced(right[0]):
                found.append((left[0], right[0]))
    return found


@pytest.mark.parametrize(
    ("domain", "field"), [("math_reasoning", "completion"), ("math_solutions", "solution")]
)
def test_every_equation_in_the_working_holds(rows: Rows, domain: str, field: str) -> None:
    checked = 0
    for row in rows[domain]:
        for sides in equations(row[field]):
            left, right = (Fraction(eval(side.replace("^", "**"))).limit_denominator(10**6) for side in sides)
            assert left == right, (row, sides)
            checked += 1
    assert checked > 100
