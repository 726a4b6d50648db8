"""A base on the hub beside an adapter: only weights that the adapter touches are fetched, each byte once."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from tests.unit.source.test_hub import COMMIT, STEM, Hub, adapter, server

import tunescope
from tunescope.source.files import spooled
from tunescope.source.files.spooled import SpooledFile
from tunescope.study.study import Study

__all__ = ["server"]

TOUCHED = STEM.removeprefix("base_model.model.") + ".weight"
WEIGHT = np.arange(24, dtype=np.float32).reshape(4, 6)
OTHERS = {f"model.layers.{k}.mlp.up_proj.weight": np.ones((500, 500), np.float32) for k in range(3)}
MEASURES: dict[str, Callable[[], Study]] = {
    "norms": lambda: tunescope.norms("org/name", base="org/base"),
    "subspace": lambda: tunescope.subspace("a=org/name", "b=org/name", base="org/base"),
}


def fetched_of_base(server: Hub, ask: Callable[[], Study]) -> tuple[Study, int]:
    """What a question found, and how many bytes of weights were sent meanwhile."""
    before = server.sent
    return ask(), server.sent - before


def whole_downloads(server: Hub) -> list[str]:
    return [
        path
        for path, headers in zip(server.asked, server.headers, strict=True)
        if "org/base/resolve/" in path and path.endswith(".safetensors") and not ranged(headers)
    ]


def ranged(headers: dict[str, str]) -> bool:
    return any(key.lower() == "range" for key in headers)


@pytest.mark.parametrize("question", MEASURES)
def test_only_the_touched_weights_of_a_base_are_fetched(server: Hub, question: str) -> None:
    whole = save({TOUCHED: WEIGHT, **OTHERS})
    server.files |= adapter() | {"org/base/model.safetensors": whole, "org/base/config.json": b"{}"}
    MEASURES["norms"]()
    _, sent = fetched_of_base(server, MEASURES[question])
    assert WEIGHT.nbytes < sent <= spooled.FIRST + WEIGHT.nbytes
    assert sent < len(whole) / 100


def test_of_shards_only_the_headers_and_the_touched_weights_are_fetched(server: Hub) -> None:
    parts = [{TOUCHED: WEIGHT}, *({name: tensor} for name, tensor in OTHERS.items())]
    shards = {f"model-{n:05d}-of-00004.safetensors": part for n, part in enumerate(parts, 1)}
    index = {"metadata": {}, "weight_map": {name: s for s, part in shards.items() for name in part}}
    server.files |= adapter() | {f"org/base/{name}": save(part) for name, part in shards.items()}
    server.files["org/base/model.safetensors.index.json"] = json.dumps(index).encode()
    study, sent = fetched_of_base(server, MEASURES["norms"])
    assert sent <= len(shards) * spooled.FIRST + WEIGHT.nbytes
    assert study.table.frame["relative_norm"][0] == pytest.approx(
        2 * 2 * np.sqrt(24) / np.linalg.norm(WEIGHT)
    )


def test_what_is_measured_is_that_of_the_same_base_on_disk(server: Hub, tmp_path: Path) -> None:
    whole = {TOUCHED: WEIGHT, **OTHERS}
    server.files |= adapter() | {"org/base/model.safetensors": save(whole)}
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(save(whole))
    near = tunescope.norms("org/name", base=tmp_path / "base")
    assert MEASURES["norms"]().table.equals(near.table)


def test_a_study_names_commit_and_etag_of_a_base_of_which_parts_were_read(server: Hub) -> None:
    server.files |= adapter() | {"org/base/model.safetensors": save({TOUCHED: WEIGHT})}
    base = next(s for s in MEASURES["norms"]().sources if s["label"] == "base")
    assert (base["location"], base["revision"]) == (f"hf://org/base@{COMMIT}", COMMIT)
    assert base["files"][0]["digest"]["kind"] == "hub_etag"


def test_a_base_that_the_cache_holds_is_read_there(server: Hub) -> None:
    server.files |= adapter() | {"org/base/model.safetensors": save({TOUCHED: WEIGHT, **OTHERS})}
    from huggingface_hub import hf_hub_download

    hf_hub_download("org/base", "model.safetensors")
    _, sent = fetched_of_base(server, MEASURES["norms"])
    assert sent == 0


def test_a_server_without_ranges_sends_the_whole_base(server: Hub) -> None:
    server.files |= adapter() | {"org/base/model.safetensors": save({TOUCHED: WEIGHT, **OTHERS})}
    server.ranges = False
    assert MEASURES["norms"]().table.frame["relative_norm"][0] > 0
    assert whole_downloads(server)


def remote(data: bytes, edges: tuple[int, ...]) -> tuple[SpooledFile, list[tuple[int, int]]]:
    asked: list[tuple[int, int]] = []

    def fetch(offset: int, count: int) -> bytes:
        asked.append((offset, offset + count))
        return data[offset : offset + count]

    return SpooledFile(Path("far"), len(data), "etag", fetch, edges=edges), asked


def test_no_byte_is_fetched_twice_and_none_beyond_the_tensor_that_is_read() -> None:
    data = bytes(np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8))
    file, asked = remote(data, (100_000, 200_000, 300_000))
    draw = np.random.default_rng(1)
    assert file.read(0, 8).tobytes() == data[:8]
    for _ in range(200):
        begin = int(draw.integers(0, 200_000))
        count = int(draw.integers(0, 200_000 - begin))
        assert file.read(begin, count).tobytes() == data[begin : begin + count]
    assert max(end for _, end in asked) <= 200_000
    assert sum(end - begin for begin, end in asked) == file.bytes_read <= 200_000


def test_a_tensor_read_in_parts_takes_few_requests() -> None:
    data = bytes(1 << 20)
    file, asked = remote(data, (1 << 20,))
    for begin in range(0, len(data), 4096):
        file.read(begin, 4096)
    assert len(asked) == 2, "the header's first bytes, and the rest"
