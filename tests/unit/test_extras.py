"""What a question needs is asked of the disk."""

import importlib.util

import pytest

from tunescope import extras
from tunescope.errors import UsageError


def test_a_package_that_is_required_is_named_without_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    extras.require("json", "a question")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="importance needs torch") as refused:
        extras.require("torch", "importance")
    assert refused.value.slug == "extra-missing"
