# ruff: noqa: E501 - a sentence or a line of generated code stays on one line
"""Python: a typed signature with a docstring, then the body."""

import textwrap
from random import Random

Row = dict[str, str]
NOUNS = (
    "tide",
    "parcel",
    "orchard",
    "signal",
    "ledger",
    "recipe",
    "glacier",
    "beacon",
    "cargo",
    "lantern",
    "quarry",
    "meadow",
)
FIELDS = ("mass", "delay", "score", "depth", "cost", "grade", "width", "phase", "yield_", "count")


def row(header: str, doc: str, body: str) -> Row:
    return {"prompt": f'{header}\n    """{doc}"""\n', "completion": textwrap.indent(body + "\n", "    ")}


def clamp(rng: Random) -> Row:
    low, high, noun = rng.randint(-50, 20), rng.randint(21, 400), rng.choice(NOUNS)
    return row(
        f"def limit_{noun}(value: float) -> float:",
        f"Keep value between {low} and {high}.",
        f"return max({low}, min(value, {high}))",
    )


def windows(rng: Random) -> Row:
    size, noun = rng.randint(2, 48), rng.choice(NOUNS)
    return row(
        f"def {noun}_windows(xs: list[float]) -> list[list[float]]:",
        f"All runs of {size} neighbours.",
        f"return [xs[i : i + {size}] for i in range(len(xs) - {size - 1})]",
    )


def chunks(rng: Random) -> Row:
    size, noun = rng.randint(2, 64), rng.choice(NOUNS)
    return row(
        f"def {noun}_batches(xs: list[str]) -> Iterator[list[str]]:",
        f"Yield pieces of at most {size} items.",
        f"for start in range(0, len(xs), {size}):\n    yield xs[start : start + {size}]",
    )


def group_by(rng: Random) -> Row:
    noun, modulus = rng.choice(NOUNS), rng.randint(2, 30)
    return row(
        f"def {noun}_groups(xs: Iterable[int]) -> dict[int, list[int]]:",
        f"Group numbers by their remainder after {modulus}.",
        f"groups: dict[int, list[int]] = {{}}\nfor x in xs:\n    groups.setdefault(x % {modulus}, []).append(x)\nreturn groups",
    )


def parse(rng: Random) -> Row:
    sign, noun = (
        rng.choice(
            [
                (":", "colon"),
                ("=", "equals sign"),
                (";", "semicolon"),
                ("|", "bar"),
                ("/", "slash"),
                ("@", "at sign"),
            ]
        ),
        rng.choice(NOUNS),
    )
    return row(
        f"def read_{noun}(line: str) -> tuple[str, str]:",
        f"Split a line at its first {sign[1]}, without outer blanks.",
        f'left, _, right = line.partition("{sign[0]}")\nreturn left.strip(), right.strip()',
    )


def guard(rng: Random) -> Row:
    field, limit, noun = rng.choice(FIELDS), rng.randint(2, 900), rng.choice(NOUNS)
    return row(
        f"def check_{noun}({field}: int) -> int:",
        f"Refuse a {field.strip('_')} over {limit}.",
        f'if {field} > {limit}:\n    raise ValueError(f"{noun}: {{{field}}} is over {limit}")\nreturn {field}',
    )


def smooth(rng: Random) -> Row:
    share, noun = rng.randint(1, 19) / 20, rng.choice(NOUNS)
    return row(
        f"def smooth_{noun}(xs: Iterable[float]) -> list[float]:",
        f"Exponential average that gives {share} to the newest value.",
        f"out: list[float] = []\nfor x in xs:\n    out.append(x if not out else {share} * x + {round(1 - share, 2)} * out[-1])\nreturn out",
    )


def best(rng: Random) -> Row:
    field, noun = rng.choice(FIELDS), rng.choice(NOUNS)
    side, word = rng.choice([("max", "largest"), ("min", "smallest")])
    return row(
        f"def {word}_{noun}(rows: list[dict[str, float]]) -> dict[str, float]:",
        f"The row with the {word} {field.strip('_')}.",
        f'return {side}(rows, key=lambda row: row["{field.strip("_")}"])',
    )


def dataclass(rng: Random) -> Row:
    noun, (a, b) = rng.choice(NOUNS), rng.sample(FIELDS, 2)
    factor = rng.randint(2, 60)
    return row(
        f"@dataclass(frozen=True)\nclass {noun.title()}:",
        f"A {noun} with {a.strip('_')} and {b.strip('_')}.",
        f"{a}: float\n{b}: float\n\n@property\ndef total(self) -> float:\n    return self.{a} + {factor} * self.{b}",
    )


def retry(rng: Random) -> Row:
    times, error, noun = (
        rng.randint(2, 12),
        rng.choice(["OSError", "TimeoutError", "KeyError", "ConnectionError"]),
        rng.choice(NOUNS),
    )
    return row(
        f"def fetch_{noun}(read: Callable[[], str]) -> str:",
        f"Try {times} times before {error} is let through.",
        f"for _ in range({times - 1}):\n    with suppress({error}):\n        return read()\nreturn read()",
    )


def merge(rng: Random) -> Row:
    noun, sign, word = (
        rng.choice(NOUNS),
        *rng.choice([("+", "adding"), ("-", "subtracting"), ("*", "multiplying")]),
    )
    default = rng.randint(0, 9)
    return row(
        f"def merge_{noun}(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:",
        f"Join two tables, {word} values; a missing one counts as {default}.",
        f"return {{k: a.get(k, {default}) {sign} b.get(k, {default}) for k in a | b}}",
    )


def accumulate(rng: Random) -> Row:
    start, noun = rng.randint(1, 500), rng.choice(NOUNS)
    return row(
        f"def {noun}_balance(changes: Iterable[int]) -> list[int]:",
        f"Running balance that opens at {start}.",
        f"return list(itertools.accumulate(changes, initial={start}))",
    )


def context(rng: Random) -> Row:
    noun, value = rng.choice(NOUNS), rng.randint(1, 99)
    return row(
        f"@contextmanager\ndef {noun}_level(state: dict[str, int]) -> Iterator[None]:",
        f"Set the level to {value} and restore it afterwards.",
        f'before = state.get("level", 0)\nstate["level"] = {value}\ntry:\n    yield\nfinally:\n    state["level"] = before',
    )


def top(rng: Random) -> Row:
    count, noun = rng.randint(2, 50), rng.choice(NOUNS)
    return row(
        f"def common_{noun}(words: Iterable[str]) -> list[str]:",
        f"The {count} most frequent words, most frequent first.",
        f"return [word for word, _ in Counter(words).most_common({count})]",
    )


def match(rng: Random) -> Row:
    noun, (low, mid) = rng.choice(NOUNS), sorted(rng.sample(range(2, 300), 2))
    return row(
        f"def {noun}_band(x: float) -> str:",
        f"Name the band of x: below {low}, below {mid}, or above.",
        f'if x < {low}:\n    return "low"\nreturn "middle" if x < {mid} else "high"',
    )


FAMILIES = (
    clamp,
    windows,
    chunks,
    group_by,
    parse,
    guard,
    smooth,
    best,
    dataclass,
    retry,
    merge,
    accumulate,
    context,
    top,
    match,
)
