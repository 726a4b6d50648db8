"""What collecting doctests must leave out: one module needs triton, which only CUDA builds of torch bring."""

import importlib.util

collect_ignore = (
    [] if importlib.util.find_spec("triton") else ["src/tunescope/questions/importance/triton_reduction.py"]
)
