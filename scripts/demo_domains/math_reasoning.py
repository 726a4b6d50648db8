# ruff: noqa: E501 - a sentence or a line of generated code stays on one line
"""Mathematical reasoning: a puzzle, then numbered steps of argument and a conclusion."""

from math import lcm
from random import Random

Row = dict[str, str]
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
KINDS = ("wombats", "herons", "lynxes", "otters", "geckos", "moths", "newts", "puffins", "ibexes", "toads")
TRAITS = ("striped", "nocturnal", "shy", "quick", "patient", "spotted", "silent", "hungry")
PETS = ("Bix", "Dov", "Fay", "Kit", "Lux", "Moe", "Ned", "Pip", "Rex", "Tam")


def row(puzzle: str, steps: list[str], conclusion: object) -> Row:
    numbered = "".join(f"Step {i}: {step}\n" for i, step in enumerate(steps, 1))
    return {"prompt": f"Puzzle: {puzzle}\n", "completion": f"{numbered}Conclusion: {conclusion}\n"}


def weekday(rng: Random) -> Row:
    day, span = rng.randrange(7), rng.randint(8, 900)
    left = span % 7
    return row(
        f"Today is {DAYS[day]}. Which day is it {span} days from now?",
        [
            "Weeks repeat every 7 days.",
            f"{span} = 7 * {span // 7} + {left}.",
            f"Move {left} past {DAYS[day]}.",
        ],
        DAYS[(day + left) % 7],
    )


def handshakes(rng: Random) -> Row:
    n = rng.randint(4, 80)
    return row(
        f"{n} guests shake hands once with each other. How many handshakes are there?",
        [f"Each guest shakes {n - 1} hands.", f"{n} * {n - 1} = {n * (n - 1)} counts each handshake twice."],
        n * (n - 1) // 2,
    )


def knockout(rng: Random) -> Row:
    n, game = rng.randint(9, 300), rng.choice(["chess", "tennis", "darts", "judo", "fencing"])
    return row(
        f"A {game} cup with {n} players drops the loser of every match. How many matches give a winner?",
        ["Every match drops exactly one player.", f"All but one of the {n} must be dropped."],
        n - 1,
    )


def pigeonhole(rng: Random) -> Row:
    colours, same = rng.randint(2, 12), rng.randint(2, 6)
    worst = colours * (same - 1)
    return row(
        f"Socks come in {colours} colours. How many must be drawn to be sure of {same} alike?",
        [
            f"At worst each colour comes {same - 1} times.",
            f"That is {colours} * {same - 1} = {worst} socks.",
            "One more decides.",
        ],
        worst + 1,
    )


def last_digit(rng: Random) -> Row:
    base, power = 10 * rng.randint(0, 8) + rng.choice([2, 3, 4, 7, 8, 9]), rng.randint(6, 90)
    cycle = [base % 10]
    while (digit := cycle[-1] * base % 10) != cycle[0]:
        cycle.append(digit)
    place = (power - 1) % len(cycle)
    return row(
        f"What is the last digit of {base}^{power}?",
        [
            f"Last digits of the powers cycle: {', '.join(map(str, cycle))}.",
            f"The cycle has length {len(cycle)}.",
            f"Power {power} is number {place + 1} in it.",
        ],
        cycle[place],
    )


def syllogism(rng: Random) -> Row:
    a, b = rng.sample(KINDS, 2)
    trait, pet, valid = rng.choice(TRAITS), rng.choice(PETS), rng.random() < 0.5
    if valid:
        return row(
            f"All {a} are {trait}. {pet} is not {trait}. Can {pet} be one of the {a}?",
            [f"If {pet} were one of the {a}, {pet} would be {trait}.", "That contradicts what is given."],
            "no",
        )
    return row(
        f"All {a} are {trait}. {pet} is {trait}. Must {pet} be one of the {a}?",
        [f"The {b} might be {trait} too.", f"So being {trait} does not decide it."],
        "no, it is only possible",
    )


def meet_again(rng: Random) -> Row:
    a, b = rng.sample(range(3, 25), 2)
    return row(
        f"Two lamps flash together, then every {a} and every {b} seconds. When do they next flash together?",
        [
            f"The time is a multiple of {a} and of {b}.",
            f"The least common multiple of {a} and {b} is wanted.",
        ],
        f"after {lcm(a, b)} seconds",
    )


