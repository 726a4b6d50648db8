# ruff: noqa: E501 - a sentence or a line of generated code stays on one line
"""C++17: a task in a comment, then a small piece of modern code with the headers that it needs."""

from random import Random

Row = dict[str, str]
TYPES = ("int", "long", "double", "float", "unsigned", "short")
PLAIN = (
    "width",
    "height",
    "depth",
    "price",
    "offset",
    "weight",
    "angle",
    "level",
    "speed",
    "limit",
    "age",
    "rank",
)
CLASSES = (
    "Grid",
    "Ledger",
    "Parcel",
    "Tank",
    "Route",
    "Meter",
    "Badge",
    "Crate",
    "Valve",
    "Shelf",
    "Ticket",
    "Probe",
)
RANGES = ("prices", "weights", "levels", "angles", "ranks", "widths", "ages", "offsets")


def row(task: str, code: str) -> Row:
    return {"prompt": f"// {task}\n", "completion": code}


def clamp(rng: Random) -> Row:
    kind, low, high = rng.choice(TYPES[:4]), rng.randint(0, 20), rng.randint(21, 400)
    name = rng.choice(PLAIN)
    return row(
        f"Keep a {name} of type {kind} between {low} and {high} at compile time.",
        f"#include <algorithm>\n\nconstexpr {kind} clamp_{name}({kind} {name}) {{\n"
        f"    return std::clamp<{kind}>({name}, {low}, {high});\n}}\n",
    )


def count_if(rng: Random) -> Row:
    kind, limit, data = rng.choice(TYPES), rng.randint(2, 90), rng.choice(RANGES)
    sign, word = rng.choice([(">", "above"), ("<", "below"), (">=", "at least"), ("<=", "at most")])
    return row(
        f"Count the {kind} {data} {word} {limit} with an algorithm and a lambda.",
        f"#include <algorithm>\n#include <vector>\n\nauto count(const std::vector<{kind}>& {data}) {{\n"
        f"    return std::count_if({data}.begin(), {data}.end(), [](auto x) {{ return x {sign} {limit}; }});\n}}\n",
    )


def accumulate(rng: Random) -> Row:
    kind, factor, data = rng.choice(TYPES[:4]), rng.randint(2, 30), rng.choice(RANGES)
    return row(
        f"Fold the {data} into one {kind}: the running value plus {factor} times each element.",
        f"#include <numeric>\n#include <vector>\n\n{kind} fold(const std::vector<{kind}>& {data}) {{\n"
        f"    return std::accumulate({data}.begin(), {data}.end(), {kind}{{}},\n"
        f"        []({kind} sum, {kind} x) {{ return sum + {factor} * x; }});\n}}\n",
    )


def erase_remove(rng: Random) -> Row:
    kind, limit, data = rng.choice(TYPES), rng.randint(1, 99), rng.choice(RANGES)
    return row(
        f"Erase every {kind} greater than {limit} from the vector of {data}.",
        f"#include <algorithm>\n#include <vector>\n\nvoid prune(std::vector<{kind}>& {data}) {{\n"
        f"    auto tail = std::remove_if({data}.begin(), {data}.end(), [](auto x) {{ return x > {limit}; }});\n"
        f"    {data}.erase(tail, {data}.end());\n}}\n",
    )


def strong_type(rng: Random) -> Row:
    kind, name, field = rng.choice(TYPES), rng.choice(CLASSES), rng.choice(PLAIN)
    sign, word = rng.choice([("==", "equality"), ("<", "order"), ("!=", "inequality")])
    return row(
        f"A {name} with an explicit constructor, {field} of type {kind} and {word} as a friend.",
        f"class {name} {{\npublic:\n    explicit {name}({kind} {field}) : {field}_({field}) {{}}\n"
        f"    friend bool operator{sign}(const {name}& a, const {name}& b) {{\n"
        f"        return a.{field}_ {sign} b.{field}_;\n    }}\n\nprivate:\n    {kind} {field}_;\n}};\n",
    )


def template_pair(rng: Random) -> Row:
    first, second = rng.sample(PLAIN, 2)
    name, sign = rng.choice(CLASSES), rng.choice(["+", "-", "*"])
    return row(
        f"A class template {name} of {first} and {second} whose operator{sign} works by member.",
        f"template <typename T>\nstruct {name} {{\n    T {first}{{}};\n    T {second}{{}};\n"
        f"    constexpr {name} operator{sign}(const {name}& other) const {{\n"
        f"        return {{{first} {sign} other.{first}, {second} {sign} other.{second}}};\n    }}\n}};\n",
    )


def find_optional(rng: Random) -> Row:
    kind, data, step = rng.choice(TYPES[:3]), rng.choice(RANGES), rng.randint(2, 60)
    return row(
        f"Return the first of the {data} ({kind}) beyond {step}, or nothing.",
        f"#include <optional>\n#include <vector>\n\nstd::optional<{kind}> first(const std::vector<{kind}>& {data}) {{\n"
        f"    for (const auto& x : {data}) {{\n        if (x > {step}) return x;\n    }}\n    return std::nullopt;\n}}\n",
    )


