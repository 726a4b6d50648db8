"""A killed attribution goes on where it stopped."""

import numpy as np
import torch
from torch import nn

from tunescope.lm.batches import checked
from tunescope.questions.attribution.integral import integrate
from tunescope.questions.attribution.pair import pair_changes
from tunescope.questions.attribution.path import opened_path
from tunescope.questions.attribution.state import KEPT
from tunescope.study.state import forget_state


class Bigram(nn.Module):
    """Predicts the next token from the last one alone."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(5, 5, generator=generator))
        self.bias = nn.Parameter(torch.randn(5, generator=generator))

    def forward(self, input_ids, attention_mask):
        return self.table[input_ids] + self.bias


def data(count):
    ids = torch.arange(4 * 6).reshape(4, 6) % 5
    return [{"input_ids": row[None], "labels": row[None]} for row in ids[:count]]


def run(batches, state, nodes=5, killed_at=None):
    """The integral, and the passes that were made for it."""
    base = Bigram(0)
    seen = []

    def progress(*told):
        seen.append(told[1])
        if len(seen) == killed_at:
            raise KeyboardInterrupt

    with opened_path(base, pair_changes(base, Bigram(1))) as path:
        taken = list(checked(batches))
        try:
            return integrate(path, taken, nodes=nodes, most=nodes, progress=progress, state=state), seen
        except KeyboardInterrupt:
            return None, seen


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    """Killed in the third of five nodes: the next run computes the last three, and has the same numbers."""
    assert run(data(2), tmp_path, killed_at=5)[0] is None
    resumed, seen = run(data(2), tmp_path)
    assert seen == [4, 5, 6, 7, 8, 9]
    whole, seen = run(data(2), None)
    assert seen == list(range(10))
    np.testing.assert_array_equal(resumed.parts, whole.parts)


def test_nodes_of_a_smaller_set_are_used_again(tmp_path):
    """Nine nodes after five: four are new."""
    run(data(2), tmp_path)
    more, seen = run(data(2), tmp_path, nodes=9)
    assert len(seen) == 4 * 2
    np.testing.assert_array_equal(more.parts, run(data(2), None, nodes=9)[0].parts)


def test_what_was_kept_of_other_data_is_not_used(tmp_path):
    run(data(2), tmp_path)
    _, seen = run(data(3), tmp_path)
    assert len(seen) == 5 * 3


def test_only_what_was_kept_is_removed(tmp_path):
    """A finished run clears its own files and nothing else."""
    run(data(1), tmp_path / "state")
    forget_state(tmp_path / "state", KEPT)
    assert not (tmp_path / "state").exists()
    run(data(1), tmp_path / "state")
    (tmp_path / "state" / "mine.txt").write_text("kept")
    forget_state(tmp_path / "state", KEPT)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["mine.txt"]
