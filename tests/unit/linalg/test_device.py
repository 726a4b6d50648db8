"""One reading of `--device` for every command."""

import pytest

from tunescope.errors import Exhausted, UsageError
from tunescope.linalg import device


@pytest.fixture
def gpus(monkeypatch):
    def have(count, current=0):
        monkeypatch.setattr(device, "_gpus", lambda: count)
        monkeypatch.setattr(device, "_current", lambda: current)

    return have


def test_auto_takes_this_process_s_gpu_where_there_is_one(gpus):
    gpus(0)
    assert device.resolve("auto") == "cpu"
    gpus(2, current=1)
    assert [device.resolve(name) for name in ("auto", "cuda", "cuda:0", "cpu")] == [
        "cuda:1", "cuda:1", "cuda:0", "cpu",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["", "gpu", "meta", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cpu:0"])
def test_other_names_are_refused(gpus, name):
    gpus(1)
    with pytest.raises(UsageError, match="bad-device"):
        device.resolve(name)


@pytest.mark.parametrize(("count", "name"), [(0, "cuda"), (0, "cuda:0"), (2, "cuda:2")])
def test_a_gpu_that_is_not_there_is_exhausted(gpus, count, name):
    gpus(count)
    with pytest.raises(Exhausted, match="no-device"):
        device.resolve(name)
