"""Examples of different lengths as one padded batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from tunescope.corpus import Example
from tunescope.corpus.encoding import IGNORED


class Examples(Dataset[Example]):
    """Encoded examples as a data set of the trainer."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


@dataclass(frozen=True)
class Padding:
    """Pads a batch on the right to its longest example; padding is masked and carries no loss.

    >>> batch = Padding(0)([Example([5, 6], [5, 6]), Example([7], [7])])
    >>> batch["input_ids"].tolist(), batch["labels"].tolist()
    ([[5, 6], [7, 0]], [[5, 6], [7, -100]])
    """

    pad_token: int
    multiple: int = 1

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        longest = max(len(example.input_ids) for example in examples)
        length = -(-longest // self.multiple) * self.multiple
        ids = torch.full((len(examples), length), self.pad_token, dtype=torch.long)
        labels = torch.full_like(ids, IGNORED)
        mask = torch.zeros_like(ids)
        for row, example in enumerate(examples):
            count = len(example.input_ids)
            ids[row, :count] = torch.tensor(example.input_ids)
            labels[row, :count] = torch.tensor(example.labels)
            mask[row, :count] = 1
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def padding_for(tokenizer: object, on_gpu: bool) -> Padding:
    """Padding with the tokenizer's own token, or its end token where it has none."""
    token = getattr(tokenizer, "pad_token_id", None)
    if token is None:
        token = getattr(tokenizer, "eos_token_id", None)
    return Padding(0 if token is None else int(token), 8 if on_gpu else 1)
