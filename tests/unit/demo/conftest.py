"""The rows of the shipped domains, and the scripts that made them on the import path."""

import json
import sys
from pathlib import Path

import pytest

from tunescope.demo import domain_paths

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))


@pytest.fixture(scope="session")
def rows() -> dict[str, list[dict[str, str]]]:
    return {
        name: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for name, path in domain_paths().items()
    }
