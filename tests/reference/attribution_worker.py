"""The attribution of a tiny fine-tune in a process of its own, alone or as one of several: OUT.npz."""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from importance_models import qwen3, sequences

from tunescope.lm.processes import join_group, world
from tunescope.questions.attribution.attribution import attribute_batches

LENGTHS = [9, 14, 6, 11, 8]


def attributed():
    """Base and a shifted copy, attributed and put back."""
    base, tuned = qwen3(), qwen3()
    generator = torch.Generator().manual_seed(5)
    for parameter in tuned.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator).to(parameter)
    return attribute_batches(tuned, sequences(LENGTHS), base=base, put_back=3)


def arrays(found):
    """What two launches are compared by."""
    cells = {name: found.frame[name].to_numpy() for name in ("attribution", "stderr", "share")}
    return cells | {
        "sums": np.array([found.summary[name] for name in ("base_loss", "tuned_loss", "residual", "nodes")]),
        "measured": found.verification["measured"].to_numpy(),
    }


def main():
    join_group()
    found = attributed()
    if world()[0] == 0:
        np.savez(sys.argv[1], **arrays(found))


if __name__ == "__main__":
    main()
