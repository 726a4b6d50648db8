# ruff: noqa: E501 - a sentence or a line of generated code stays on one line
"""Physics: a question in words, answered by what is given, the law and the result with its unit."""

from collections.abc import Callable
from fractions import Fraction
from math import isqrt
from random import Random

Row = dict[str, str]


def number(value: float | Fraction) -> str:
    """Whole numbers in full, others to six significant digits, without an exponent."""
    return str(int(value)) if value == int(value) else f"{float(value):.6g}"


def row(
    question: str,
    given: dict[str, tuple[float | Fraction, str]],
    law: str,
    value: float | Fraction,
    unit: str,
) -> Row:
    listed = "; ".join(f"{symbol} = {number(amount)} {of}".rstrip() for symbol, (amount, of) in given.items())
    wanted = law.split(" = ")[0]
    return {
        "question": question,
        "solution": f"Given: {listed}\nLaw: {law}\nResult: {wanted} = {number(value)} {unit}".rstrip(),
    }


def momentum(rng: Random) -> Row:
    m, v = rng.randint(2, 90), rng.randint(2, 30)
    return row(
        f"A puck of {m} kg slides at {v} m/s. What is its momentum?",
        {"m": (m, "kg"), "v": (v, "m/s")},
        "p = m * v",
        m * v,
        "kg*m/s",
    )


def kinetic(rng: Random) -> Row:
    m, v = 2 * rng.randint(1, 40), rng.randint(2, 30)
    return row(
        f"How much kinetic energy has a body of {m} kg at {v} m/s?",
        {"m": (m, "kg"), "v": (v, "m/s")},
        "E = m * v^2 / 2",
        m * v * v // 2,
        "J",
    )


def merge(rng: Random) -> Row:
    m1, m2, u = rng.randint(1, 9), rng.randint(1, 9), rng.randint(1, 12)
    v1 = u * (m1 + m2)
    return row(
        f"A wagon of {m1} kg at {v1} m/s hits a resting one of {m2} kg and sticks. How fast do both move?",
        {"m1": (m1, "kg"), "m2": (m2, "kg"), "v": (v1, "m/s")},
        "u = m1 * v / (m1 + m2)",
        m1 * u,
        "m/s",
    )


def hooke(rng: Random) -> Row:
    k, x = 20 * rng.randint(1, 60), rng.randint(1, 40) / 100
    return row(
        f"A spring of {k} N/m is stretched by {number(x)} m. What force does it exert?",
        {"k": (k, "N/m"), "x": (x, "m")},
        "F = k * x",
        Fraction(k) * Fraction(round(x * 100), 100),
        "N",
    )


def spring_energy(rng: Random) -> Row:
    k, x = 200 * rng.randint(1, 30), rng.randint(1, 30) / 10
    return row(
        f"What energy does a spring of {k} N/m store when pressed by {number(x)} m?",
        {"k": (k, "N/m"), "x": (x, "m")},
        "E = k * x^2 / 2",
        Fraction(k, 2) * Fraction(round(x * 10), 10) ** 2,
        "J",
    )


def wave(rng: Random) -> Row:
    f, w = rng.randint(2, 900), rng.randint(1, 40) / 10
    return row(
        f"Waves of length {number(w)} m arrive at {f} Hz. How fast do they travel?",
        {"f": (f, "Hz"), "w": (w, "m")},
        "c = f * w",
        f * Fraction(round(w * 10), 10),
        "m/s",
    )


def lens(rng: Random) -> Row:
    f, k = rng.randint(2, 40), rng.randint(2, 9)
    a = f * k
    b = Fraction(a * f, a - f)
    return row(
        f"An object stands {a} cm before a lens of focal length {f} cm. Where is the image?",
        {"f": (f, "cm"), "a": (a, "cm")},
        "b = a * f / (a - f)",
        b,
        "cm",
    )


def gas(rng: Random) -> Row:
    p, v, w = 10 * rng.randint(2, 60), rng.randint(2, 40), rng.randint(2, 40)
    return row(
        f"Gas at {p} kPa fills {v} L. What is its pressure in {w} L at the same temperature?",
        {"p": (p, "kPa"), "V": (v, "L"), "W": (w, "L")},
        "q = p * V / W",
        Fraction(p * v, w),
        "kPa",
    )


def heat(rng: Random) -> Row:
    m, rise = rng.randint(1, 25), rng.randint(2, 80)
    c, what = rng.choice(
        [(4200, "water"), (900, "aluminium"), (450, "iron"), (390, "copper"), (2400, "alcohol")]
    )
    return row(
        f"How much heat warms {m} kg of {what} by {rise} K?",
        {"m": (m, "kg"), "c": (c, "J/(kg*K)"), "D": (rise, "K")},
        "Q = m * c * D",
        m * c * rise,
        "J",
    )


