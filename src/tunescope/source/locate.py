"""Which files of a folder hold the adapter, and which must never be opened."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tunescope.errors import BadInput, Missing, Notice
from tunescope.paths import resolved
from tunescope.source.files.deepspeed import is_deepspeed, states_file
from tunescope.source.files.disk import check_links, take_snapshot, unreachable
from tunescope.source.files.distributed import METADATA, is_distributed
from tunescope.source.files.parallel import parts_among, refuse_one_rank, refuse_parts
from tunescope.source.files.suffixes import PICKLED
from tunescope.words import first
from tunescope.writing import is_beside

if TYPE_CHECKING:
    from tunescope.source.files.container import TensorFile

CONFIG = "adapter_config.json"
# Written beside the weights by trainers (unpickling some of them runs code) and by our own capture, whose
# start is the weights of step zero.
NEVER_OPENED = re.compile(
    r"^(training_args\.bin|optimizer\.(pt|bin)|scheduler\.(pt|bin)|scaler\.pt|rng_state[\w]*\.pth|"
    r"capture\.start\.safetensors)$"
)
_INDEX = ".index.json"
_NAMED = ("adapter_model", "adapters", "pytorch_lora_weights")
SHARD = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})(?P<suffix>\.safetensors|\.bin)$")
_STEP = re.compile(r"(?:^|-)(\d+)$")


@dataclass(frozen=True)
class Located:
    """The weight file of a source, or its shard index, or its shards; and the config beside it."""

    files: tuple[Path, ...]
    index: Path | None = None
    config: Path | None = None
    notices: tuple[Notice, ...] = ()
    follow_symlinks: bool = False
    # Files that were opened to find out what they are.
    held: Mapping[Path, "TensorFile"] = field(default_factory=dict)


def locate(path: Path, *, follow_symlinks: bool = False) -> Located:
    """Find the adapter's weights in a folder, or beside a single file its config."""
    try:
        path.stat()
    except OSError as error:
        raise (
            _absent(path)
            if isinstance(error, FileNotFoundError) and not path.is_symlink()
            else unreachable(path, error)
        ) from None
    if not path.is_dir():
        return replace(_beside(path), follow_symlinks=follow_symlinks)
    if path.suffix == ".safetensors" and not (path / CONFIG).exists():
        raise BadInput(
            "not-a-file",
            "this is a folder, not a file of weights",
            file=path,
            expected="a regular file",
            found="folder",
            fix="name the folder without this suffix, or a file in it",
        )
    found = _in_folder(path)
    if not follow_symlinks:
        check_links(path, [*found.files, *filter(None, (found.index, found.config))])
    return replace(found, follow_symlinks=follow_symlinks)


def _beside(path: Path) -> Located:
    """A single file with its config, which for a link may lie beside the file that it points to."""
    found = _located([path], path.parent)
    target = resolved(path)
    if found.config is None and path.is_symlink() and target.parent != resolved(path.parent):
        return replace(found, config=_located([path], target.parent).config)
    return found


def _absent(path: Path) -> Missing:
    return Missing(
        "not-found",
        "there is no such file or folder",
        file=path,
        found="nothing at this path; it looks local, so this was not a hub lookup",
        fix="check the path; a hub adapter is written org/name[@revision][:folder]",
    )


def _in_folder(folder: Path) -> Located:
    names, held = _names(folder), dict[Path, "TensorFile"]()
    notices = (*unfinished(names), *_copies(names))
    if is_deepspeed(names):
        return _located([states_file(folder, names)], folder, notices)
    found = [folder / name for name in adapter_names(names) if name != CONFIG]
    if not found and is_distributed(names):
        return _located([folder / METADATA], folder, notices)
    if not found:
        # Deferred: whole models are rare here.
        from tunescope.source.files.sharded import read_shard
        from tunescope.source.wrapped import wrapped_adapter

        def read(path: Path) -> "TensorFile":
            held[path] = read_shard(path)
            return held[path]

        found = wrapped_adapter(folder, names, read)
    if not found:
        _refuse_nothing(folder, names)
    indices = [p for p in found if p.name.endswith(_INDEX)]
    alone = [p for p in found if p not in indices and not SHARD.match(p.name)]
    kinds = [*alone, *(indices or [p for p in found if SHARD.match(p.name)][:1])]
    if len(kinds) > 1:
        _refuse_several(folder, kinds)
    return replace(_located(alone or indices or found, folder, notices), held=held)


