"""Examples of different lengths as one padded batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.utils.data import Dataset

from tunescope.corpus import Example
from tunescope.lm.batches import side_by_side


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
        return side_by_side(examples, self.pad_token, self.multiple)


def padding_for(tokenizer: object, on_gpu: bool) -> Padding:
    """Padding with the tokenizer's own token, or its end token where it has none."""
    token = getattr(tokenizer, "pad_token_id", None)
    if token is None:
        token = getattr(tokenizer, "eos_token_id", None)
    return Padding(0 if token is None else int(token), 8 if on_gpu else 1)
