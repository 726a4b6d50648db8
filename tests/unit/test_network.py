"""Busy servers and broken connections: tried again a few times, aloud, and never for long."""

from types import SimpleNamespace
from typing import Any

import pytest

from tunescope import network
from tunescope.network import LONGEST_WAIT, TRIES, patiently


class HTTPError(Exception):
    """As the hub's library raises it."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status} for https://hub/x?token=hf_secret")
        self.response = SimpleNamespace(status_code=status, headers=headers or {})


class RemoteProtocolError(Exception):
    """As an HTTP client raises it."""


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that were made, without making them."""
    made: list[float] = []
    monkeypatch.setattr(network.time, "sleep", made.append)
    return made


def failing(times: int, error: Exception) -> Any:
    """A call that raises so many times, then gives "there"."""
    left = [times]

    def call() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return "there"

    return call


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again_aloud(
    status: int, waits: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert patiently(failing(2, HTTPError(status)), "org/name") == "there"
    assert waits == [1, 2]
    said = capsys.readouterr().err
    assert f"org/name: the server answered {status}; trying again in 1 s (1 of {TRIES - 1})" in said
    assert "hf_secret" not in said


def test_the_wait_that_the_server_asks_for_is_kept(waits: list[float]) -> None:
    assert patiently(failing(1, HTTPError(429, {"Retry-After": "7"})), "x") == "there"
    assert patiently(failing(1, HTTPError(429, {"RateLimit": '"api";r=0;t=5'})), "x") == "there"
    assert waits == [7, 5]


def test_a_wait_beyond_a_minute_is_not_made(waits: list[float]) -> None:
    with pytest.raises(HTTPError):
        patiently(failing(1, HTTPError(429, {"Retry-After": f"{LONGEST_WAIT + 1:.0f}"})), "x")
    assert not waits


def test_the_last_error_is_raised_after_the_last_try(waits: list[float]) -> None:
    with pytest.raises(HTTPError):
        patiently(failing(99, HTTPError(503)), "x")
    assert len(waits) == TRIES - 1


def test_a_connection_that_broke_off_is_made_again_also_behind_another_error(waits: list[float]) -> None:
    outer = OSError("cannot load")
    outer.__cause__ = RemoteProtocolError("peer closed")
    assert patiently(failing(1, outer), "x") == "there"
    assert waits == [1]


@pytest.mark.parametrize(
    "error", [HTTPError(404), HTTPError(401), ValueError("a bug"), ConnectionRefusedError()]
)
def test_what_trying_again_cannot_mend_is_raised_at_once(error: Exception, waits: list[float]) -> None:
    with pytest.raises(type(error)):
        patiently(failing(1, error), "x")
    assert not waits
