"""The configuration keys that are known are those of PEFT's own classes."""

import dataclasses

import pytest
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from tunescope.source.formats.leftovers import NEEDS_BASE, NO_MATRIX
from tunescope.source.formats.peft_fields import METHODS, fields
from tunescope.source.tuners import TUNERS

CLASSES = {method.value: config for method, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}


@pytest.mark.parametrize("method", sorted(CLASSES))
def test_the_known_keys_are_pefts(method: str) -> None:
    """No key is missing and none is made up."""
    assert fields(method) == {field.name for field in dataclasses.fields(CLASSES[method])}


def test_every_method_is_read_or_has_its_reason() -> None:
    """A method is read, needs the base, or changes no single weight; never two of them."""
    groups = [set(TUNERS), set(NEEDS_BASE), set(NO_MATRIX)]
    assert set().union(*groups) == set(METHODS) == set(CLASSES)
    assert sum(map(len, groups)) == len(CLASSES)
