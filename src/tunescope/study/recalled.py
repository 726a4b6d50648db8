"""The command line that a study's arguments would be asked for again with."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import click

from tunescope.study.command import Command


def command_line(command: Command, arguments: Mapping[str, Any]) -> str:
    """`tunescope VERB …` with every argument that is not the command's own default."""
    words = [text for parameter in _parameters(command) for text in _words(parameter, arguments)]
    return shlex.join(["tunescope", command.verb, *words])


def _parameters(command: Command) -> list[click.Parameter]:
    """Arguments in front of options, as people write them."""

    def bare() -> None:
        pass

    decorated: Any = bare
    for decorate in reversed(command.parameters):
        decorated = decorate(decorated)
    found: list[click.Parameter] = list(reversed(decorated.__click_params__))
    return sorted(found, key=lambda parameter: not isinstance(parameter, click.Argument))


def _words(parameter: click.Parameter, arguments: Mapping[str, Any]) -> Iterator[str]:
    name = str(parameter.name)
    if name.startswith("no_") and arguments.get(name.removeprefix("no_")) is False:
        yield parameter.opts[-1]
    value = arguments.get(name, arguments.get(f"{name}s"))
    if value is False and parameter.default is True:
        yield parameter.secondary_opts[-1]
    if value is None or value is False or value in ("", [], {}) or _default(parameter, value):
        return
    if isinstance(parameter, click.Argument):
        yield from _listed(value)
    elif value is True:
        yield parameter.opts[-1]
    elif parameter.multiple:
        for text in _listed(value):
            yield from (parameter.opts[-1], text)
    else:
        yield from (parameter.opts[-1], ",".join(_listed(value)))


def _default(parameter: click.Parameter, value: Any) -> bool:
    """Whether the command gives this value by itself; a choice of everything is what it does unasked."""
    default = parameter.default
    if isinstance(parameter.type, click.Choice) and isinstance(value, list):
        return set(value) >= {str(choice) for choice in parameter.type.choices}
    texts = default if isinstance(default, list | tuple) else str(default).split(",")
    return value == default or list(texts) == _listed(value)


def _listed(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{key}={one}" for key, one in value.items()]
    return [str(one) for one in value] if isinstance(value, list | tuple) else [f"{value}"]
