"""Where did fine-tuning change this model: how much, in which directions, when, and does it matter?

The names below are loaded when first used, so that importing the package stays cheap:

- `norms(sources)` measures every ΔW and returns a `Table`;
- `subspace(a, b)` compares the directions of two or more models' changes with each other and with chance;
- `importance(model, batches)` scores every parameter by how much the predictions depend on it;
- `attribute(model, batches, base=…)` says which changes bought the gain;
- `TrainingCapture()` is the trainer callback that records how far weights move;
- `norm_heatmap`, `layer_profile` and `top_components` draw such a table on matplotlib axes (`ax=`);
- `open_source(spec)` opens an adapter, a live model or a state dict;
- `Table`, `Address`, `Delta`, `Factored`, `Dense` are the types that everything speaks.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunescope.address import Address as Address
    from tunescope.delta import Delta as Delta
    from tunescope.delta import Dense as Dense
    from tunescope.delta import Factored as Factored
    from tunescope.errors import TunescopeError as TunescopeError
    from tunescope.questions.attribution.attribution import attribute as attribute
    from tunescope.questions.importance.scores import importance as importance
    from tunescope.questions.norms.figures import layer_profile as layer_profile
    from tunescope.questions.norms.figures import norm_heatmap as norm_heatmap
    from tunescope.questions.norms.figures import top_components as top_components
    from tunescope.questions.norms.table import norms as norms
    from tunescope.questions.subspace.table import subspace as subspace
    from tunescope.source.open import open_source as open_source
    from tunescope.table import Table as Table
    from tunescope.training.capture import TrainingCapture as TrainingCapture

from tunescope.version import __version__

_HOME = {
    "Address": "tunescope.address",
    "Delta": "tunescope.delta",
    "Dense": "tunescope.delta",
    "Factored": "tunescope.delta",
    "Table": "tunescope.table",
    "TrainingCapture": "tunescope.training.capture",
    "TunescopeError": "tunescope.errors",
    "attribute": "tunescope.questions.attribution.attribution",
    "norms": "tunescope.questions.norms.table",
    "importance": "tunescope.questions.importance.scores",
    "layer_profile": "tunescope.questions.norms.figures",
    "norm_heatmap": "tunescope.questions.norms.figures",
    "top_components": "tunescope.questions.norms.figures",
    "open_source": "tunescope.source.open",
    "subspace": "tunescope.questions.subspace.table",
}

__all__ = [
    "Address",
    "Delta",
    "Dense",
    "Factored",
    "Table",
    "TrainingCapture",
    "TunescopeError",
    "__version__",
    "attribute",
    "importance",
    "layer_profile",
    "norm_heatmap",
    "norms",
    "open_source",
    "subspace",
    "top_components",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tunescope' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
