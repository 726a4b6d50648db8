"""Batches of token ids: checked, moved to a device, cut into single sequences, padded and never packed."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tunescope.corpus.encoding import IGNORED, Example
from tunescope.errors import BadInput, UsageError


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences side by side: every tensor is (batch, seq); `mask` is 0 where there is only padding.

    `index` counts batches and `first` is the place of the first sequence in the data, from zero; `extra`
    holds whatever else the model is called with.
    """

    index: int
    first: int
    input_ids: Tensor
    mask: Tensor
    labels: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.input_ids.shape[0])

    def inputs(self) -> dict[str, Tensor]:
        """The keyword arguments of the model's forward pass; labels stay outside it."""
        return {"input_ids": self.input_ids, "attention_mask": self.mask, **self.extra}

    def on(self, device: torch.device | str) -> "Batch":
        """The same batch on a device; a GPU takes it once it comes to it, and the host does not wait."""
        extra = {name: _moved(value, device) for name, value in self.extra.items()}
        ids, mask, labels = (_moved(tensor, device) for tensor in (self.input_ids, self.mask, self.labels))
        return Batch(self.index, self.first, ids, mask, labels, extra)

    def sequences(self) -> Iterator["Batch"]:
        """Each sequence as a batch of one, without its padding."""
        for row in range(len(self)):
            yield self.sequence(row)

    def sequence(self, row: int) -> "Batch":
        """Sequence `row` as a batch of one, without its padding."""
        kept = self.mask[row] != 0

        def cut(tensor: Tensor) -> Tensor:
            return tensor[row, kept][None] if tensor.shape == self.mask.shape else tensor[row][None]

        extra = {name: cut(value) for name, value in self.extra.items()}
        ids, mask, labels = (cut(tensor) for tensor in (self.input_ids, self.mask, self.labels))
        return Batch(self.index, self.first + row, ids, mask, labels, extra)


def _moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    if tensor.device.type == "cpu" and torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def checked(batches: Iterable[Mapping[str, Any]], vocabulary: int | None = None) -> Iterator[Batch]:
    """The caller's mappings `input_ids`, `attention_mask`, `labels` as batches, numbered from zero.

    Arrays or nested lists of integers, all (batch, seq); a missing mask means that nothing is padding.
    Padding is moved behind the tokens, so that a model with absolute positions counts from the first token.

    Raises `BadInput` for missing or misshapen tensors, and for ids that are not below `vocabulary`.
    """
    first = 0
    for index, mapping in enumerate(batches):
        batch = _padded_right(_batch(mapping, index, first))
        _check_ids(batch, vocabulary)
        first += len(batch)
        yield batch


def _padded_right(batch: Batch) -> Batch:
    padding = batch.mask == 0
    shapes = {value.shape for value in batch.extra.values() if value.dim() > 1}
    if not (padding[:, :-1] & ~padding[:, 1:]).any() or shapes - {batch.mask.shape}:
        return batch
    order = padding.long().argsort(dim=1, stable=True)

    def moved(tensor: Tensor) -> Tensor:
        return tensor.gather(1, order.to(tensor.device)) if tensor.dim() > 1 else tensor

    extra = {name: moved(value) for name, value in batch.extra.items()}
    ids, mask, labels = moved(batch.input_ids), moved(batch.mask), moved(batch.labels)
    return Batch(batch.index, batch.first, ids, mask, labels, extra)


def _check_ids(batch: Batch, vocabulary: int | None) -> None:
    if not batch.input_ids.numel():
        return
    wanted = batch.labels[(batch.labels != IGNORED) & (batch.mask != 0)]
    for name, ids in (("input_ids", batch.input_ids), ("labels", wanted)):
        wrong = ids[(ids < 0) | (ids >= vocabulary if vocabulary else False)]
        if wrong.numel():
            raise BadInput(
                "token-range",
                f"{wrong.numel()} {name} of batch {batch.index} are no tokens of the model",
                expected=f"0 to {vocabulary - 1}" if vocabulary else "0 or more, in labels also -100",
                found=int(wrong[0]),
                fix="use the tokenizer that belongs to the model",
            )


