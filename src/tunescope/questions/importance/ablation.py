"""`ablation`: how much the loss rises without a tensor."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tunescope.lm.batches import Batch
from tunescope.lm.masks import ahead
from tunescope.lm.parameters import Parameters, Row, Scored
from tunescope.questions.importance.setting import Samples, Setting, taken

# Tensors of one block whose zeroing has the same effect: the branch they all lead through is gone. Holds
# without biases, for norms that multiply by their weight, in blocks built like Llama's.
_EQUAL = (
    ("self_attn.v_proj", "self_attn.o_proj", "input_layernorm"),
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.q_norm", "self_attn.k_norm"),
    ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "post_attention_layernorm"),
)
_LIKE_LLAMA = {"llama", "mistral", "qwen3"}

Place = tuple[Scored, int]


class Ablation:
    """Samples of loss(tensor zeroed) − loss, paired per sequence, for every row."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.classes = equal_classes(setting.model, setting.parameters)

    def __call__(self, batch: Batch) -> Iterator[Samples]:
        kept = [row for row, count in enumerate(self.setting.scored_tokens(batch)) if count]
        if not kept:
            return
        values = torch.zeros(len(kept), len(self.setting.parameters), dtype=torch.float64)
        with torch.no_grad():
            before = self.setting.losses(batch)[kept].double()
            found: list[Tensor] = []
            for places in self.classes:
                with zeroed(*places[0]):
                    found.append(self.setting.losses(batch)[kept].double() - before)
            for places, rises in zip(self.classes, torch.stack(found).cpu(), strict=True):
                for entry, group in places:
                    values[:, entry.first + group] = rises
        numbers = [batch.first + row for row in kept]
        yield Samples("ablation", numbers, [1.0] * len(kept), values.numpy())


@contextmanager
def zeroed(entry: Scored, group: int) -> Iterator[None]:
    """The model with the weights of one row at zero."""
    weights = entry.part(group)
    saved = weights.clone()
    weights.fill_(-entry.offset)
    try:
        yield
    finally:
        weights.copy_(saved)


def equal_classes(model: nn.Module, parameters: Parameters) -> list[list[Place]]:
    """Rows grouped so that zeroing any of a group has one effect; most groups hold one row."""
    known = getattr(getattr(model, "config", None), "model_type", None) in _LIKE_LLAMA
    biased = any(row.layer is not None and row.parameter.endswith("bias") for row in parameters.rows)
    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    groups: dict[object, list[Place]] = defaultdict(list)
    for entry in parameters.scored:
        for group in range(entry.groups):
            row = parameters.rows[entry.first + group]
            # A tensor that other layers use too does more than its own block's branch.
            key = _class(row) if known and not biased and uses[id(entry.parameter)] == 1 else None
            groups[key or (entry.name, group)].append((entry, group))
    return list(groups.values())


def _class(row: Row) -> object:
    plain = row.layer is not None and row.expert is None and re.search(r"\.layers\.\d+\.", row.name)
    for members in _EQUAL if plain else ():
        if row.parameter in members:
            return (row.stack, row.layer, members)
    return None


class Loss:
    """Samples of the loss itself, weighted by tokens."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def __call__(self, batch: Batch) -> Iterator[Samples]:
        counts = self.setting.scored_tokens(batch)
        kept = [row for row, count in enumerate(counts) if count]
        if kept:
            with torch.no_grad(), ahead(self.setting.model, batch, self.setting.device) as there:
                losses = taken(self.setting.losses(there), kept).double()
            numbers = [batch.first + row for row in kept]
            yield Samples("loss", numbers, [float(counts[row]) for row in kept], losses[:, None])
