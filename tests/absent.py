"""What a test needs and this machine lacks: a skip with one line, or a failure where all is required."""

import os
from typing import NoReturn

import pytest


def absent(text: str) -> NoReturn:
    """Skip the test with one line; fail it where `TUNESCOPE_REQUIRE_DATA=1` says that all is needed."""
    if os.environ.get("TUNESCOPE_REQUIRE_DATA") == "1":
        pytest.fail(text)
    pytest.skip(text)