def parallel(rng: Random) -> Row:
    a, b = rng.randint(2, 90), rng.randint(2, 90)
    return row(
        f"Resistors of {a} ohm and {b} ohm are joined in parallel. What is the total?",
        {"R": (a, "ohm"), "S": (b, "ohm")},
        "T = R * S / (R + S)",
        Fraction(a * b, a + b),
        "ohm",
    )


def capacitor(rng: Random) -> Row:
    c, u = rng.randint(1, 50) / 10, rng.randint(2, 60)
    return row(
        f"Which charge sits on a supercapacitor of {number(c)} F at {u} V?",
        {"C": (c, "F"), "U": (u, "V")},
        "Q = C * U",
        Fraction(round(c * 10), 10) * u,
        "C",
    )


def electric_power(rng: Random) -> Row:
    r, i = rng.randint(2, 90), rng.randint(1, 15)
    return row(
        f"What power turns to heat in {r} ohm at {i} A?",
        {"R": (r, "ohm"), "I": (i, "A")},
        "P = R * I^2",
        r * i * i,
        "W",
    )


def fall(rng: Random) -> Row:
    t = rng.randint(1, 60) / 10
    return row(
        f"How deep is a well when a stone falls for {number(t)} s before the splash?",
        {"g": (Fraction(49, 5), "m/s^2"), "t": (t, "s")},
        "h = g * t^2 / 2",
        Fraction(49, 10) * Fraction(round(t * 10), 10) ** 2,
        "m",
    )


def lift(rng: Random) -> Row:
    m, h = rng.randint(2, 200), rng.randint(2, 50)
    return row(
        f"A crane lifts {m} kg by {h} m. What work does it do?",
        {"m": (m, "kg"), "g": (Fraction(49, 5), "m/s^2"), "h": (h, "m")},
        "W = m * g * h",
        Fraction(49, 5) * m * h,
        "J",
    )


def circle(rng: Random) -> Row:
    m, v, r = rng.randint(1, 40), rng.randint(2, 20), rng.randint(1, 25)
    return row(
        f"A mass of {m} kg runs at {v} m/s on a circle of radius {r} m. Which force holds it?",
        {"m": (m, "kg"), "v": (v, "m/s"), "r": (r, "m")},
        "F = m * v^2 / r",
        Fraction(m * v * v, r),
        "N",
    )


def lever(rng: Random) -> Row:
    f, a, b = rng.randint(2, 60), rng.randint(1, 12), rng.randint(1, 12)
    return row(
        f"On a lever, {f} N pull {a} m from the pivot. What force balances it at {b} m?",
        {"F": (f, "N"), "a": (a, "m"), "b": (b, "m")},
        "G = F * a / b",
        Fraction(f * a, b),
        "N",
    )


def efficiency(rng: Random) -> Row:
    useful, total = sorted(rng.sample(range(10, 900), 2))
    return row(
        f"An engine takes {total} J and gives {useful} J of work. What is its efficiency?",
        {"W": (useful, "J"), "E": (total, "J")},
        "n = W / E",
        Fraction(useful, total),
        "",
    )


def transformer(rng: Random) -> Row:
    turns, more, u = rng.randint(2, 20) * 10, rng.randint(2, 30) * 10, rng.randint(2, 230)
    return row(
        f"A transformer has {turns} turns at {u} V and {more} turns on the other side. Which voltage is there?",
        {"N": (turns, ""), "M": (more, ""), "U": (u, "V")},
        "V = U * M / N",
        Fraction(u * more, turns),
        "V",
    )


def drop_speed(rng: Random) -> Row:
    root = rng.randint(3, 40)
    g = Fraction(10)
    h = Fraction(root * root, 20)
    return row(
        f"With g = 10 m/s^2, how fast is a ball after falling {number(h)} m?",
        {"g": (g, "m/s^2"), "h": (h, "m")},
        "v = sqrt(2 * g * h)",
        isqrt(int(2 * g * h)),
        "m/s",
    )


def buoyancy(rng: Random) -> Row:
    d, v = rng.choice([1000, 1025, 900, 800, 790]), rng.randint(1, 90) / 100
    return row(
        f"A diver pushes aside {number(v)} m^3 of a liquid of {d} kg/m^3. How large is the buoyant force?",
        {"d": (d, "kg/m^3"), "V": (v, "m^3"), "g": (Fraction(49, 5), "m/s^2")},
        "F = d * V * g",
        d * Fraction(round(v * 100), 100) * Fraction(49, 5),
        "N",
    )


FAMILIES: tuple[Callable[[Random], Row], ...] = (
    momentum, kinetic, merge, hooke, spring_energy, wave, lens, gas, heat, parallel, capacitor, electric_power, fall, lift,
    circle, lever, efficiency, transformer, drop_speed, buoyancy,
)  # fmt: skip
