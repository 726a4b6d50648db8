# ruff: noqa: E501 - a sentence or a line of generated code stays on one line
"""Step-by-step reasoning about whole numbers, lists and small sets of facts."""

from itertools import pairwise
from random import Random

from demo_pretraining.words import GOODS, NAMES, Draft


def column_addition(rng: Random) -> Draft:
    a, b = rng.randint(100, 99999), rng.randint(100, 99999)
    steps, carry, left, right = [], 0, a, b
    while left or right:
        total = left % 10 + right % 10 + carry
        steps.append(
            f"{left % 10} + {right % 10}{f' + {carry}' if carry else ''} = {total}, write {total % 10}"
        )
        carry, left, right = total // 10, left // 10, right // 10
    tail = f" The last carry is {carry}." if carry else ""
    return (
        (a, b),
        f"Add {a} and {b} digit by digit.",
        f"From the right: {'; '.join(steps)}.{tail} The sum is {a + b}.",
    )


def split_product(rng: Random) -> Draft:
    a, b = rng.randint(12, 99), rng.randint(12, 99)
    tens, ones = b // 10 * 10, b % 10
    question = rng.choice([f"Multiply {a} by {b} in steps.", f"What is {a} * {b}? Show the steps."])
    answer = f"{b} is {tens} + {ones}. {a} * {tens} = {a * tens}. {a} * {ones} = {a * ones}. {a * tens} + {a * ones} = {a * b}."
    return (a, b), question, answer


def order_of_operations(rng: Random) -> Draft:
    a, b, c, d = (rng.randint(2, 20) for _ in range(4))
    kind = rng.randint(0, 2)
    if kind == 0:
        text, steps, value = (
            f"{a} + {b} * {c}",
            f"First {b} * {c} = {b * c}. Then {a} + {b * c} = {a + b * c}",
            a + b * c,
        )
    elif kind == 1:
        text, value = f"({a} + {b}) * {c} - {d}", (a + b) * c - d
        steps = f"First {a} + {b} = {a + b}. Then {a + b} * {c} = {(a + b) * c}. Then {(a + b) * c} - {d} = {value}"
    else:
        text, value = f"{a} * {b} - {c} * {d}", a * b - c * d
        steps = f"First {a} * {b} = {a * b} and {c} * {d} = {c * d}. Then {a * b} - {c * d} = {value}"
    return (text,), f"Evaluate {text}.", f"{steps}. The value is {value}."


def sorting(rng: Random) -> Draft:
    values = rng.sample(range(1, 200), rng.randint(4, 8))
    up = rng.random() < 0.6
    wanted = sorted(values, reverse=not up)
    listing = ", ".join(map(str, values))
    question = f"Sort {listing} from {'smallest to largest' if up else 'largest to smallest'}."
    steps = f"The {'smallest' if up else 'largest'} is {wanted[0]}, next comes {wanted[1]}, and the last is {wanted[-1]}"
    return tuple(values), question, f"{steps}. Sorted: {', '.join(map(str, wanted))}."


def divisibility(rng: Random) -> Draft:
    number, divisor = rng.randint(100, 9999), rng.choice([2, 3, 4, 5, 9, 10])
    yes = number % divisor == 0
    digits = sum(map(int, str(number)))
    reason = {
        2: f"the last digit is {number % 10}, which is {'even' if yes else 'odd'}",
        5: f"the last digit is {number % 10}",
        10: f"the last digit is {number % 10}",
        4: f"the last two digits form {number % 100}, and {number % 100} = 4 * {number % 100 // 4}{'' if yes else f' + {number % 4}'}",
    }.get(
        divisor,
        f"the digit sum is {digits}, and {digits} = {divisor} * {digits // divisor}{'' if yes else f' + {digits % divisor}'}",
    )
    return (number, divisor), f"Is {number} divisible by {divisor}?", f"{'Yes' if yes else 'No'}: {reason}."


