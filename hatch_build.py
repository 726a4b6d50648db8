"""Compiles the C sources where there is a C compiler; a wheel without them is pure Python."""

import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledPass(BuildHookInterface):
    """Builds into the source tree, where an editable installation finds it, and packs it into wheels."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; say why where that is not possible."""
        sys.path.insert(0, self.root)
        from scripts.build_kernel import LIBRARIES, build

        why_not = [reason for library in LIBRARIES if (reason := build(library))]
        if why_not:
            self.app.display_warning(f"not compiled, NumPy takes its place: {why_not[0]}")
            return
        root = Path(self.root)
        build_data["artifacts"] += [library.relative_to(root).as_posix() for library in LIBRARIES]
        build_data["pure_python"] = False
        # It knows nothing of Python: one wheel for all versions of it.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
