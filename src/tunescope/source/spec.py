"""What a SOURCE argument says: its label, and whether it is a path or an id on the hub."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, takewhile
from pathlib import Path

from tunescope.errors import UsageError, encodable, printable
from tunescope.source.files.suffixes import PICKLED

_HUB = re.compile(
    r"^(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[^:@\s]+))?(?::(?P<folder>[^:\s]+))?$"
)
_PLAIN_STEMS = {"adapter_model", "adapters", "pytorch_lora_weights", "model", "lora", "adapter"}
_SUFFIXES = (".safetensors", ".npz", *PICKLED, ".csv", ".parquet", ".json", ".gguf")

# A folder that a sweep names by one of its settings.
_SETTING = re.compile(r"^(?:lr|seed)-[\w.+-]+$")

# Of how many differing parts of long paths a label may be made.
_LABEL_PARTS = 10


@dataclass(frozen=True)
class HubId:
    """An adapter on the hub: repository, revision (`None`: the main branch), folder within it."""

    repo: str
    revision: str | None = None
    folder: str | None = None


def spell(hub: HubId) -> str:
    """The id as it is written: `org/name[@revision][:folder]`."""
    revision = f"@{hub.revision}" if hub.revision else ""
    return printable(hub.repo + revision + (f":{hub.folder}" if hub.folder else ""))


def parse_spec(text: str) -> tuple[str | None, str]:
    """Label and source of a `[LABEL=]SOURCE` argument; a path that exists and holds `=` wins.

    >>> parse_spec("base=runs/one")
    ('base', 'runs/one')
    >>> parse_spec("org/name@main")
    (None, 'org/name@main')
    """
    if not text.strip():
        raise UsageError("bad-spec", "a SOURCE is empty", expected="[LABEL=]SOURCE", found=repr(text))
    label, sign, source = text.partition("=")
    if not sign or os.path.lexists(text) or "/" in label or os.sep in label:
        return None, text
    if not label.strip() or not source.strip():
        raise UsageError("bad-spec", f"{text!r} is not LABEL=SOURCE", expected="[LABEL=]SOURCE", found=text)
    return encodable(label.strip()), source


def parse_hub_id(text: str) -> HubId | None:
    """The hub id that a text spells, or `None`; `hf://org/name@revision/folder` works too.

    >>> parse_hub_id("org/name@v1:checkpoint-10")
    HubId(repo='org/name', revision='v1', folder='checkpoint-10')
    >>> parse_hub_id("hf://org/name/sub/folder").folder
    'sub/folder'
    """
    if text.startswith("hf://"):
        return _parse_address(text)
    if text.startswith((".", "/", "~", "\\")) or text.lower().endswith(_SUFFIXES):
        return None
    found = _HUB.match(text)
    return None if found is None else HubId(found["repo"], found["revision"], found["folder"])


def _parse_address(text: str) -> HubId:
    parts = text.removeprefix("hf://").removeprefix("models/").split("/", 2)
    if len(parts) < 2 or not all(parts[:2]):
        raise UsageError(
            "bad-spec", f"{text!r} names no repository", expected="hf://org/name[@revision][/folder]"
        )
    name, _, revision = parts[1].partition("@")
    folder = parts[2].strip("/") if len(parts) == 3 else ""
    return HubId(f"{parts[0]}/{name}", revision or None, folder or None)


def label_path(place: str) -> tuple[str, ...]:
    """The parts of a place that may name its source, without a suffix or a file name that says nothing.

    >>> label_path("runs/poetry/adapter_model.safetensors")[-2:], label_path("hf://org/name@main/folder")
    (('runs', 'poetry'), ('org', 'name', 'main', 'folder'))
    """
    if place.startswith("hf://"):
        return tuple(part for part in re.split("[/@]", place.removeprefix("hf://")) if part)
    path = Path(encodable(place)).absolute()
    if path.suffix.lower() in _SUFFIXES:
        path = path.parent if path.stem in _PLAIN_STEMS else path.with_suffix("")
    return path.parts


def distinct_labels(paths: Sequence[Sequence[str]]) -> list[str]:
    """The shortest parts of paths, counted from their ends, that tell the paths apart, joined by `/`.

    >>> distinct_labels([("runs", "cpp", "seed-0", "adapter"), ("runs", "python", "seed-0", "adapter")])
    ['cpp', 'python']
    """
    # What all have in front says nothing, and would stand beside other parts where depths differ.
    fronts = zip(*(path[:-1] for path in paths), strict=False)
    shared = len(list(takewhile(lambda parts: len(set(parts)) == 1, fronts)))
    paths = [path[shared:] for path in paths]
    depth = max(map(len, paths))
    aligned = [("",) * (depth - len(path)) + tuple(path) for path in paths]
    differing = [i for i in range(depth) if len({path[i] for path in aligned}) > 1][-_LABEL_PARTS:]
    for size in range(1, len(differing) + 1):
        choices = [[_joined(path, chosen) for path in aligned] for chosen in combinations(differing, size)]
        if telling := [labels for labels in choices if len(set(labels)) == len(labels) and all(labels)]:
            return min(reversed(telling), key=lambda labels: sum(map(len, labels)))
    return [_joined(path, differing or [depth - 1]) for path in aligned]


def _joined(path: Sequence[str], chosen: Iterable[int]) -> str:
    return "/".join(path[i] for i in chosen if path[i])


def default_label(place: str | os.PathLike[str]) -> str:
    """A short name for a source: its folder's or file's, or the folders' above where that says nothing.

    >>> default_label("runs/poetry/adapter_model.safetensors"), default_label("runs/poetry/checkpoint-20")
    ('poetry', 'checkpoint-20')
    >>> default_label("llama/model"), default_label("runs/poetry/lr-1e-3/seed-0/adapter")
    ('llama', 'poetry-lr-1e-3-seed-0')
    """
    path = Path(place)
    if path.suffix.lower() in _SUFFIXES:
        path = path.parent if path.stem in _PLAIN_STEMS else path.with_suffix("")
    name = path.name or Path(place).absolute().name
    above = list(Path(place).absolute().parent.parts[1:]) if name == Path(place).name else []
    if name in _PLAIN_STEMS and above:
        # A sweep names its folders by their settings, each below what it was trained on.
        settings = len(list(takewhile(_SETTING.match, reversed(above[1:]))))
        name = "-".join(above[-settings - 1 :])
    return encodable(name) or "adapter"


def spelled(thing: object, label: str) -> str:
    """What was given for a model, an adapter or data, as a study's arguments keep it: a live object's label.

    >>> spelled("runs/poetry", "poetry"), spelled({}, "model")
    ('runs/poetry', 'model')
    """
    return encodable(os.fspath(thing)) if isinstance(thing, str | os.PathLike) else label


def location_of(thing: object) -> str:
    """Where it lies, as it was given; of a live object, what it is.

    >>> location_of("runs/poetry"), location_of([])
    ('runs/poetry', 'live list')
    """
    return spelled(thing, f"live {type(thing).__name__}")