def adapter_names(names: Iterable[str]) -> list[str]:
    """Those of a folder's file names that make up its adapter: its weights (or candidates) and its config.

    >>> adapter_names(["README.md", "adapter_config.json", "adapter_model.safetensors", "training_args.bin"])
    ['adapter_config.json', 'adapter_model.safetensors']
    """
    allowed = [n for n in names if not NEVER_OPENED.match(n) and not n.startswith(".")]
    config = [n for n in allowed if n == CONFIG]
    for stem in _NAMED:
        if chosen := [n for n in allowed if _has_stem(n, stem)]:
            return config + [n for n in chosen if n != _copied_beside(chosen)]
    for suffixes in ((".safetensors",), (".npz",), (".gguf",), PICKLED):
        if chosen := [
            n for n in allowed if n.endswith(suffixes) and not n.startswith(("model", "pytorch_model"))
        ]:
            return config + chosen
    return []


def _copied_beside(names: Sequence[str]) -> str | None:
    """torchtune's copy of an adapter under its own names, where its export for PEFT lies beside it."""
    exported = any(f"adapter_model{suffix}" in names for suffix in (".safetensors", ".bin"))
    return "adapter_model.pt" if exported and "adapter_model.pt" in names else None


def _has_stem(name: str, stem: str) -> bool:
    if name.endswith(_INDEX):
        return name.startswith(stem + ".")
    shard = SHARD.match(name)
    return shard["stem"] == stem if shard else name in {stem + s for s in (".safetensors", ".npz", *PICKLED)}


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise unreachable(folder, error) from None


def unfinished(names: Iterable[str]) -> tuple[Notice, ...]:
    """Notices for the remains of interrupted downloads, which are passed over."""
    left = [n for n in names if n.endswith((".incomplete", ".lock")) and not is_beside(n)]
    text = "the remains of an interrupted download are ignored: "
    return (Notice("unfinished-download", text + ", ".join(left[:5])),) if left else ()


def _copies(names: Sequence[str]) -> tuple[Notice, ...]:
    """A notice for the copy that torchtune keeps beside its export."""
    copy = _copied_beside(names)
    text = f"{copy} is torchtune's copy of the adapter under its own names; its export for PEFT was read"
    return (Notice("torchtune-export", text),) if copy else ()


def _located(paths: list[Path], folder: Path, notices: tuple[Notice, ...] = ()) -> Located:
    config = folder / CONFIG
    beside = config if os.path.lexists(config) else None
    if beside is not None:
        # A config that is a FIFO would make its reader wait for ever.
        take_snapshot(beside)
    if len(paths) == 1 and paths[0].name.endswith(_INDEX):
        return Located((), paths[0], beside, notices)
    return Located(tuple(paths), None, beside, notices)


def _refuse_several(folder: Path, paths: list[Path]) -> NoReturn:
    raise BadInput(
        "ambiguous-weights",
        "the folder holds several files of weights, and they may differ",
        file=folder,
        expected="one file, or the shards of one save",
        found=first([p.name for p in paths], 8),
        fix=f"name the one you mean, such as {paths[0]}",
    )


def _refuse_nothing(folder: Path, names: list[str]) -> NoReturn:
    if len(parts_among(names)) > 1:
        refuse_parts(folder, names)
    refuse_one_rank(folder, names)
    inner = [n for n in names if (folder / n).is_dir() and _holds_adapter(folder / n)]
    if inner:
        inner.sort(key=lambda n: int(m.group(1)) if (m := _STEP.search(n)) else -1)
        raise BadInput(
            "adapters-below",
            "the folder itself holds no adapter, but folders in it do",
            file=folder,
            expected="adapter_model.safetensors or another file of weights",
            found=first(inner, 12),
            fix=f"name one of them, such as {folder / inner[-1]}",
        )
    found = first(names, 8) if names else "an empty folder"
    whole = any(n.startswith(("model.safetensors", "model-", "pytorch_model")) for n in names)
    raise BadInput(
        "full-model" if whole else "no-weights",
        "this is a whole model, not an adapter" if whole else "the folder holds no adapter weights",
        file=folder,
        expected="adapter_model.safetensors, adapter_model.bin, adapters.safetensors or one *.safetensors",
        found=found,
        fix="name the folder that an adapter was saved to; to compare whole models: norms MODEL --base BASE"
        if whole
        else "name the folder that the adapter was saved to",
    )


def _holds_adapter(folder: Path) -> bool:
    return any(
        (folder / n).exists()
        for n in (CONFIG, *(s + x for s in _NAMED for x in (".safetensors", ".npz", ".bin")))
    )
