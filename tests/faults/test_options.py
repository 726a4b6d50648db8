"""Odd values in every option of every command, from a file of options and as typed: never a bug of ours."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from tunescope.cli import VERBS, app

# Every option is given some of the values, each value to some options of every command.
# What each command is given besides: inputs that are not there, so that nothing is measured or trained.
_GIVEN = {
    "norms": ["nowhere"], "subspace": ["nowhere", "nowhere2"], "check": ["nowhere"], "draw": ["nowhere"],
    "report": ["nowhere"], "trajectory": ["nowhere"], "verify": ["nowhere", "other", "--base", "third"],
    "importance": ["./nowhere", "--data", "nothing.jsonl"],
    "attribute": ["./nowhere", "--base", "./third", "--data", "nothing.jsonl"],
    "finetune": ["--model", "./nowhere", "--data", "x=nothing.jsonl", "-o", "runs"],
}  # fmt: skip
_IN_A_FILE: list[Any] = [
    "\0", "a\0b", "\ud800", "\udcff", "a\nb", "x" * 10_000, "\u202e", "~nosuchuser/x", "", "=", "a=b=c",
    2**63, -(2**63) - 1, 10**400, -1, 0, 0.5, 1e308, float("nan"), float("inf"), True, None,
    [], [[]], [None], [{}], {}, {"": ""}, {"a": None}, {"a": [1]}, {"a": "\0"},
]  # fmt: skip
_TYPED = [
    "",
    " ",
    ",",
    "=",
    "a=b=c",
    "\udcff",
    "a\nb",
    "x" * 10_000,
    "-1",
    "1e999",
    "nan",
    "9" * 400,
    "0x10",
    "٣",
]


def _options(verb: str) -> list[click.Option]:
    with click.Context(app) as context:
        command = app.get_command(context, verb)
    assert command is not None
    options = [p for p in command.params if isinstance(p, click.Option)]
    return [o for o in options if not {"--help", "--config"} & set(o.opts)]


def test_every_command_that_reads_is_given_something() -> None:
    assert {*_GIVEN} == {*VERBS} - {"demo"}, "demo reads nothing"


@pytest.mark.parametrize("verb", _GIVEN)
def test_odd_values_in_a_file_of_options_have_an_answer(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = []
    for number, option in enumerate(_options(verb)):
        name = next(o for o in option.opts if o.startswith("--")).lstrip("-")
        for value in _IN_A_FILE[number % 4 :: 4]:
            Path("c.yaml").write_text(json.dumps({name: value}))
            ran = run(verb, *_GIVEN[verb], "--config", "c.yaml")
            if ran.code not in (2, 3, 4, 5) or "Traceback" in ran.err:
                wrong.append(f"{name}: {value!r:.40} exit {ran.code} {ran.err[-200:]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("verb", _GIVEN)
def test_odd_values_of_typed_options_have_an_answer(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = []
    for number, option in enumerate(_options(verb)):
        if option.is_flag:
            continue
        for value in _TYPED[number % 3 :: 3]:
            ran = run(verb, *_GIVEN[verb], f"{option.opts[-1]}={value}")
            if ran.code not in (2, 3, 4, 5) or "Traceback" in ran.err:
                wrong.append(f"{option.opts[-1]}={value!r:.40} exit {ran.code} {ran.err[-200:]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_a_value_that_no_command_line_can_hold_is_exit_2(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(json.dumps({"out": value}))
    ran = run("norms", "nowhere", "--config", "c.yaml")
    assert (ran.code, "[bad-config]" in ran.err) == (2, True), ran.err


def test_a_broken_config_beside_an_adapter_is_said(
    run: Callable[..., Any], adapter: Callable[..., Path]
) -> None:
    folder = adapter()
    (folder / "config.json").write_text('{"num_attention_heads": ')
    ran = run("norms", folder, "--json")
    found = [f["kind"] for f in json.loads(ran.out)["findings"]]
    assert (ran.code, found.count("config_unread")) == (0, 1), ran.err


@pytest.mark.parametrize(
    "text",
    [
        "hash: !!timestamp x", "hash: !!int ''", "hash: !!float ''", "hash: !!bool maybe", "hash: !!int 0x",
        "hash: 2001-99-99", "hash: !!python/object/apply:os.system [x]", "hash: " + "[" * 9000,
    ],
)  # fmt: skip
def test_a_tag_of_yaml_that_does_not_fit_its_text_is_exit_2(
    run: Callable[..., Any], tmp_path: Path, text: str
) -> None:
    """PyYAML falls over some of them with errors that are none of its own."""
    (tmp_path / "c.yaml").write_text(text)
    ran = run("norms", "nowhere", "--config", tmp_path / "c.yaml")
    assert ran.code == 2, ran.err
    assert "[bad-config]" in ran.err