def _batch(mapping: Mapping[str, Any], index: int, first: int) -> Batch:
    mapping = mapping if isinstance(mapping, Mapping) else {}
    if missing := [key for key in ("input_ids", "labels") if key not in mapping]:
        raise BadInput(
            "batch-keys",
            f"batch {index} has no {' and no '.join(missing)}",
            expected="a mapping with input_ids, attention_mask and labels",
            found=", ".join(map(str, mapping)) or None,
            fix="labels are token ids, -100 where no loss is taken",
        )
    tensors = {name: _tensor(name, value, index) for name, value in mapping.items() if value is not None}
    ids, labels = tensors.pop("input_ids"), tensors.pop("labels")
    mask = tensors.pop("attention_mask", torch.ones_like(ids))
    for name, tensor in (("input_ids", ids), ("attention_mask", mask), ("labels", labels)):
        if tensor.dim() != 2 or tensor.shape != ids.shape or tensor.is_floating_point():
            raise BadInput(
                "batch-shape",
                f"{name} of batch {index} is misshapen",
                expected=f"integers of shape {tuple(ids.shape) if ids.dim() == 2 else '(batch, seq)'}",
                found=f"{tensor.dtype} of shape {tuple(tensor.shape)}",
                fix="give every array of a batch one row for each sequence and one column for each token",
            )
    return Batch(index, first, ids, mask, labels, tensors)


def _tensor(name: str, value: Any, index: int) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (ValueError, TypeError, RuntimeError) as error:
        text = f"{name} of batch {index} is misshapen"
        raise BadInput(
            "batch-shape",
            text,
            expected="numbers, (batch, seq)",
            found=error,
            fix="give every array of a batch one row for each sequence and one column for each token",
        ) from error


def padded(examples: Sequence[Example], batch_size: int, pad_id: int = 0) -> list[dict[str, Tensor]]:
    """Examples in their order, `batch_size` at a time, padded on the right and never packed.

    >>> batch, = padded([Example([5, 6], [-100, 6]), Example([7], [7])], batch_size=2)
    >>> batch["attention_mask"].tolist(), batch["labels"].tolist()
    ([[1, 1], [1, 0]], [[-100, 6], [7, -100]])
    """
    if batch_size < 1:
        raise UsageError("batch-size", "a batch holds one sequence or more", found=batch_size)
    return [
        side_by_side(examples[at : at + batch_size], pad_id) for at in range(0, len(examples), batch_size)
    ]


def side_by_side(examples: Sequence[Example], pad_id: int = 0, multiple: int = 1) -> dict[str, Tensor]:
    """One batch, padded on the right to its longest example, or to the next `multiple` of tokens."""
    longest = max(len(example.input_ids) for example in examples)
    width = -(-longest // multiple) * multiple

    def rows(values: Iterable[Sequence[int]], filler: int) -> Tensor:
        return torch.tensor([[*value, *[filler] * (width - len(value))] for value in values])

    return {
        "input_ids": rows((e.input_ids for e in examples), pad_id),
        "attention_mask": rows(([1] * len(e.input_ids) for e in examples), 0),
        "labels": rows((e.labels for e in examples), IGNORED),
    }


class DataHash:
    """SHA-256 over the sequences seen, the same however they were batched and padded."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, batch: Batch) -> None:
        """Take in every sequence of the batch."""
        for sequence in batch.sequences():
            ids, labels = sequence.input_ids[0].tolist(), sequence.labels[0].tolist()
            self._digest.update(f"{len(ids)}:{ids}:{labels};".encode())

    def hex(self) -> str:
        """The digest so far."""
        return self._digest.hexdigest()
