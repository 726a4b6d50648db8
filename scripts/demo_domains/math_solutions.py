# ruff: noqa: E501 - a sentence or a line of generated code stays on one line
r"""School mathematics in LaTeX: a question, the working, the result in ``\boxed{}``."""

from fractions import Fraction
from math import comb, gcd
from random import Random

Row = dict[str, str]
LONGEST_DIVISION = 3


def row(question: str, working: str, result: object) -> Row:
    return {"question": question, "solution": f"{working} $\\boxed{{{result}}}$"}


def frac(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    return f"{'-' if value < 0 else ''}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def term(factor: int, power: str) -> str:
    """A signed term that follows another one."""
    return f"{'-' if factor < 0 else '+'} {abs(factor) if abs(factor) != 1 or not power else ''}{power}"


def quadratic(rng: Random) -> Row:
    p, q = sorted(rng.sample([n for n in range(-14, 15) if n], 2))
    if p + q == 0:
        q += 1
    middle = term(-(p + q), "x")
    return row(
        f"Find the larger root of $x^2 {middle} {term(p * q, '')} = 0$.",
        f"Factor: $(x {term(-p, '')})(x {term(-q, '')}) = 0$. The roots are ${p}$ and ${q}$.",
        max(p, q),
    )


def linear_system(rng: Random) -> Row:
    x, y, a, b = rng.randint(-9, 20), rng.randint(-9, 20), rng.randint(2, 9), rng.randint(1, 9)
    total, mixed = x + y, a * x - b * y
    return row(
        f"Let $x + y = {total}$ and ${a}x - {b if b > 1 else ''}y = {mixed}$. Find $x$.",
        f"Put $y = {total} - x$: ${a + b}x = {mixed + b * total}$.",
        x,
    )


def derivative(rng: Random) -> Row:
    a, n, at = rng.randint(2, 12), rng.randint(2, 4), rng.randint(-4, 6)
    slope = f"{a * n}x^{n - 1}" if n > 2 else f"{a * n}x"
    return row(
        f"Evaluate the derivative of ${a}x^{n}$ at $x = {at}$.",
        f"$\\frac{{d}}{{dx}} {a}x^{n} = {slope}$.",
        a * n * at ** (n - 1),
    )


def integral(rng: Random) -> Row:
    a, n, top = rng.randint(1, 12), rng.randint(1, 3), rng.randint(1, 6)
    shown = f"{a if a > 1 else ''}x{f'^{n}' if n > 1 else ''}"
    area, whole = Fraction(a * top ** (n + 1), n + 1), "" if a == n + 1 else frac(Fraction(a, n + 1))
    return row(
        f"Compute $\\int_0^{top} {shown} \\, dx$.",
        f"The antiderivative is ${whole}x^{n + 1}$, taken from $0$ to ${top}$.",
        frac(area),
    )


def common_divisor(rng: Random) -> Row:
    unit = rng.randint(2, 40)
    b = unit * rng.randint(2, 30)
    a = b + unit * rng.randint(1, 40)
    steps, left, right = [], a, b
    while right:
        steps.append(f"{left} = {left // right} \\cdot {right} + {left % right}")
        left, right = right, left % right
    if len(steps) > LONGEST_DIVISION:
        return common_divisor(rng)
    return row(f"Determine $\\gcd({a}, {b})$.", f"By Euclid: ${', '.join(steps)}$.", gcd(a, b))


def modular_power(rng: Random) -> Row:
    base, power, modulus = rng.randint(2, 20), rng.randint(3, 6), rng.randint(5, 30)
    steps, value = [], base % modulus
    for exponent in range(2, power + 1):
        value = value * base % modulus
        steps.append(f"{base}^{exponent} \\equiv {value}")
    return row(f"Find ${base}^{power} \\bmod {modulus}$.", f"Modulo {modulus}: ${', '.join(steps)}$.", value)


def combinations(rng: Random) -> Row:
    n, k = rng.randint(5, 16), rng.randint(2, 4)
    who = rng.choice(["players", "colours", "books", "delegates", "flavours"])
    top = " \\cdot ".join(str(n - i) for i in range(k))
    bottom = " \\cdot ".join(str(k - i) for i in range(k))
    return row(
        f"In how many ways can ${k}$ of ${n}$ {who} be chosen?",
        f"$\\binom{{{n}}}{{{k}}} = \\frac{{{top}}}{{{bottom}}}$.",
        comb(n, k),
    )


def probability(rng: Random) -> Row:
    red, blue = rng.randint(2, 15), rng.randint(2, 15)
    total = red + blue
    chance = Fraction(red * (red - 1), total * (total - 1))
    return row(
        f"An urn holds ${red}$ red and ${blue}$ blue balls. Two are drawn. What is the chance that both are red?",
        f"$\\frac{{{red}}}{{{total}}} \\cdot \\frac{{{red - 1}}}{{{total - 1}}}$, reduced.",
        frac(chance),
    )


def geometric_sum(rng: Random) -> Row:
    a, r, n = rng.randint(1, 20), rng.randint(2, 4), rng.randint(3, 6)
    total = a * (r**n - 1) // (r - 1)
    return row(
        f"Sum the first ${n}$ terms of the geometric series with $a = {a}$ and $r = {r}$.",
        f"$S = {a} \\cdot \\frac{{{r}^{n} - 1}}{{{r} - 1}} = {a} \\cdot {(r**n - 1) // (r - 1)}$.",
        total,
    )


def hypotenuse(rng: Random) -> Row:
    m, n, k = rng.randint(3, 7), rng.randint(1, 2), rng.randint(1, 8)
    a, b, c = k * (m * m - n * n), k * 2 * m * n, k * (m * m + n * n)
    return row(
        f"The legs of a right triangle are ${a}$ and ${b}$. How long is the hypotenuse?",
        f"$c^2 = {a * a} + {b * b} = {c * c}$.",
        c,
    )


def determinant(rng: Random) -> Row:
    a, b, c, d = (rng.randint(-9, 12) for _ in range(4))
    return row(
        f"Compute $\\det \\begin{{pmatrix}} {a} & {b} \\\\ {c} & {d} \\end{{pmatrix}}$.",
        f"$ad - bc = {a * d} - ({b * c})$.",
        a * d - b * c,
    )


def dot_product(rng: Random) -> Row:
    u, v = [rng.randint(-9, 9) for _ in range(3)], [rng.randint(-9, 9) for _ in range(3)]
    parts = [a * b for a, b in zip(u, v, strict=True)]
    shown = " + ".join(f"({p})" if p < 0 else str(p) for p in parts)
    return row(
        f"Find $u \\cdot v$ for $u = ({u[0]}, {u[1]}, {u[2]})$ and $v = ({v[0]}, {v[1]}, {v[2]})$.",
        f"$u \\cdot v = {shown}$.",
        sum(parts),
    )


def polygon(rng: Random) -> Row:
    n = rng.randint(5, 60)
    return row(
        f"What is the sum of the interior angles of a convex polygon with ${n}$ sides, in degrees?",
        f"$({n} - 2) \\cdot 180$.",
        180 * (n - 2),
    )


def arithmetic_series(rng: Random) -> Row:
    first, step, n = rng.randint(1, 30), rng.randint(2, 12), 2 * rng.randint(3, 20)
    last = first + (n - 1) * step
    return row(
        f"Add the ${n}$ terms ${first}, {first + step}, \\dots, {last}$.",
        f"Pair the ends: $\\frac{{{n}}}{{2}} \\cdot ({first} + {last}) = {n // 2} \\cdot {first + last}$.",
        n // 2 * (first + last),
    )


def logarithm(rng: Random) -> Row:
    base, power = rng.choice([(2, 12), (3, 7), (5, 5), (7, 4), (10, 6)])
    a, b = rng.randint(1, power), rng.randint(1, power)
    return row(
        f"Evaluate $\\log_{{{base}}} {base**a} + \\log_{{{base}}} {base**b}$.",
        f"${base}^{a} = {base**a}$ and ${base}^{b} = {base**b}$.",
        a + b,
    )


FAMILIES = (
    quadratic, linear_system, derivative, integral, common_divisor, modular_power, combinations, probability, geometric_sum,
    hypotenuse, determinant, dot_product, polygon, arithmetic_series, logarithm,
)  # fmt: skip
