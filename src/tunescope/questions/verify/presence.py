"""Which adapters are in a model and which are not, as far as their coefficients tell, in words."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from tunescope.questions.verify.reading import NEAR, Reading
from tunescope.study.finding import listed
from tunescope.study.study import Study

Coefficients = Mapping[str, tuple[float, float]]
# So small a share of what was expected is called none, or less than that.
_HARDLY = 0.1


def absent(coefficients: Coefficients, besides: Collection[str] = ()) -> list[str]:
    """The adapters whose coefficient is 0, without those that are left out `besides`.

    >>> absent({"a": (1.0, 0.001), "b": (0.02, 0.01)})
    ['b']
    """
    return [label for label, read in coefficients.items() if label not in besides and _is(read, 0.0)]


def present(coefficients: Coefficients, expected: Mapping[str, float]) -> list[str]:
    """The adapters whose coefficient is the one expected of them, where that is not 0.

    >>> present({"a": (1.0, 0.001), "b": (0.02, 0.01)}, {"a": 1.0, "b": 1.0})
    ['a']
    """
    return [label for label, c in coefficients.items() if expected.get(label) and _is(c, expected[label])]


def _is(read: tuple[float, float], value: float) -> bool:
    coefficient, error = read
    return abs(coefficient - value) <= max(3 * error, NEAR)


def expectations(readings: Sequence[Reading]) -> dict[str, float]:
    """The coefficient expected of every adapter or sum of which all modules expect the same."""
    return _alike((reading.label, reading.expected) for reading in readings)


def _alike(expected: Iterable[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, set[float]] = {}
    for label, value in expected:
        found.setdefault(label, set()).add(value)
    return {label: values.pop() for label, values in found.items() if len(values) == 1}


def _hardly(coefficients: Coefficients, expected: Mapping[str, float]) -> list[str]:
    """The adapters of which less than a tenth of what is expected is there, or none."""
    wanted = {label: abs(value) for label, value in expected.items() if value}
    return [k for k, (value, _) in coefficients.items() if abs(value) < _HARDLY * wanted.get(k, 0.0)]


def beside_another_change(coefficients: Coefficients, expected: Mapping[str, float]) -> str:
    """What a model that changed otherwise holds of its adapters, up to the change; empty where that is open.

    >>> beside_another_change({"a": (1.0, 0.001), "b": (0.02, 0.01)}, {"a": 1.0, "b": 1.0})
    'a is in it as expected, and b is not in it; '
    """
    there = present(coefficients, expected)
    gone = [label for label in absent(coefficients, there) if expected.get(label)]
    hardly = [label for label in _hardly(coefficients, expected) if label not in (*there, *gone)]
    are = ("is", "are")
    parts = [f"{listed(there, 'and')} {are[len(there) > 1]} in it as expected"] if there else []
    parts += [f"{listed(gone, 'and')} {are[len(gone) > 1]} not in it"] if gone else []
    parts += (
        [f"{listed(hardly, 'and')} {are[len(hardly) > 1]} not in it, or less than a tenth"] if hardly else []
    )
    return f"{', and '.join(parts)}; " if parts else ""


def expected_of(study: Study) -> dict[str, float]:
    """As `expectations`, from a study's table."""
    return _alike(
        study.table.frame.drop_nulls("expected").select("model_id", "expected").unique().iter_rows()
    )


def heading(study: Study) -> str:
    """The verdict as a heading says it: of several adapters which are in the model and which are not."""
    document = study.readout
    verdict = str(document["verdict"])
    expected = expected_of(study)
    unwanted = {label for label, value in expected.items() if value == 0}
    coefficients = {
        label: (c["value"], c["stderr"])
        for label, c in document["coefficients"].items()
        if label not in unwanted
    }
    gone = absent(coefficients)
    there = [label for label in coefficients if label not in gone]
    if verdict == "mixture" and gone and there:
        return f"{listed(there, 'and')}, but not {listed(gone, 'or')}"
    if verdict == "other_change":
        none = coefficients and set(coefficients) == {*gone, *_hardly(coefficients, expected)}
        return f"{'no, ' if none else ''}something else changed it"
    return verdict.replace("_", " ")
