"""Fine-tuning with its motion recorded: the capture callback, the recipe and the sweep.

The names below are loaded when first used: most of them need torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunescope.training.capture import TrainingCapture as TrainingCapture
    from tunescope.training.recording import read_capture as read_capture

_HOME = {
    "TrainingCapture": "tunescope.training.capture",
    "read_capture": "tunescope.training.recording",
}

__all__ = ["TrainingCapture", "read_capture"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tunescope.training' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
