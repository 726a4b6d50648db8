"""A base model named by its hub id, on a server that misbehaves: exit 4 with one sentence, or the answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from safetensors.numpy import save
from tests.unit.source.test_hub import BASE, COMMIT, Hub, adapter, constants, server, whole

import tunescope
from tunescope.errors import Missing, TunescopeError

__all__ = ["server"]

# The ways to name a base: each reads it by another path, whole or by ranges of its headers.
WAYS: dict[str, Callable[[], Any]] = {
    "norms": lambda: tunescope.norms("org/name", base="org/base"),
    "check": lambda: tunescope.check("org/name", base="org/base"),
    "subspace": lambda: tunescope.subspace("a=org/name", "b=org/name", base="org/base"),
    "whole": lambda: tunescope.norms("org/tuned", base="org/base"),
    "verify": lambda: tunescope.verify("org/tuned", "org/name", base="org/base"),
}


@pytest.fixture
def hub(server: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    tuned = {name: values + 1 for name, values in BASE.items()}
    server.files |= whole("org/base", BASE) | whole("org/tuned", tuned) | adapter()
    monkeypatch.setattr("time.sleep", lambda _: None)
    return server


def refused(way: str) -> Missing:
    with pytest.raises(Missing) as caught:
        WAYS[way]()
    error = caught.value
    assert error.exit_code == 4
    assert error.file is not None
    assert error.what.count(".") == 0, "one sentence"
    for secret in ("hf_secret", "secret-token-echo"):
        assert secret not in str(error)
        assert secret not in repr(error.__cause__)
    return error


@pytest.mark.parametrize("way", WAYS)
def test_a_base_is_read_from_the_hub(hub: Hub, way: str) -> None:
    study = WAYS[way]()
    assert any("org/base" in path for path in hub.asked)
    assert study.findings is not None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("status", "code", "slug"),
    [
        (401, "", "hub-denied"),
        (403, "GatedRepo", "hub-denied"),
        (404, "RepoNotFound", "hub-not-found"),
        (500, "", "hub-unavailable"),
        (429, "", "hub-unavailable"),
    ],
)
def test_a_base_that_is_denied_absent_or_behind_a_failing_server_is_exit_4(
    hub: Hub, way: str, status: int, code: str, slug: str
) -> None:
    hub.statuses["org/base"] = (status, code)
    assert refused(way).slug == slug


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", [429, 503, "cut"])
def test_a_busy_or_broken_connection_to_the_base_is_tried_again_aloud(
    hub: Hub, way: str, what: int | str, capsys: pytest.CaptureFixture[str]
) -> None:
    WAYS[way]()
    # The adapter is in the cache by now, so that what fails next is the base.
    hub.files |= whole("org/other", BASE)
    hub.instead, hub.everywhere = [what, what], True
    before = len(hub.asked)
    tunescope.norms("org/name", base="org/other") if way == "norms" else WAYS[way]()
    assert not hub.instead or len(hub.asked) == before
    said = capsys.readouterr().err
    assert ("trying again in" in said) == (len(hub.asked) > before)
    assert "hf_secret" not in said


@pytest.mark.parametrize("what", ["html", "login", "cut", 429, 500])
def test_a_base_whose_server_never_answers_as_it_should_is_exit_4(hub: Hub, what: int | str) -> None:
    hub.instead, hub.everywhere = [what] * 400, True
    assert refused("norms").slug in ("hub-unavailable", "hub-offline")


@pytest.mark.parametrize("what", ["html", "login"])
def test_a_login_page_in_the_place_of_the_bases_weights_is_refused(hub: Hub, what: str) -> None:
    tunescope.check("org/name")
    hub.instead = [what] * 40
    with pytest.raises(TunescopeError) as caught:
        tunescope.check("org/name", base="org/base")
    assert caught.value.exit_code in (3, 4)
    assert "hf_secret" not in str(caught.value)


def test_everything_that_is_read_of_a_base_by_its_headers_is_of_one_commit(hub: Hub) -> None:
    """So a branch that moves between two headers mixes nothing."""
    shards = {f"model-{n:05d}-of-00002.safetensors": {name: BASE[name]} for n, name in enumerate(BASE, 1)}
    index = {"metadata": {}, "weight_map": {name: shard for shard, held in shards.items() for name in held}}
    hub.files |= {f"org/two/{shard}": save(held) for shard, held in shards.items()}
    hub.files["org/two/model.safetensors.index.json"] = json.dumps(index).encode()
    study = tunescope.check("org/name", base="org/two")
    assert study.readout["models"]["name"]["attached"] == 1
    asked = [path for path in hub.asked if "org/two/resolve/" in path]
    assert len(asked) > 2
    assert all(f"/resolve/{COMMIT}/" in path for path in asked), asked


@pytest.mark.parametrize(
    "data", [b"<!DOCTYPE html>", b"\xff" * 64, b"\x10" + bytes(7) + b"{not json at all", b""]
)
def test_a_base_whose_header_is_none_is_refused(hub: Hub, data: bytes) -> None:
    hub.files["org/base/model.safetensors"] = data
    for way in ("check", "norms"):
        with pytest.raises(TunescopeError) as caught:
            WAYS[way]()
        assert caught.value.exit_code in (3, 4)
        assert caught.value.file


def test_offline_no_connection_is_made_for_a_base_and_what_lacks_is_named(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was tried"))
    for way in WAYS:
        error = refused(way)
        assert error.slug == "hub-offline"
        assert "hf download org/" in str(error.fix)
    assert hub.asked == []


def test_an_expired_token_for_the_base_is_named_as_what_it_is(hub: Hub) -> None:
    tunescope.norms("org/name")
    hub.statuses["org/base"] = (401, "")
    error = refused("norms")
    assert (error.slug, "expired" in error.what) == ("hub-denied", True)
