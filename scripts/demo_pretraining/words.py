# ruff: noqa: E501, SIM905 - a list of words reads best as words
"""Nouns that the generated exercises are about, and small things that every generator needs."""

from random import Random

Draft = tuple[tuple[object, ...], str, str]
"""What an exercise is recognised by (its numbers), its question, its answer."""

NAMES = (
    "Ada Ben Cleo Dan Eva Finn Gia Hugo Ines Jon Kira Leo Mia Nils Olga Pia Quin Rosa Sam Tara "
    "Uma Viktor Wen Xenia Yusuf Zoe Amir Bea Chidi Dora Emil Fatima Goran Hana Ivo Jana Kofi Lena"
).split()

GOODS = (
    "apples pears pencils notebooks stamps marbles tickets stickers buttons candles muffins bottles "
    "plates spoons tiles bricks nails bolts cards coins books maps lamps cups ropes shirts socks hats"
).split()

PLACES = (
    "a market|a bakery|a school shop|a library sale|a museum|a garden centre|a hardware store|a fair|a harbour|a station"
).split("|")

CONTAINERS = "boxes bags crates baskets trays shelves drawers rows packets jars".split()

VEHICLES = ("a train", "a bus", "a cyclist", "a truck", "a boat", "a tram", "a runner", "a drone")

OBJECTS = ("a cart", "a sled", "a crate", "a ball", "a trolley", "a block", "a boat", "a suitcase", "a stone")

MATERIALS = {
    "water": 1000,
    "ice": 917,
    "oil": 900,
    "iron": 7870,
    "copper": 8960,
    "oak": 710,
    "glass": 2500,
    "gold": 19300,
}


def two_names(rng: Random) -> tuple[str, str]:
    first, second = rng.sample(NAMES, 2)
    return first, second


def decimal(value: float) -> str:
    """A number as a person writes it: no trailing zeros, at most four digits after the point."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def plural(count: int, noun: str) -> str:
    return f"{count} {noun.removesuffix('s') if count == 1 else noun}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
