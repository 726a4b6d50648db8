"""What collecting doctests leaves out: modules that need triton, which only CUDA builds bring."""

import importlib.util

_KERNELS = [
    "src/tunescope/questions/importance/triton_reduction.py",
    "src/tunescope/training/triton_moments.py",
]
collect_ignore = [] if importlib.util.find_spec("triton") else _KERNELS
