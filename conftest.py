"""What collecting doctests leaves out: modules that need triton, which only CUDA builds bring."""

import importlib.util
from pathlib import Path

_KERNELS = [str(path) for path in Path(__file__).parent.glob("src/tunescope/**/triton_*.py")]

collect_ignore = [] if importlib.util.find_spec("triton") else _KERNELS
