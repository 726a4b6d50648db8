"""`--config FILE`: options from YAML or TOML, weaker than flags and the environment."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tunescope.documents import DocumentError
from tunescope.errors import Missing, UsageError
from tunescope.words import nearest
from tunescope.yaml_text import parse_yaml

MAX_BYTES = 1 << 20
# What the parser of TOML raises for nesting without end, and for dates and numbers that are none.
_UNUSABLE = (RecursionError, ValueError, OverflowError)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def config_option() -> Decorator:
    """The `--config` option of a command; its file gives defaults to the command's other options."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_apply,
        help="YAML or TOML file with these options; flags and environment win over it.",
    )


def _apply(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    names = {
        option.lstrip("-").replace("-", "_"): parameter
        for parameter in ctx.command.params
        for option in parameter.opts
        if option.startswith("--")
    }
    given = read_config(path, [name for name in names if name not in ("config", "help")])
    ctx.default_map = {
        str(names[name].name): _as_option(names[name], value, path)
        for name, value in given.items()
        if value is not None
    }


def _as_option(parameter: click.Parameter, value: Any, file: Path) -> Any:
    """The value as it would be typed: mappings as `KEY=VALUE`, a list as one option each or with commas."""
    if isinstance(value, dict):
        value = [f"{key}={_typed(parameter, item, file)}" for key, item in value.items()]
    values = value if isinstance(value, list) else [value]
    typed = [_typed(parameter, item, file) for item in values]
    return typed if getattr(parameter, "multiple", False) else ",".join(typed)


def _typed(parameter: click.Parameter, value: Any, file: Path) -> str:
    # As text, for the parser would turn the number 2.5 into the integer 2.
    if value is None or isinstance(value, dict | list):
        raise UsageError(
            "bad-config",
            f"{parameter.opts[-1]} has a value that is no text or number",
            file=file,
            expected="a text or a number",
            found=value,
        )
    text = str(value)
    if not _can_be_typed(text):
        raise UsageError(
            "bad-config",
            f"{parameter.opts[-1]} has a value that no command line can hold",
            file=file,
            expected="a text without NUL bytes and lone surrogates",
            found=ascii(text),
        )
    return text


def _can_be_typed(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def read_config(path: Path, known: list[str]) -> dict[str, Any]:
    """The file's keys, spelled with `_` or `-`, each of them known.

    Raises `Missing` for a file that is not there, `UsageError` for one that cannot be used.
    """
    text = _text(path)
    document = _toml(path, text) if path.suffix.lower() == ".toml" else _yaml(path, text)
    if not isinstance(document, dict):
        raise UsageError(
            "bad-config", "the configuration is no list of options", file=path, expected="key: value"
        )
    given = {str(key).replace("-", "_"): value for key, value in document.items()}
    for key in given:
        if key not in known:
            near = nearest(key, known)
            fix = f"did you mean {near}?" if near else f"known: {', '.join(sorted(known))}"
            raise UsageError("unknown-key", f"there is no option {key}", file=path, found=key, fix=fix)
    return given


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise UsageError("bad-config", "the configuration is no file", file=path, expected="a regular file")
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise UsageError(
                "bad-config",
                "the configuration is too large",
                file=path,
                expected=f"{MAX_BYTES} bytes at most",
            )
        return raw.decode("utf-8-sig")
    except OSError as problem:
        raise Missing(
            "config-missing",
            "the configuration cannot be read",
            file=path,
            found=problem,
            fix="check the path, and that the file may be read",
        ) from problem
    except UnicodeDecodeError as problem:
        raise UsageError(
            "bad-config", "the configuration is not UTF-8", file=path, found=problem
        ) from problem


def _toml(path: Path, text: str) -> Any:
    # Deferred: few commands are given such a file.
    import tomllib

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, *_UNUSABLE) as problem:
        raise UsageError("bad-config", "the configuration is not TOML", file=path, found=problem) from problem


def _yaml(path: Path, text: str) -> Any:
    try:
        return parse_yaml(text, each_key_once=True)
    except DocumentError as problem:
        raise UsageError("bad-config", "the configuration is not YAML", file=path, found=problem) from problem
