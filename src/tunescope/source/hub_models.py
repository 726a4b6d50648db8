"""Whole models on the hub: which of the files are the weights, and a local snapshot of those alone."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from tunescope.errors import Missing, printable
from tunescope.source.hub import answered, connected, downloaded, names_of
from tunescope.source.locate import CONFIG
from tunescope.source.model_files import PIPELINE, by_names, weight_names
from tunescope.source.spec import HubId

_BESIDE = ("config.json", PIPELINE)
# Configs, tokenizers of all kinds, and chat templates.
_SETTINGS = (".json", ".jinja", ".model", ".txt", ".tiktoken")
_TEMPLATES = "additional_chat_templates/"
# Shards that are fetched at once.
_AT_ONCE = 4


def fetch_model(hub: HubId) -> Path:
    """The local snapshot of a model's weights and config; raises as `hub.fetch` does.

    Of a repository with safetensors no pickles are fetched, and of its other folders only the parts of a
    diffusers pipeline. Offline the cache alone is used.
    """
    library, offline = connected(hub)
    if offline:
        return _cached(library, hub)
    commit, names = names_of(library, hub)
    wanted = wanted_files(names)
    if not set(wanted) - set(_BESIDE):
        raise _no_model(hub, names)
    return answered(library, hub, lambda: downloaded(library, hub, commit, wanted, _AT_ONCE))


def fetch_pretrained(hub: HubId, weights: bool) -> Path:
    """A local copy of what `from_pretrained` reads: config, tokenizer, templates and, if asked, weights.

    All are of one commit; no code is fetched. Offline, and where the hub cannot be reached, the cache alone
    is used. Raises as `hub.fetch` does.
    """
    library, offline = connected(hub)
    if not offline:
        try:
            commit, names = names_of(library, hub)
        except Missing as refusal:
            if refusal.slug == "hub-offline":
                with suppress(Missing):
                    return _cached(library, hub)
            raise
        wanted = _pretrained_files(names, weights)
        if "config.json" not in wanted:
            raise _no_model(hub, names)
        return answered(library, hub, lambda: downloaded(library, hub, commit, wanted, _AT_ONCE))
    return _cached(library, hub)


def _pretrained_files(names: list[str], weights: bool) -> list[str]:
    beside = [name for name in names if "/" not in name]
    found = [n for n in beside if n.endswith(_SETTINGS) and not n.endswith(".index.json")]
    found += [n for n in names if n.startswith(_TEMPLATES) and n.endswith(".jinja")]
    return [*found, *weight_names(beside)] if weights else found


def _cached(library: Any, hub: HubId) -> Path:
    def look() -> str:
        found: str = library.snapshot_download(hub.repo, revision=hub.revision, local_files_only=True)
        return found

    folder = Path(answered(library, hub, look, offline=True))
    return folder / hub.folder if hub.folder else folder


def _no_model(hub: HubId, names: list[str]) -> Missing:
    adapter = CONFIG in names
    return Missing(
        "no-model-on-hub",
        "the repository holds an adapter, not a whole model"
        if adapter
        else "the repository holds no weights",
        file=f"{hub.repo}:{hub.folder}" if hub.folder else hub.repo,
        expected="model.safetensors, shards with their index, or pytorch_model.bin",
        found=", ".join(map(printable, names[:8])) or "no files",
        fix="name the base model that it was trained on" if adapter else "name the folder: org/name:folder",
    )


def wanted_files(names: list[str]) -> list[str]:
    """The files of the weights and what stands beside them, from all names of a repository or a folder."""
    folders = {""}
    if PIPELINE in names:
        folders |= {name.rpartition("/")[0] for name in names if name.count("/") == 1}
    found = []
    for folder in sorted(folders):
        here = [name for name in names if name.rpartition("/")[0] == folder]
        plain = {name.rpartition("/")[2]: name for name in here}
        found += [plain[name] for name in (*weight_names(list(plain)), *_BESIDE) if name in plain]
    return found


def is_whole_on_hub(hub: HubId) -> bool:
    """Whether a repository, or a folder of one, holds a whole model and no adapter, by its files' names.

    What cannot be reached is looked up in the cache; `False` where it is not there either, so that opening it
    as an adapter says what is the matter.
    """
    library, offline = connected(hub)
    if not offline:
        try:
            return by_names([name for name in names_of(library, hub)[1] if "/" not in name])
        except Missing as refusal:
            if refusal.slug != "hub-offline":
                return False
    try:
        folder = _cached(library, hub)
    except Missing:
        return False
    return folder.is_dir() and by_names([path.name for path in folder.iterdir()])
