# ruff: noqa: E501 - a sentence or a line of generated code stays on one line
"""Arithmetic word problems with worked answers."""

from fractions import Fraction
from math import lcm
from random import Random

from demo_pretraining.words import (
    CONTAINERS,
    GOODS,
    NAMES,
    PLACES,
    VEHICLES,
    Draft,
    capital,
    decimal,
    two_names,
)


def shopping(rng: Random) -> Draft:
    count, price = rng.randint(2, 24), rng.randint(2, 19)
    cost = count * price
    paid = cost + rng.randint(1, 40)
    who, goods, where = rng.choice(NAMES), rng.choice(GOODS), rng.choice(PLACES)
    question = rng.choice(
        [
            f"{who} buys {count} {goods} at {where}. Each costs {price} coins. {who} pays with {paid} coins. How much change is there?",
            f"At {where}, {goods} cost {price} coins each. What change does {who} get from {paid} coins after buying {count} of them?",
        ]
    )
    answer = rng.choice(
        [
            f"The {goods} cost {count} * {price} = {cost} coins. The change is {paid} - {cost} = {paid - cost} coins.",
            f"{count} times {price} is {cost}. Taking {cost} from {paid} leaves {paid - cost} coins.",
        ]
    )
    return (count, price, paid), question, answer


def sharing(rng: Random) -> Draft:
    people, each = rng.randint(3, 15), rng.randint(3, 40)
    left = rng.randint(0, people - 1)
    total = people * each + left
    goods, box = rng.choice(GOODS), rng.choice(CONTAINERS)
    question = rng.choice(
        [
            f"{total} {goods} are shared equally among {people} children. How many does each get, and how many are left?",
            f"{rng.choice(NAMES)} puts {total} {goods} into {people} {box}, the same number in each. How many go into each, and how many remain?",
        ]
    )
    answer = f"{total} divided by {people} is {each} with remainder {left}, because {people} * {each} = {people * each} and {total} - {people * each} = {left}."
    return (people, total), question, answer


def gain_and_loss(rng: Random) -> Draft:
    start, gain = rng.randint(20, 400), rng.randint(5, 300)
    loss = rng.randint(3, start + gain - 1)
    first, second = two_names(rng)
    goods = rng.choice(GOODS)
    question = rng.choice(
        [
            f"{first} has {start} {goods}. {second} gives {first} {gain} more, and then {first} sells {loss}. How many {goods} does {first} have now?",
            f"A drawer holds {start} {goods}. {first} adds {gain} and {second} takes {loss}. How many are in the drawer?",
        ]
    )
    answer = f"First {start} + {gain} = {start + gain}. Then {start + gain} - {loss} = {start + gain - loss}."
    return (start, gain, loss), question, answer


def percentage(rng: Random) -> Draft:
    percent, base = rng.choice([5, 10, 15, 20, 25, 30, 40, 60, 75, 80]), 20 * rng.randint(2, 90)
    part = base * percent // 100
    verb, result = rng.choice([("falls", base - part), ("rises", base + part)])
    sign = "-" if verb == "falls" else "+"
    question = rng.choice(
        [
            f"The price of a coat is {base} and {verb} by {percent} percent. What is the new price?",
            f"A town of {base} people: the number {verb} by {percent}% in a year. How many people live there then?",
        ]
    )
    return (
        (percent, base, verb),
        question,
        f"{percent}% of {base} is {part}. {base} {sign} {part} = {result}.",
    )


def travel(rng: Random) -> Draft:
    speed, hours = rng.randint(8, 120), rng.choice([1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7])
    distance, what = speed * hours, rng.choice(VEHICLES)
    if rng.random() < 0.5:
        question = f"{capital(what)} moves at {speed} km/h for {decimal(hours)} hours. How far does it go?"
        answer = f"Distance is speed times time: {speed} * {decimal(hours)} = {decimal(distance)} km."
    else:
        question = f"How long does {what} need for {decimal(distance)} km at {speed} km/h?"
        answer = f"Time is distance over speed: {decimal(distance)} / {speed} = {decimal(hours)} hours."
    return (speed, hours), question, answer


def average(rng: Random) -> Draft:
    count = rng.randint(3, 6)
    values = [rng.randint(2, 60) for _ in range(count - 1)]
    values.append(count * rng.randint(2, 15) + -sum(values) % count)
    mean = sum(values) // count
    listing = ", ".join(map(str, values))
    question = rng.choice(
        [
            f"Find the average of {listing}.",
            f"{rng.choice(NAMES)} scores {listing} points. What is the mean score?",
        ]
    )
    return (
        tuple(values),
        question,
        f"The sum is {' + '.join(map(str, values))} = {sum(values)}. Divided by {count} it gives {mean}.",
    )


