"""The library that is compiled anew for the tests of what it holds."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from scripts import build_kernel

from tunescope.linalg.compiled import library_of


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Gives the library of a source, compiled now, whatever lies in the source tree."""

    @cache
    def build(source: Path) -> Path:
        if build_kernel.compiler() is None:
            pytest.skip("no C compiler is here")
        library = tmp_path_factory.mktemp("kernel") / library_of(source).name
        assert build_kernel.build(library) == ""
        return library

    return build
