"""The motion of each layer, given to the trackers that a trainer already reports to."""

import logging
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from transformers.integrations import (
    INTEGRATION_TO_CALLBACK,
    TensorBoardCallback,
    TrackioCallback,
    WandbCallback,
)
from transformers.trainer_callback import CallbackHandler

logger = logging.getLogger("tunescope")

GROUP = "tunescope"


def calling_handler() -> CallbackHandler | None:
    """The trainer's list of callbacks, from which a callback is being called; none is given it otherwise."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, CallbackHandler):
            return caller
        frame = frame.f_back
    return None


def layer_values(labels: pl.DataFrame, values: NDArray[np.float64]) -> dict[str, float]:
    """‖ΔW‖_F and mean |Δ| of every numbered layer of one capture, under names that sort and group.

    `labels` has a row a matrix, `values` its statistics as `Motion.measure` gives them. The norm is
    √Σ‖ΔW‖² over the layer's modules, without those whose ΔW is unknown; the mean is the unweighted one over
    its matrices. Layers of several stacks have the stack's name in theirs.
    """
    frame = labels.with_columns(
        norm=pl.Series(values[:, 4], dtype=pl.Float64), moved=pl.Series(values[:, 2], dtype=pl.Float64)
    ).filter(pl.col("layer").is_not_null())
    if not frame.height:
        return {}
    # Both factors of a module carry its norm.
    module = ["stack", "layer", "module_type", "expert"]
    norms = frame.filter("known").unique(module, keep="first", maintain_order=True)
    squares = norms.group_by("stack", "layer", maintain_order=True).agg((pl.col("norm") ** 2).sum().sqrt())
    means = frame.group_by("stack", "layer", maintain_order=True).agg(pl.col("moved").mean())
    several = frame["stack"].n_unique() > 1
    width = max(2, len(str(max(frame["layer"].to_list()))))
    found = {}
    for measure, rows in (("delta_norm", squares), ("delta_abs_mean", means)):
        for stack, layer, value in rows.sort("stack", "layer").iter_rows():
            place = f"{stack}/" if several else ""
            found[f"{GROUP}/{measure}/{place}layer_{layer:0{width}d}"] = float(value)
    return found


class Trackers:
    """The trackers among a trainer's callbacks. A tracker that fails is left alone from then on."""

    def __init__(self, handler: CallbackHandler | None) -> None:
        known = tuple(INTEGRATION_TO_CALLBACK.values())
        callbacks = [] if handler is None else handler.callbacks
        self._callbacks = [callback for callback in callbacks if isinstance(callback, known)]

    def __len__(self) -> int:
        return len(self._callbacks)

    def report(self, values: Mapping[str, float], args: Any, state: Any, control: Any) -> None:
        """Give every tracker the values at the state's step."""
        for callback in list(self._callbacks):
            try:
                _give(callback, values, args, state, control)
            # A tracker is another's code and often a network away: whatever it raises, training goes on.
            except Exception as problem:
                self._callbacks.remove(callback)
                name = type(callback).__name__
                logger.warning("tunescope: the motion is no longer given to %s: %s", name, problem)


def _give(callback: Any, values: Mapping[str, float], args: Any, state: Any, control: Any) -> None:
    step = {"train/global_step": state.global_step}
    if isinstance(callback, TensorBoardCallback):
        # The trainer's own writer, for under `on_log` every name is put below `train/`.
        if callback.tb_writer is not None:
            for name, value in values.items():
                callback.tb_writer.add_scalar(name, value, state.global_step)
    elif isinstance(callback, WandbCallback):
        if callback._wandb is not None:
            callback._wandb.log({**values, **step})
    elif isinstance(callback, TrackioCallback):
        # It counts rows unless told a step, and a row of ours between would shift the trainer's own curves.
        callback._trackio.log({**values, **step}, step=state.global_step)
    else:
        callback.on_log(args, state, control, logs=dict(values))
