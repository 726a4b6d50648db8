# ruff: noqa: E501 - a sentence or a line of generated code stays on one line
"""Small loops over whole numbers, told in words and written in Python and in C++."""

from random import Random

from demo_pretraining.words import Draft

VARIABLES = ("x", "value", "item", "number", "n", "entry", "v", "element")
ARGUMENTS = ("values", "numbers", "items", "data", "xs", "samples", "readings", "scores")
VERBS = ("compute", "get", "find", "make", "calc", "collect")


def condition(rng: Random, var: str) -> tuple[str, str, str]:
    """A test on one number: words, code (the same in both languages), a word for the function's name."""
    k = rng.randint(2, 60)
    return rng.choice(
        [
            ("", "", "all"),
            ("even ", f"{var} % 2 == 0", "even"),
            ("odd ", f"{var} % 2 != 0", "odd"),
            ("positive ", f"{var} > 0", "positive"),
            ("negative ", f"{var} < 0", "negative"),
            (f"greater-than-{k} ", f"{var} > {k}", "large"),
            (f"below-{k} ", f"{var} < {k}", "small"),
            (f"divisible-by-{k} ", f"{var} % {k} == 0", "multiple"),
            (f"not-{k} ", f"{var} != {k}", "other"),
        ]
    )


def mapping(rng: Random, var: str) -> tuple[str, str, str]:
    k = rng.randint(2, 40)
    return rng.choice(
        [
            ("the {}numbers", var, ""),
            ("the squares of the {}numbers", f"{var} * {var}", "squares"),
            (f"{k} times the {{}}numbers", f"{k} * {var}", "scaled"),
            (f"the {{}}numbers plus {k}", f"{var} + {k}", "shifted"),
            (f"{k} minus the {{}}numbers", f"{k} - {var}", "mirrored"),
            ("the cubes of the {}numbers", f"{var} * {var} * {var}", "cubes"),
        ]
    )


def _python_loop(name: str, argument: str, var: str, test: str, term: str, kind: str) -> str:
    start, step = {
        "sum": ("total = 0", f"total += {term}"),
        "product": ("total = 1", f"total *= {term}"),
        "list": ("total = []", f"total.append({term})"),
        "count": ("total = 0", "total += 1"),
    }[kind]
    body = f"        if {test}:\n            {step}\n" if test else f"        {step}\n"
    return f"def {name}({argument}):\n    {start}\n    for {var} in {argument}:\n{body}    return total\n"


def _python_expression(name: str, argument: str, var: str, test: str, term: str, kind: str) -> str:
    inner = f"{'1' if kind == 'count' else term} for {var} in {argument}{f' if {test}' if test else ''}"
    outer = {
        "sum": f"sum({inner})",
        "count": f"sum({inner})",
        "list": f"[{inner}]",
        "product": f"math.prod({inner})",
    }[kind]
    return f"{'import math' + chr(10) * 2 if kind == 'product' else ''}def {name}({argument}):\n    return {outer}\n"


def _cpp_loop(name: str, argument: str, var: str, test: str, term: str, kind: str) -> str:
    result, start, step = {
        "sum": ("int", "int total = 0;", f"total += {term};"),
        "product": ("long", "long total = 1;", f"total *= {term};"),
        "list": ("std::vector<int>", "std::vector<int> total;", f"total.push_back({term});"),
        "count": ("int", "int total = 0;", "++total;"),
    }[kind]
    body = f"        if ({test}) {{\n            {step}\n        }}\n" if test else f"        {step}\n"
    return (
        f"#include <vector>\n\n{result} {name}(const std::vector<int>& {argument}) {{\n    {start}\n"
        f"    for (int {var} : {argument}) {{\n{body}    }}\n    return total;\n}}\n"
    )


def loop(rng: Random) -> Draft:
    var, argument = rng.choice(VARIABLES), rng.choice(ARGUMENTS)
    which, test, tag = condition(rng, var)
    phrase, term, shape = mapping(rng, var)
    kind = rng.choice(["sum", "product", "list", "count"])
    language, render = rng.choice(
        [("Python", _python_loop), ("Python", _python_expression), ("C++", _cpp_loop)]
    )
    what = {
        "sum": "the sum of ",
        "product": "the product of ",
        "list": "a list of ",
        "count": "how many there are of ",
    }[kind]
    name = "_".join(part for part in (rng.choice(VERBS), tag, shape, kind) if part)
    question = rng.choice(
        [
            f"Write a {language} function that returns {what}{phrase.format(which)}.",
            f"{language}: return {what}{phrase.format(which)}.",
        ]
    )
    return (
        (render.__name__, which, term.replace(var, "x"), kind),
        question,
        render(name, argument, var, test, term, kind),
    )


