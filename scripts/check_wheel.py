"""Every file of the package is in the wheel: `check_wheel.py WHEEL`."""

import sys
import zipfile
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
# Compiled where there is a compiler; what was made before is not in a wheel for any machine.
COMPILED = {"libunit_sums.so", "libmerging.so"}


def main(wheel: str) -> int:
    """Compare the wheel's names with those of the tree; the exit code."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("tunescope/")}
    skipped = {"__pycache__"} | COMPILED if wheel.endswith("-none-any.whl") else {"__pycache__"}
    there = {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "tunescope").rglob("*")
        if path.is_file() and not skipped & set(path.parts)
    }
    for name in sorted(there - packed):
        print(f"not in the wheel: {name}")
    for name in sorted(packed - there):
        print(f"only in the wheel: {name}")
    data = sum(not name.endswith(".py") for name in there)
    print(f"{Path(wheel).name}: {len(packed)} files, {data} of them data")
    return int(packed != there)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
