"""What is done while a checkpoint is read."""

import pytest
import torch

from tunescope.questions.importance import warming
from tunescope.questions.importance.reduction import SUMS


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rehearsal_goes_through_a_pass_and_its_reduction(dtype):
    sums = warming.rehearse(torch.device("cpu"), dtype)
    assert sums.shape == (1, SUMS)
    assert torch.isfinite(sums).all()


def test_nothing_is_rehearsed_for_a_processor(monkeypatch):
    monkeypatch.setattr(warming, "rehearse", lambda *_: pytest.fail("a processor needs no rehearsal"))
    with warming.warming("cpu", "auto"):
        pass


def test_a_failed_rehearsal_leaves_the_loading_alone(monkeypatch):
    begun = []

    def broken(*given):
        begun.append(given)
        raise RuntimeError("no device")

    monkeypatch.setattr(warming, "rehearse", broken)
    with warming.warming("cuda:0", "float16"):
        loaded = True
    assert loaded
    assert begun == [(torch.device("cuda:0"), torch.float16)]