def steps_until(rng: Random) -> Draft:
    add, limit, start = rng.randint(2, 50), rng.randint(51, 2000), rng.randint(0, 40)
    count, value = 0, start
    while value < limit:
        value, count = value + add, count + 1
    if rng.random() < 0.5:
        code = f"value = {start}\ncount = 0\nwhile value < {limit}:\n    value += {add}\n    count += 1\nprint(count)\n"
    else:
        code = f"int value = {start}, count = 0;\nwhile (value < {limit}) {{\n    value += {add};\n    ++count;\n}}\nstd::cout << count;\n"
    answer = f"The loop adds {add} until {limit} is reached: it runs {count} times and prints {count}."
    return (add, limit, start), f"What does this print?\n{code}", answer


def assignments(rng: Random) -> Draft:
    a, b, k = rng.randint(1, 99), rng.randint(1, 99), rng.randint(2, 9)
    first, second = rng.sample(["a", "b", "x", "y", "left", "right", "p", "q"], 2)
    code = f"{first} = {a}\n{second} = {b}\n{first} = {first} + {second}\n{second} = {first} * {k}\nprint({first}, {second})\n"
    answer = f"{first} becomes {a} + {b} = {a + b}. {second} becomes {a + b} * {k} = {(a + b) * k}. It prints {a + b} {(a + b) * k}."
    return (a, b, k), f"What does this print?\n{code}", answer


def record(rng: Random) -> Draft:
    name, fields = rng.choice(RECORDS)
    chosen = rng.sample(fields.split(), rng.randint(2, 4))
    extra = rng.choice(chosen)
    if rng.random() < 0.5:
        body = "".join(f"        self.{field} = {field}\n" for field in chosen)
        code = f"class {name}:\n    def __init__(self, {', '.join(chosen)}):\n{body}\n    def has_{extra}(self):\n        return self.{extra} > 0\n"
        return (
            ("python", name, tuple(chosen), extra),
            f"Write a Python class {name} with {', '.join(chosen)} and a method has_{extra}.",
            code,
        )
    body = "".join(f"    int {field} = 0;\n" for field in chosen)
    code = f"struct {name} {{\n{body}\n    bool has_{extra}() const {{ return {extra} > 0; }}\n}};\n"
    return (
        ("cpp", name, tuple(chosen), extra),
        f"Write a C++ struct {name} with {', '.join(chosen)} and a method has_{extra}.",
        code,
    )


RECORDS = (
    ("Point", "x y z weight label"),
    ("Account", "owner balance limit number rate"),
    ("Book", "title pages price shelf year"),
    ("Timer", "start stop laps unit"),
    ("Car", "speed fuel seats doors mileage"),
    ("Buffer", "size offset capacity flags"),
    ("Player", "score level lives name"),
    ("Image", "width height depth channels"),
    ("Order", "items total discount tax"),
    ("Sensor", "value minimum maximum interval"),
)


def text_function(rng: Random) -> Draft:
    letter, width = rng.choice("abcdefghijklmnopqrstuvwxyz"), rng.randint(2, 40)
    argument = rng.choice(["text", "line", "word", "s", "name", "message"])
    question, code = rng.choice(
        [
            (f"counts how often '{letter}' occurs", f"return {argument}.count('{letter}')"),
            (f"replaces every '{letter}' by a dash", f"return {argument}.replace('{letter}', '-')"),
            (f"tells whether a text starts with '{letter}'", f"return {argument}.startswith('{letter}')"),
            (f"pads a text on the left to {width} characters", f"return {argument}.rjust({width})"),
            (f"cuts a text after {width} characters", f"return {argument}[:{width}]"),
            (f"repeats a text {width} times", f"return {argument} * {width}"),
            (f"splits a text at '{letter}'", f"return {argument}.split('{letter}')"),
            (f"drops the first {width} characters", f"return {argument}[{width}:]"),
        ]
    )
    return (question,), f"Write a Python function that {question}.", f"def edit({argument}):\n    {code}\n"


FAMILIES = (loop, loop, loop, steps_until, assignments, record, text_function)