def fractions(rng: Random) -> Draft:
    a, b = Fraction(rng.randint(1, 9), rng.randint(2, 12)), Fraction(rng.randint(1, 9), rng.randint(2, 12))
    sign, result = rng.choice([("+", a + b), ("-", a - b), ("*", a * b), ("/", a / b)])
    question = rng.choice([f"Compute {a} {sign} {b}.", f"What is {a} {sign} {b} in lowest terms?"])
    if sign in "+-":
        common = lcm(a.denominator, b.denominator)
        left, right = a.numerator * common // a.denominator, b.numerator * common // b.denominator
        answer = f"The common denominator is {common}: {left}/{common} {sign} {right}/{common} = {result}."
    elif sign == "*":
        answer = f"Multiply tops and bottoms: {a.numerator} * {b.numerator} over {a.denominator} * {b.denominator} = {result}."
    else:
        answer = f"Dividing by {b} is multiplying by {1 / b}: {a} * {1 / b} = {result}."
    return (a, b, sign), question, answer


def rectangle(rng: Random) -> Draft:
    length, width = rng.randint(3, 60), rng.randint(2, 40)
    what = rng.choice(["garden", "room", "sheet of paper", "field", "floor", "window"])
    if rng.random() < 0.5:
        question = f"A {what} is {length} m long and {width} m wide. What is its area?"
        answer = f"The area is {length} * {width} = {length * width} square metres."
    else:
        question = f"How long is the border of a {what} of {length} m by {width} m?"
        answer = f"The border is 2 * ({length} + {width}) = 2 * {length + width} = {2 * (length + width)} m."
    return (length, width), question, answer


def clock(rng: Random) -> Draft:
    hour, minute, span = rng.randint(0, 23), rng.randint(0, 59), rng.randint(5, 400)
    later = (hour * 60 + minute + span) % 1440
    what = rng.choice(["A film", "A lesson", "A ferry trip", "The bake", "A match", "The meeting"])
    question = f"{what} starts at {hour:02d}:{minute:02d} and lasts {span} minutes. When does it end?"
    answer = f"{span} minutes are {span // 60} h {span % 60} min. {hour:02d}:{minute:02d} plus that is {later // 60:02d}:{later % 60:02d}."
    return (hour, minute, span), question, answer


def conversion(rng: Random) -> Draft:
    big, small, factor = rng.choice(
        [
            ("kilometres", "metres", 1000),
            ("metres", "centimetres", 100),
            ("hours", "minutes", 60),
            ("kilograms", "grams", 1000),
            ("litres", "millilitres", 1000),
            ("days", "hours", 24),
            ("weeks", "days", 7),
            ("dozens", "pieces", 12),
            ("minutes", "seconds", 60),
        ]
    )
    amount = rng.randint(2, 95) if rng.random() < 0.6 else rng.randint(3, 99) / 2
    if rng.random() < 0.5:
        question, answer = (
            f"How many {small} are {decimal(amount)} {big}?",
            f"{decimal(amount)} * {factor} = {decimal(amount * factor)} {small}.",
        )
    else:
        question, answer = (
            f"Express {decimal(amount * factor)} {small} in {big}.",
            f"{decimal(amount * factor)} / {factor} = {decimal(amount)} {big}.",
        )
    return (big, amount), question, answer


def ages(rng: Random) -> Draft:
    young, gap, years = rng.randint(3, 40), rng.randint(2, 35), rng.randint(2, 30)
    first, second = two_names(rng)
    question = f"{first} is {young} years old. {second} is {gap} years older. How old will {second} be in {years} years?"
    answer = f"{second} is {young} + {gap} = {young + gap} now, and {young + gap} + {years} = {young + gap + years} in {years} years."
    return (young, gap, years), question, answer


def ratio(rng: Random) -> Draft:
    left, right, unit = rng.randint(1, 9), rng.randint(1, 9), rng.randint(3, 45)
    first, second = two_names(rng)
    total = (left + right) * unit
    question = f"{first} and {second} share {total} {rng.choice(GOODS)} in the ratio {left} to {right}. How many does each get?"
    answer = f"There are {left + right} parts of {total} / {left + right} = {unit}. {first} gets {left} * {unit} = {left * unit}, {second} gets {right} * {unit} = {right * unit}."
    return (left, right, unit), question, answer


FAMILIES = (
    shopping,
    sharing,
    gain_and_loss,
    percentage,
    travel,
    average,
    fractions,
    rectangle,
    clock,
    conversion,
    ages,
    ratio,
)
