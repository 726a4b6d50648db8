"""Every verb that takes an id of the hub, on a server that misbehaves, and without a network at all."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults.test_models_on_hub import (
    _everywhere,
    _waiting,
    attribute,
    finetune,
    hub,
    importance,
    inputs,
)
from tests.unit.source.test_hub import Hub, constants, server

pytest.importorskip("transformers")

__all__ = ["hub", "inputs", "server"]

VERBS: dict[str, Callable[[Path], list[object]]] = {
    "norms": lambda _: ["norms", "org/name"],
    "norms of a model": lambda i: ["norms", "org/model", "--base", i / "model"],
    "norms with a base": lambda i: ["norms", i / "merged.safetensors", "--base", "org/model"],
    "check": lambda _: ["check", "org/name"],
    "check against a base": lambda i: ["check", i / "tuned", "--base", "org/model"],
    "subspace": lambda i: ["subspace", i / "a", "org/name"],
    "subspace with a base": lambda i: ["subspace", i / "tuned", i / "tuned", "--base", "org/model"],
    "verify": lambda i: ["verify", i / "merged.safetensors", "org/name", "--base", i / "model"],
    "verify a model": lambda i: ["verify", "org/model", i / "tuned", "--base", i / "model"],
    "verify with a base": lambda i: [
        "verify",
        i / "merged.safetensors",
        i / "tuned",
        "--base",
        "org/model",
    ],
    "trajectory with a start": lambda i: ["trajectory", i / "run", "--start", "org/name"],
    "importance": importance,
    "importance of data": lambda i: ["importance", i / "model", "--data", "org/rows"],
    "attribute": attribute,
    "attribute a model": lambda i: [
        "attribute",
        "org/model",
        "--base",
        i / "model",
        "--data",
        i / "rows.jsonl",
    ],
    "attribute on data": lambda i: ["attribute", i / "tuned", "--base", i / "model", "--data", "org/rows"],
    "finetune": lambda i: finetune(i, "-o", i.parent / "runs"),
    "finetune on data": lambda i: [
        "finetune",
        "--model",
        i / "model",
        "--data",
        "x=org/rows",
        "-o",
        i.parent / "runs2",
    ],
}
ATTACKS: dict[str, Callable[[Hub], Any]] = {
    "expired": lambda h: h.statuses.update({"org/": (401, "")}),
    "denied": lambda h: h.statuses.update({"org/": (403, "GatedRepo")}),
    "broken": lambda h: h.statuses.update({"org/": (500, "")}),
    "busy": lambda h: _everywhere(h, 429),
    "for a day": lambda h: _waiting(h, "86400"),
    "page": lambda h: _everywhere(h, "html"),
    "login": lambda h: _everywhere(h, "login"),
    "cut": lambda h: _everywhere(h, "cut"),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_answers_a_server_that_misbehaves_with_exit_4_and_no_token(
    hub: Hub, run: Callable[..., Any], inputs: Path, verb: str, attack: str
) -> None:
    ATTACKS[attack](hub)
    ran = run("--debug", *VERBS[verb](inputs))
    assert ran.code == 4, ran.err
    assert hub.asked
    assert "[hub-" in ran.err or "[data-hub]" in ran.err
    for secret in ("hf_secret", "secret-token-echo"):
        assert secret not in ran.err + ran.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_offline_is_exit_4_without_an_attempt_to_connect(
    hub: Hub, run: Callable[..., Any], inputs: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    tried: list[object] = []

    def refuse(*given: object, **_: object) -> None:
        tried.append(given)
        raise ConnectionRefusedError

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    ran = run(*VERBS[verb](inputs))
    assert ran.code == 4, ran.err
    assert not tried
    assert not hub.asked
