"""What a model's files hold: compared with the hashes stated of them, and all of it in the model, or said."""

import re
from collections.abc import Iterable
from pathlib import Path

from torch import nn

from tunescope.documents import DocumentError, parse_json
from tunescope.errors import Notice, printable
from tunescope.hashes import check, unstated
from tunescope.lm.foreign_code import settings_of, shown
from tunescope.lm.place import located
from tunescope.reader import current
from tunescope.source.files.pickled import read_pickled
from tunescope.words import counted

_READ = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")
_WEIGHTS = (".safetensors", ".bin")
# Where a model keeps the names of tensors in its files that it has no place for.
_UNUSED = "_tunescope_unused"
# What no command reads: settings of these may name code, of which no more is true than that it was not run.
_NOT_READ = ("processor_config", "preprocessor_config", "video_preprocessor_config", "generation_config")
_NUMBER = re.compile(r"\.\d+\.")


def check_model(spec: str | Path) -> None:
    """Compare a model's files where `reading(check_hashes=True)` asks for it; raises as `hashes.check`."""
    for path in _files(spec):
        check(path)


def refuse_pickles(folder: Path) -> None:
    """Say what is wrong with the pickled weights of a model that cannot be loaded; raises as `read_pickled`.

    The words of torch would tell how to load them all the same.
    """
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        for path in sorted(folder.glob("pytorch_model*.bin")):
            read_pickled(path)


def keep_unused(model: nn.Module, names: Iterable[str]) -> None:
    """Remember of a model which tensors of its files it has no place for."""
    setattr(model, _UNUSED, sorted(names))


def said_of(model: nn.Module, spec: str | Path) -> list[Notice]:
    """What to say of a loaded model: weights without a place in it or a stated hash, and code not run."""
    without = unstated(path for path in _files(spec) if path.suffix in _WEIGHTS)
    return [*_unused(model), *without, *_not_run(located(spec))]


def _not_run(folder: Path) -> list[Notice]:
    """Code that settings beside a model name for what no command uses, such as its pictures."""
    named = []
    for path in (folder / f"{name}.json" for name in _NOT_READ):
        try:
            document = parse_json(path.read_bytes())
        except (OSError, DocumentError):
            continue
        code = dict(settings_of(document)).get("auto_map") if isinstance(document, dict) else None
        if code:
            named.append(f"{path.name} ({printable(shown(code))})")
    text = f"code of the model's own is named in {', '.join(named)}; it was not used and not run"
    return [Notice("code-not-run", text)] if named else []


def _unused(model: nn.Module) -> list[Notice]:
    """A config of fewer layers than the weights have makes another model, which loads without a word."""
    names: list[str] = getattr(model, _UNUSED, [])
    beyond = [name for name in names if _is_of_a_further_layer(name, model)]
    rest = [name for name in names if name not in beyond]
    kind = type(model).__name__
    said = [
        ("layers-unused", beyond, f"of layers that the config of this {kind} does not count"),
        ("weights-unused", rest, f"for which a {kind} has no place"),
    ]
    return [
        Notice(slug, f"{counted(len(found), 'tensor')} of the files not used, {why}: {_few(found)}")
        for slug, found, why in said
        if found
    ]


def _is_of_a_further_layer(name: str, model: nn.Module) -> bool:
    """Whether a tensor is of a layer whose stack the model has, and the layer itself it has not."""
    modules = dict(model.named_modules())
    stacks = [name[: number.start()] for number in _NUMBER.finditer(name)]
    return any(f"{stack}.0" in modules for stack in stacks)


def _few(names: list[str]) -> str:
    return ", ".join(map(printable, names[:3])) + (", …" if len(names) > 3 else "")


def _files(spec: str | Path) -> list[Path]:
    if not current().check_hashes:
        return []
    folder = located(spec, weights=True)
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in _READ and path.is_file())
