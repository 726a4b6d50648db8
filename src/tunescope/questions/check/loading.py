"""What transformers calls the weights of a model once they are loaded, where its files have other names.

Adapters have the names of the loaded model, or those that an older version gave it; PEFT takes both.
"""

from collections.abc import Iterator
from dataclasses import replace

from tunescope.questions.check.base import BaseNames
from tunescope.questions.check.names import BY_PLACE
from tunescope.source.denoisers import behind_prefix
from tunescope.source.loader_names import loaded_names
from tunescope.source.opened import Source

_BY_TYPE = "transformers gives them other names as it loads a model of type {}"

# What stands in front of every name in a model with a head and of none in the model alone.
_BODIES = ("model.", "transformer.", "bert.", "roberta.", "distilbert.", "deberta.", "vit.", "gpt_neox.")
_ALONE = "FEATURE_EXTRACTION"
_WITHOUT_HEAD = "AutoModel loads the base without its head, and so without {!r} in front of its names"
_WITH_HEAD = "the class for {} puts {!r} in front of the base's names as it loads it"


def spellings(base: BaseNames, source: Source) -> Iterator[BaseNames]:
    """The base under its own names, and under those that a loader gives it, with the loader's rule in words.

    Which class loads the base for an adapter stands in its config (`task_type`).
    """
    yield base
    if source.format in BY_PLACE and (shapes := behind_prefix(base.shapes)) is not base.shapes:
        yield replace(base, shapes=shapes)
    kind = str(base.config.get("model_type"))
    for towers in (True, False):
        if shapes := loaded_names(base.shapes, base.config, towers=towers):
            yield replace(base, shapes=shapes, loading=_BY_TYPE.format(kind))
    task = source.config.get("task_type")
    body = next((body for body in _BODIES if any(name.startswith(body) for name in base.shapes)), None)
    if task == _ALONE and body is not None:
        shapes = {name.removeprefix(body): shape for name, shape in base.shapes.items()}
        yield replace(base, shapes=shapes, loading=_WITHOUT_HEAD.format(body))
    elif isinstance(task, str) and task != _ALONE and body is None:
        for one in _BODIES:
            shapes = {f"{one}{name}": shape for name, shape in base.shapes.items()}
            yield replace(base, shapes=shapes, loading=_WITH_HEAD.format(task, one))
