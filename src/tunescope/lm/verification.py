"""The files of a model, compared with the hashes that are stated of them before or as it is loaded."""

from pathlib import Path

from tunescope.errors import Notice
from tunescope.hashes import check, unstated
from tunescope.lm.place import located
from tunescope.reader import current

_READ = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")
_WEIGHTS = (".safetensors", ".bin")


def check_model(spec: str | Path) -> None:
    """Compare a model's files where `reading(check_hashes=True)` asks for it; raises as `hashes.check`."""
    for path in _files(spec):
        check(path)


def unverified(spec: str | Path) -> list[Notice]:
    """What to say of the model's weights of which nobody states a hash."""
    return list(unstated(path for path in _files(spec) if path.suffix in _WEIGHTS))


def _files(spec: str | Path) -> list[Path]:
    if not current().check_hashes:
        return []
    folder = located(spec, weights=True)
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in _READ and path.is_file())
