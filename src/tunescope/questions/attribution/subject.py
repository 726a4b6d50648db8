"""What is attributed: a model that holds the base weights, and all that fine-tuning changed in it."""

import copy
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from tunescope.errors import BadInput, Missing, Notice, UsageError
from tunescope.lm.pretrained import load_model
from tunescope.lm.verification import said_of
from tunescope.questions.attribution.adapter import adapter_changes, left_to_merge, merged, unwrapped
from tunescope.questions.attribution.cells import Changes
from tunescope.questions.attribution.pair import pair_changes
from tunescope.source.live import live_weights
from tunescope.source.locate import CONFIG
from tunescope.source.open import open_source, read_file
from tunescope.source.opened import Source
from tunescope.words import counted

Place = str | Path
# What opening a whole model as an adapter is refused with.
_NO_ADAPTER = ("full-model", "no-weights", "no-adapter-on-hub", "keys-not-recognised")


@dataclass(frozen=True, eq=False)
class Subject:
    """`model` holds the base weights within `switched_off()`; `kind` is `adapter` or `checkpoint`."""

    model: nn.Module
    changes: Changes
    kind: str
    source: Source | None = None
    switched_off: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext)


def open_subject(
    tuned: Place | nn.Module,
    base: Place | nn.Module | None = None,
    *,
    dtype: str = "auto",
    device: str = "cpu",
    scale: float | None = None,
) -> Subject:
    """Open a tuned model against its base.

    `tuned` is an adapter (a folder, file or hub id), a whole checkpoint, a live model, or a live `PeftModel`,
    whose own base is used; `base` is a checkpoint or a live model. Raises `BadInput` where the two do not
    belong together, or differ only in buffers; two equal models have no cell and a notice.
    """
    if isinstance(tuned, nn.Module) and base is None:
        subject = _live(tuned)
    elif base is None:
        raise UsageError("no-base", "an attribution needs the base that was tuned", fix="give it with base=")
    else:
        model = base if isinstance(base, nn.Module) else load_model(base, dtype, device)
        if hasattr(tuned, "peft_config"):
            subject = _adapted_live(model, tuned)
        elif isinstance(tuned, nn.Module):
            subject = Subject(model, pair_changes(model, tuned), "checkpoint")
        elif (source := _adapter(tuned, scale)) is not None:
            subject = _adapted(model, source)
            _notice_name(subject, source, base)
        else:
            other = load_model(tuned, dtype, str(next(model.parameters()).device))
            subject = Subject(model, pair_changes(model, other), "checkpoint")
            subject.changes.notices += said_of(other, tuned)
    _notice_same(subject.changes)
    return subject


def _notice_same(changes: Changes) -> None:
    """Say that two models are the same; refuse a pair that differs only where no gradient reaches."""
    if changes.cells:
        return
    if changes.left:
        raise BadInput(
            "not-attributable",
            "the two models differ only in tensors that no gradient reaches",
            expected="a changed weight",
            found="; ".join(f"{name}: {why}" for name, why in list(changes.left.items())[:3]),
            fix="tunescope norms shows what differs; a merged checkpoint is attributed whole",
        )
    text = (
        "the tuned model and the base are identical: "
        f"{counted(changes.unchanged, 'tensor')} compared, all equal"
    )
    changes.notices.append(Notice("no-change", text))


def _adapter(tuned: Place, scale: float | None) -> Source | None:
    """The tuned place as an adapter, or `None` where it is a whole model."""
    folder = Path(tuned)
    if (folder / "config.json").is_file() and not (folder / CONFIG).exists():
        return None
    try:
        return open_source(os.fspath(tuned), scale=scale)
    except (BadInput, Missing) as error:
        if error.slug in _NO_ADAPTER and not folder.is_file():
            return None
        raise


def _adapted(model: nn.Module, source: Source) -> Subject:
    left = left_to_merge(source)
    if not left:
        tensors = {name: t for path in source.files for name, t in read_file(path).tensors.items()}
        changes = adapter_changes(model, source, tensors)
        source.verify_unchanged()
        return Subject(model, changes, "adapter", source)
    if source.format != "peft":
        raise BadInput(
            "not-attributable",
            "not all of the adapter can be attributed",
            file=source.location,
            expected="updates ΔW that the file defines",
            found="; ".join(left[:3]),
            fix="tunescope norms shows what differs; a merged checkpoint is attributed whole",
        )
    folder = source.files[0].parent if source.files else Path(source.location)
    changes = pair_changes(model, merged(model, str(folder)))
    changes.notices += _without_needs(source)
    return Subject(model, changes, "adapter", source)


def _without_needs(source: Source) -> list[Notice]:
    """The notices that still hold once the base is at hand."""
    return [notice for notice in source.notices if notice.slug not in ("needs-base", "not_understood")]


def _live(model: Any) -> Subject:
    """A live `PeftModel` on its own base."""
    if not hasattr(model, "peft_config"):
        raise UsageError(
            "no-base",
            "an attribution needs the base that was tuned",
            fix="give it with base=",
            expected="a PeftModel, or a model with base=",
            found=type(model).__name__,
        )
    if any(getattr(config, "bias", "none") != "none" for config in model.peft_config.values()):
        raise UsageError(
            "no-base", "the adapter's biases were trained in the base itself", fix="give it with base="
        )
    source = open_source(model)
    if not left_to_merge(source):
        changes = adapter_changes(model, source, live_weights(model).tensors)
        return Subject(model, changes, "adapter", source, model.disable_adapter)
    base = unwrapped(copy.deepcopy(model), "unload")
    return Subject(
        base, pair_changes(base, unwrapped(copy.deepcopy(model), "merge_and_unload")), "adapter", source
    )


def _adapted_live(base: nn.Module, model: Any) -> Subject:
    """A live `PeftModel` against a base of its own."""
    source = open_source(model)
    if not left_to_merge(source):
        return Subject(base, adapter_changes(base, source, live_weights(model).tensors), "adapter", source)
    tuned = unwrapped(copy.deepcopy(model), "merge_and_unload")
    return Subject(base, pair_changes(base, tuned), "adapter", source)


def _notice_name(subject: Subject, source: Source, base: Place | nn.Module) -> None:
    """Say where the adapter names another base than the one given: only the shapes are known to fit."""
    named = source.config.get("base_model_name_or_path")
    if isinstance(base, nn.Module) or not isinstance(named, str) or not named:
        return
    last = [
        str(place).split("@")[0].rstrip("/").rsplit("/", 1)[-1].lower() for place in (named, os.fspath(base))
    ]
    if last[0] != last[1]:
        text = (
            f"the adapter says it was tuned from {named}, the base given is {os.fspath(base)}; the shapes fit"
        )
        subject.changes.notices.append(Notice("base-name", text))