def fixed_array(rng: Random) -> Row:
    kind, size, factor = rng.choice(TYPES[:2]), rng.randint(3, 64), rng.randint(2, 12)
    return row(
        f"Build a table of {size} multiples of {factor} in a constexpr function.",
        f"#include <array>\n#include <cstddef>\n\nconstexpr std::array<{kind}, {size}> table() {{\n"
        f"    std::array<{kind}, {size}> out{{}};\n    for (std::size_t i = 0; i < {size}; ++i) {{\n"
        f"        out[i] = static_cast<{kind}>(i) * {factor};\n    }}\n    return out;\n}}\n",
    )


def owner(rng: Random) -> Row:
    name, field, value = rng.choice(CLASSES), rng.choice(PLAIN), rng.randint(1, 500)
    return row(
        f"Make a {name} with {field} {value} on the heap and hand over its ownership.",
        f"#include <memory>\n\nstruct {name} {{ int {field} = 0; }};\n\nstd::unique_ptr<{name}> make() {{\n"
        f"    auto made = std::make_unique<{name}>();\n    made->{field} = {value};\n    return made;\n}}\n",
    )


def guard(rng: Random) -> Row:
    field, limit = rng.choice(PLAIN), rng.randint(5, 900)
    error, header = rng.choice(
        [("out_of_range", "stdexcept"), ("invalid_argument", "stdexcept"), ("domain_error", "stdexcept")]
    )
    return row(
        f"Throw std::{error} when the {field} exceeds {limit}; else return it doubled.",
        f"#include <{header}>\n\nint checked(int {field}) {{\n"
        f'    if ({field} > {limit}) throw std::{error}("{field} over {limit}");\n    return 2 * {field};\n}}\n',
    )


def enumeration(rng: Random) -> Row:
    name, names = (
        rng.choice(CLASSES),
        rng.sample(["Idle", "Open", "Full", "Lost", "Busy", "Done", "Cold", "Warm"], 3),
    )
    return row(
        f"A scoped enum {name} of {', '.join(names)} and its name as text.",
        f"enum class {name} {{ {', '.join(names)} }};\n\nconstexpr const char* name_of({name} value) {{\n    switch (value) {{\n"
        + "".join(f'        case {name}::{n}: return "{n}";\n' for n in names[:2])
        + f'        default: return "{names[2]}";\n    }}\n}}\n',
    )


def bits(rng: Random) -> Row:
    shift, width = rng.randint(1, 24), rng.randint(1, 7)
    return row(
        f"Read {width} bits of a 32-bit word, starting at bit {shift}.",
        f"#include <cstdint>\n\nconstexpr std::uint32_t field(std::uint32_t word) {{\n"
        f"    return (word >> {shift}) & 0x{(1 << width) - 1:x}u;\n}}\n",
    )


def map_count(rng: Random) -> Row:
    key, times = rng.choice(["std::string", "int", "char", "long"]), rng.randint(2, 40)
    header = "#include <string>\n" if "string" in key else ""
    return row(
        f"Collect the keys ({key}) that occur at least {times} times.",
        f"#include <map>\n{header}#include <vector>\n\nstd::vector<{key}> frequent(const std::map<{key}, int>& counts) {{\n"
        f"    std::vector<{key}> out;\n    for (const auto& [key, n] : counts) {{\n"
        f"        if (n >= {times}) out.push_back(key);\n    }}\n    return out;\n}}\n",
    )


def variadic(rng: Random) -> Row:
    sign, word, start = rng.choice([("+", "sum", 0), ("*", "product", 1)])
    scale, name = rng.randint(2, 99), rng.choice(PLAIN)
    return row(
        f"The {word} of any number of {name} arguments, times {scale}, by a fold expression.",
        f"template <typename... Ts>\nconstexpr auto {name}_{word}(Ts... xs) {{\n    return {scale} * ({start} {sign} ... {sign} xs);\n}}\n",
    )


def sort_by(rng: Random) -> Row:
    name, (first, second) = rng.choice(CLASSES), rng.sample(PLAIN, 2)
    sign = rng.choice("<>")
    return row(
        f"Sort {name} records stably by {first}, {'rising' if sign == '<' else 'falling'}.",
        f"#include <algorithm>\n#include <vector>\n\nstruct {name} {{ int {first}, {second}; }};\n\n"
        f"void arrange(std::vector<{name}>& all) {{\n    std::stable_sort(all.begin(), all.end(),\n"
        f"        [](auto& a, auto& b) {{ return a.{first} {sign} b.{first}; }});\n}}\n",
    )


FAMILIES = (
    clamp, count_if, accumulate, erase_remove, strong_type, template_pair, find_optional, fixed_array, owner, guard,
    enumeration, bits, map_count, variadic, sort_by,
)  # fmt: skip
