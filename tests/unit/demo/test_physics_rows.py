"""Every physics row follows from its given values by its law: in number and in dimension."""

import math
import re
from dataclasses import dataclass
from typing import Any

import pytest

Rows = dict[str, list[dict[str, str]]]


@dataclass(frozen=True)
class Quantity:
    """A value in SI units with the exponents of kilogram, metre, second, ampere and kelvin."""

    value: float
    powers: tuple[float, ...] = (0, 0, 0, 0, 0)

    def __mul__(self, other: Any) -> "Quantity":
        other = lifted(other)
        return Quantity(
            self.value * other.value, tuple(a + b for a, b in zip(self.powers, other.powers, strict=True))
        )

    __rmul__ = __mul__

    def __pow__(self, power: float) -> "Quantity":
        return Quantity(self.value**power, tuple(a * power for a in self.powers))

    def __truediv__(self, other: Any) -> "Quantity":
        return self * lifted(other) ** -1

    def __add__(self, other: "Quantity") -> "Quantity":
        assert self.powers == other.powers, "only like quantities are added"
        return Quantity(self.value + other.value, self.powers)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return self + other * -1


def lifted(value: Any) -> Quantity:
    return value if isinstance(value, Quantity) else Quantity(value)


KG, M, S, A, K = (Quantity(1, tuple(float(i == j) for j in range(5))) for i in range(5))
N = KG * M / S**2
J = N * M
W = J / S
C = A * S
V = W / A
UNITS = {
    "kg": KG, "m": M, "s": S, "A": A, "K": K, "N": N, "J": J, "W": W, "C": C, "V": V, "ohm": V / A,
    "F": C / V, "Hz": S**-1, "cm": M * 0.01, "L": M**3 * 0.001, "kPa": N / M**2 * 1000,
}  # fmt: skip


def evaluated(expression: str, names: dict[str, Any]) -> Quantity:
    allowed = {"__builtins__": {}, "sqrt": lambda q: q**0.5}
    return lifted(eval(expression.replace("^", "**") or "1", allowed, names))


def parsed(row: dict[str, str]) -> tuple[dict[str, Quantity], str, str, Quantity]:
    given, law, result = (line.split(": ", 1)[1] for line in row["solution"].splitlines())
    values = {}
    for part in given.split("; "):
        symbol, amount, unit = re.fullmatch(r"(\w+) = ([\d.]+) ?(.*)", part).groups()  # type: ignore[union-attr]
        values[symbol] = evaluated(unit, UNITS) * float(amount)
    wanted, formula = law.split(" = ")
    symbol, amount, unit = re.fullmatch(r"(\w+) = ([\d.]+) ?(.*)", result).groups()  # type: ignore[union-attr]
    assert symbol == wanted
    assert wanted not in values
    return values, formula, amount, evaluated(unit, UNITS)


def test_results_follow_in_number_and_dimension(rows: Rows) -> None:
    for row in rows["physics"]:
        values, formula, amount, unit = parsed(row)
        found = evaluated(formula, values)
        assert found.powers == unit.powers, row
        assert float(amount) == pytest.approx(found.value / unit.value, rel=1e-5), row


def test_every_given_number_stands_in_the_question_or_is_a_constant(rows: Rows) -> None:
    constants = {"9.8", "4200", "900", "450", "390", "2400"}
    for row in rows["physics"]:
        given = re.findall(r"= ([\d.]+)", row["solution"].splitlines()[0])
        told = set(re.findall(r"\d+(?:\.\d+)?", row["question"]))
        assert set(given) - told <= constants, row


def test_laws_agree_with_textbook_cases() -> None:
    """The checker itself: a kilogram at 3 m/s has 4.5 J, and a force is not an energy."""
    energy = evaluated("m * v^2 / 2", {"m": KG, "v": M / S * 3})
    assert (energy.value, energy.powers) == (4.5, J.powers)
    assert N.powers != J.powers
    assert evaluated("sqrt(2 * g * h)", {"g": M / S**2 * 10, "h": M * 5}).value == pytest.approx(
        math.sqrt(100)
    )
    with pytest.raises(AssertionError, match="like quantities"):
        evaluated("a + b", {"a": M, "b": S})
