"""Fine-tuning with its motion recorded: the capture callback, the recipe and the sweep.

The names below are loaded when first used: most of them need torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunescope.training.capture import TrainingCapture as TrainingCapture
    from tunescope.training.fine_tuning import finetune as finetune
    from tunescope.training.recipe import Recipe as Recipe
    from tunescope.training.recording import read_capture as read_capture

_HOME = {
    "Recipe": "tunescope.training.recipe",
    "TrainingCapture": "tunescope.training.capture",
    "finetune": "tunescope.training.fine_tuning",
    "read_capture": "tunescope.training.recording",
}

__all__ = ["Recipe", "TrainingCapture", "finetune", "read_capture"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tunescope.training' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
