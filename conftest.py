"""What collecting doctests must leave out: modules that need triton, which only CUDA builds of torch bring."""

import importlib.util

_KERNELS = [
    "src/tunescope/questions/importance/triton_reduction.py",
    "src/tunescope/training/triton_moments.py",
]
collect_ignore = [] if importlib.util.find_spec("triton") else _KERNELS
