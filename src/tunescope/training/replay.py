"""The statistics of a capture as one CUDA graph, launched without waiting for the step or for the numbers."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunescope.training.gathered import Gathered
from tunescope.training.motion import COLUMNS, Motion


@dataclass(frozen=True, eq=False)
class Reading:
    """Statistics that the GPU may still be at work on: rows and their places, and when it began and ended."""

    motion: Motion
    rows: list[int]
    host: Tensor
    began: torch.cuda.Event
    ended: torch.cuda.Event

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """What `Motion.measure` gives; waits for it."""
        self.ended.synchronize()
        out = np.zeros((len(self.rows), COLUMNS))
        out[self.rows] = self.host.numpy()
        if (out[:, -1] < 0).any():
            # A norm whose terms cancel is taken from the copies, which stay until the next replay.
            ((_, values),) = self.motion.launch(recorded=True)
            out[self.rows] = values.cpu().numpy()
        return out

    @property
    def seconds(self) -> float:
        """The time it took on the GPU, once it has ended."""
        self.ended.synchronize()
        return float(self.began.elapsed_time(self.ended)) / 1e3


def numbers(measured: NDArray[np.float64] | Reading) -> NDArray[np.float64]:
    """The statistics, which a GPU may still be at work on."""
    return measured.values if isinstance(measured, Reading) else measured


class Replay:
    """A `Motion` recorded where its parameters lie; it holds as long as they stay there (see `holds`).

    Launching the statistics from Python takes three times as long as the GPU works on them.
    """

    def __init__(self, motion: Motion) -> None:
        self._motion = motion
        self._tensors = list(motion.trainable.parameters.values())
        self._places = self._now()
        device = self._tensors[0].device
        # Kept, for the graph reads its arrays.
        self._gathered = Gathered.of(motion)
        launch = motion.launch if self._gathered is None else self._gathered.launch
        with torch.cuda.device(device):
            # Once launched from Python, so that every kernel is there before it is recorded.
            launch()
            self._graph = torch.cuda.CUDAGraph()
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                # Other threads of a trainer may allocate meanwhile.
                self._graph.capture_begin(capture_error_mode="thread_local")
                try:
                    ((self._rows, self._values),) = launch()
                finally:
                    self._graph.capture_end()
            torch.cuda.current_stream().wait_stream(stream)
            # Made once: making them takes as long as the launch.
            self._host = torch.empty(self._values.shape, dtype=self._values.dtype, pin_memory=True)
            self._began, self._ended = _event(), _event()

    @classmethod
    def of(cls, motion: Motion) -> "Replay | None":
        """The recording of a motion that lies on one GPU with its start, or None where there is none."""
        tensors = list(motion.trainable.parameters.values())
        devices = {tensor.device for tensor in tensors}
        if len(devices) != 1 or next(iter(devices)).type != "cuda" or not motion.start_on_device:
            return None
        try:
            return cls(motion)
        except RuntimeError:
            # Whatever a recorder refuses is measured from Python.
            return None

    def _now(self) -> list[int]:
        # Mapped, for it is asked at every step of every parameter.
        return list(map(Tensor.data_ptr, self._tensors))

    def holds(self) -> bool:
        """Whether every parameter lies where it was recorded."""
        return self._now() == self._places

    def launch(self) -> Reading:
        """Start measuring what the parameters hold at this point of the stream.

        A reading is to be read before the next launch, which writes over its numbers and its copies.
        """
        self._began.record()
        self._graph.replay()
        self._host.copy_(self._values, non_blocking=True)
        self._ended.record()
        return Reading(self._motion, self._rows, self._host, self._began, self._ended)


def _event() -> torch.cuda.Event:
    event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event
