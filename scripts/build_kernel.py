"""Compile the pass over units of values, and replays, into the source tree: `python -m scripts.build_kernel`.

Needs a C compiler (`$CC`, cc, gcc or clang) on Linux. Without one NumPy gives the same numbers, bit for bit,
in several times the time. `TUNESCOPE_NUMPY_ONLY=1` leaves it out of what is built.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

LINALG = Path(__file__).parents[1] / "src" / "tunescope" / "linalg"
SOURCES = LINALG / "unit_sums.c", LINALG / "merging.c"
LIBRARIES = tuple(source.with_name(f"lib{source.stem}.so") for source in SOURCES)
# No contraction: a fused multiply-add would round once where NumPy rounds twice.
FLAGS = ("-O2", "-ffp-contract=off", "-Wno-psabi", "-shared", "-fPIC")


def compiler() -> list[str] | None:
    """The command of a C compiler, `None` where there is none or it is not wanted."""
    if os.environ.get("TUNESCOPE_NUMPY_ONLY") or not sys.platform.startswith("linux"):
        return None
    named = shlex.split(os.environ.get("CC", ""))
    for command in (named, ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            return command
    return None


def build(library: Path) -> str:
    """Compile `lib….so` of the source of its name, whole or not at all; why not, empty where it is there."""
    command = compiler()
    if command is None:
        return "no C compiler"
    source = LINALG / f"{library.stem.removeprefix('lib')}.c"
    made_of = sha256(source.read_bytes()).hexdigest()
    try:
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder) / library.name
            arguments = [*command, *FLAGS, f'-DSOURCE="{made_of}"', str(source), "-o", str(made)]
            done = subprocess.run(arguments, capture_output=True, text=True, check=False)
            if done.returncode:
                return f"{shlex.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}"
            made.replace(library)
    except OSError as refusal:
        return str(refusal)
    return ""


if __name__ == "__main__":
    for library in LIBRARIES:
        why_not = build(library)
        print(
            f"{library.name}: {f'not compiled, NumPy takes its place: {why_not}' if why_not else 'compiled'}"
        )