def sequence(rng: Random) -> Draft:
    start, step, kind = (
        rng.randint(1, 40),
        rng.randint(2, 15),
        rng.choice(["add", "subtract", "double", "square"]),
    )
    if kind == "add":
        values, why = [start + i * step for i in range(6)], f"each term is {step} more than the one before"
    elif kind == "subtract":
        values, why = (
            [start + 90 - i * step for i in range(6)],
            f"each term is {step} less than the one before",
        )
    elif kind == "double":
        values, why = [start * 2**i for i in range(6)], "each term is twice the one before"
    else:
        values, why = (
            [(start + i) ** 2 for i in range(6)],
            f"the terms are the squares of {start}, {start + 1}, {start + 2} and so on",
        )
    shown = ", ".join(map(str, values[:5]))
    return (
        (kind, start, step),
        f"What comes next: {shown}, ...?",
        f"Here {why}. So the next term is {values[5]}.",
    )


def taller(rng: Random) -> Draft:
    people = rng.sample(NAMES, rng.randint(3, 5))
    more, least = rng.choice(
        [("taller", "shortest"), ("older", "youngest"), ("faster", "slowest"), ("heavier", "lightest")]
    )
    facts = [f"{a} is {more} than {b}" for a, b in pairwise(people)]
    told = rng.sample(facts, len(facts))
    question = f"{'. '.join(told)}. Who is the {least}?"
    return (tuple(people), more), question, f"In order: {' > '.join(people)}. The {least} is {people[-1]}."


def counting(rng: Random) -> Draft:
    values = [rng.randint(1, 50) for _ in range(rng.randint(5, 9))]
    limit = rng.randint(10, 40)
    kept = [v for v in values if v > limit]
    question = f"How many of the numbers {', '.join(map(str, values))} are greater than {limit}?"
    found = f"They are {', '.join(map(str, kept))}" if kept else "There are none"
    return (*values, limit), question, f"{found}. The count is {len(kept)}."


def conditional(rng: Random) -> Draft:
    goods, limit, amount = rng.choice(GOODS), rng.randint(5, 90), rng.randint(5, 90)
    rule = rng.choice(["free delivery", "a discount", "a gift", "a second bag"])
    yes = amount > limit
    question = f"Whoever buys more than {limit} {goods} gets {rule}. {rng.choice(NAMES)} buys {amount} {goods}. Is there {rule}?"
    answer = f"{amount} is {'more' if yes else 'not more'} than {limit}, so the rule {'applies' if yes else 'does not apply'}: {'yes' if yes else 'no'}."
    return (goods, limit, amount), question, answer


def unknown(rng: Random) -> Draft:
    factor, root, shift = rng.randint(2, 12), rng.randint(1, 30), rng.randint(1, 50)
    total = factor * root + shift
    question = rng.choice(
        [
            f"A number is multiplied by {factor} and {shift} is added; the result is {total}. What is the number?",
            f"I think of a number. {factor} times it, plus {shift}, is {total}. Find it.",
        ]
    )
    answer = f"Undo the steps: {total} - {shift} = {total - shift}, and {total - shift} / {factor} = {root}. The number is {root}."
    return (factor, root, shift), question, answer


def factors(rng: Random) -> Draft:
    number = rng.randint(12, 999)
    rest, found, steps = number, [], []
    divisor = 2
    while divisor * divisor <= rest:
        while rest % divisor == 0:
            steps.append(f"{rest} / {divisor} = {rest // divisor}")
            found.append(divisor)
            rest //= divisor
        divisor += 1
    found.append(rest)
    shown = " * ".join(map(str, found))
    if not steps:
        return (
            (number,),
            f"Factor {number} into primes.",
            f"No prime up to its square root divides {number}, so it is prime.",
        )
    return (
        (number,),
        f"Factor {number} into primes.",
        f"{', '.join(steps)}, and {rest} is prime. So {number} = {shown}.",
    )


FAMILIES = (
    column_addition,
    split_product,
    order_of_operations,
    sorting,
    divisibility,
    sequence,
    taller,
    counting,
    conditional,
    unknown,
    factors,
)