def both(rng: Random) -> Row:
    a, b, c = rng.randint(8, 40), rng.randint(8, 40), rng.randint(2, 7)
    none = rng.randint(1, 12)
    total = a + b - c + none
    return row(
        f"Of {total} pupils, {a} sing, {b} dance and {none} do neither. How many do both?",
        [
            f"{total} - {none} = {total - none} do at least one.",
            f"{a} + {b} = {a + b} counts those who do both twice.",
        ],
        a + b - (total - none),
    )


def parity(rng: Random) -> Row:
    odd, even = rng.randint(2, 40), rng.randint(2, 40)
    return row(
        f"{odd} odd and {even} even numbers are added. Is the sum odd or even?",
        [
            "Even numbers do not change the parity.",
            f"{odd} odd numbers have {'an even' if odd % 2 == 0 else 'an odd'} sum, since {odd} is {'even' if odd % 2 == 0 else 'odd'}.",
        ],
        "even" if odd % 2 == 0 else "odd",
    )


def pieces(rng: Random) -> Row:
    count, minutes = rng.randint(4, 40), rng.randint(2, 15)
    return row(
        f"One cut through a log takes {minutes} minutes. How long does it take to saw it into {count} pieces?",
        [f"{count} pieces need {count - 1} cuts.", f"{count - 1} * {minutes} = {(count - 1) * minutes}."],
        f"{(count - 1) * minutes} minutes",
    )


def liars(rng: Random) -> Row:
    first, second = rng.sample(PETS, 2)
    if rng.random() < 0.5:
        return row(
            f"Knights tell the truth, knaves lie. {first} says: we are both knaves, {second} and I. What are they?",
            ["A knight cannot call himself a knave.", f"So {first} lies, and not both are knaves."],
            f"{first} is a knave, {second} a knight",
        )
    return row(
        f"Knights tell the truth, knaves lie. {first} says: at least one of us, {second} or I, is a knave. What are they?",
        [f"Were {first} a knave, the claim would be true.", f"So {first} is a knight and the claim holds."],
        f"{first} is a knight, {second} a knave",
    )


def snail(rng: Random) -> Row:
    up = rng.randint(3, 9)
    down = rng.randint(1, up - 1)
    days = rng.randint(3, 15)
    wall = up + (days - 1) * (up - down)
    return row(
        f"A snail climbs {up} m a day and slips {down} m a night. On which day does it top {wall} m?",
        [
            f"Before the last climb it gains {wall} - {up} = {wall - up} m.",
            f"Each day adds {up} - {down} = {up - down} m: {(wall - up) // (up - down)} days. Then it is up.",
        ],
        f"day {days}",
    )


def larger_power(rng: Random) -> Row:
    a, b = rng.choice([(2, 3), (2, 5), (3, 5), (2, 7), (3, 4), (5, 6)])
    k, m, n = rng.randint(2, 40), *rng.choice([(3, 2), (5, 3), (4, 3), (5, 2), (2, 1)])
    left, right = a**m, b**n
    sign = ">" if left > right else "<" if left < right else "="
    return row(
        f"Which is larger: {a}^{m * k} or {b}^{n * k}?",
        [
            f"{a}^{m * k} = ({a}^{m})^{k} = {left}^{k}.",
            f"{b}^{n * k} = ({b}^{n})^{k} = {right}^{k}.",
            f"{left} {sign} {right}.",
        ],
        f"{a}^{m * k}" if sign == ">" else f"{b}^{n * k}",
    )


def clock_angle(rng: Random) -> Row:
    hour, minute = rng.randint(1, 12), 10 * rng.randint(0, 5)
    small, large = (30 * hour + minute // 2) % 360, 6 * minute
    gap = abs(small - large)
    return row(
        f"Which angle do the hands of a clock form at {hour}:{minute:02d}?",
        [
            f"The hour hand stands at {small} degrees.",
            f"The minute hand stands at {large} degrees.",
            f"They differ by {gap} degrees.",
        ],
        f"{min(gap, 360 - gap)} degrees",
    )


def heads_and_legs(rng: Random) -> Row:
    hens, goats = rng.randint(2, 40), rng.randint(2, 40)
    heads, legs = hens + goats, 2 * hens + 4 * goats
    return row(
        f"Hens and goats have {heads} heads and {legs} legs. How many goats are there?",
        [
            f"Were all hens, there would be {2 * heads} legs.",
            f"{legs} - {2 * heads} = {legs - 2 * heads} legs are left over.",
            "Each goat brings 2 of these.",
        ],
        goats,
    )


FAMILIES = (
    weekday, handshakes, knockout, pigeonhole, last_digit, syllogism, meet_again, both, parity, pieces, liars, snail,
    larger_power, clock_angle, heads_and_legs,
)  # fmt: skip
