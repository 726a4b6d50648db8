"""Where did fine-tuning change this model: how much, in which directions, when, and does it matter?

The names below are loaded when first used, so that importing the package stays cheap. Every question
returns a `Study`: its tables, its readout, its findings, its pictures, saved and read back whole.

- `check(*sources, base=...)` says what adapter files are and whether they attach to a base;
- `norms(*sources)` measures how much every weight changed;
- `subspace(*sources)` compares the directions of changes with each other and with chance;
- `trajectory(*runs)` follows how the layers moved during training;
- `importance(model, data)` scores every parameter by how much the predictions depend on it;
- `attribute(tuned, base, data)` says which changes bought the gain;
- `finetune(recipe, data, output)` trains a sweep with its motion recorded, a source for `trajectory`;
- `verify(merged, *adapters, base=…)` says whether adapters are in a checkpoint, once, with their scale;
- `read(folder)` gives back the study that a command wrote there;
- `TrainingCapture()` is the trainer callback that records how far weights move;
- `open_source(spec)` opens an adapter, a live model or a state dict;
- `Study`, `Table`, `Address`, `Delta`, `Factored`, `Dense` are the types that everything speaks.
"""

from typing import TYPE_CHECKING, Any

from tunescope.version import __version__

if TYPE_CHECKING:
    from tunescope.address import Address as Address
    from tunescope.delta import Delta as Delta
    from tunescope.delta import Dense as Dense
    from tunescope.delta import Factored as Factored
    from tunescope.errors import TunescopeError as TunescopeError
    from tunescope.questions.attribution.study import attribute as attribute
    from tunescope.questions.check.study import check as check
    from tunescope.questions.importance.study import importance as importance
    from tunescope.questions.listed import read as read
    from tunescope.questions.norms.study import norms as norms
    from tunescope.questions.subspace.study import subspace as subspace
    from tunescope.questions.trajectory.study import trajectory as trajectory
    from tunescope.questions.verify.study import verify as verify
    from tunescope.reader import reading as reading
    from tunescope.source.open import open_source as open_source
    from tunescope.study.study import Study as Study
    from tunescope.table import Table as Table
    from tunescope.training.capture import TrainingCapture as TrainingCapture
    from tunescope.training.fine_tuning import finetune as finetune

_HOME = {
    "Address": "tunescope.address",
    "Delta": "tunescope.delta",
    "Dense": "tunescope.delta",
    "Factored": "tunescope.delta",
    "Study": "tunescope.study.study",
    "Table": "tunescope.table",
    "TrainingCapture": "tunescope.training.capture",
    "TunescopeError": "tunescope.errors",
    "attribute": "tunescope.questions.attribution.study",
    "check": "tunescope.questions.check.study",
    "finetune": "tunescope.training.fine_tuning",
    "importance": "tunescope.questions.importance.study",
    "norms": "tunescope.questions.norms.study",
    "open_source": "tunescope.source.open",
    "read": "tunescope.questions.listed",
    "reading": "tunescope.reader",
    "subspace": "tunescope.questions.subspace.study",
    "trajectory": "tunescope.questions.trajectory.study",
    "verify": "tunescope.questions.verify.study",
}

__all__ = [
    "Address",
    "Delta",
    "Dense",
    "Factored",
    "Study",
    "Table",
    "TrainingCapture",
    "TunescopeError",
    "__version__",
    "attribute",
    "check",
    "finetune",
    "importance",
    "norms",
    "open_source",
    "read",
    "reading",
    "subspace",
    "trajectory",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tunescope' has no attribute {name!r}")
    # Deferred: importing the package stays cheap.
    from tunescope.extras import public

    return public(name, _HOME[name])


def __dir__() -> list[str]:
    return __all__
