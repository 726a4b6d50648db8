"""The shapes of a model on the hub, from ranges of its files: nothing but headers is fetched."""

from tunescope.errors import BadInput, printable
from tunescope.source.hub import answered, connected, names_of, spell
from tunescope.source.spec import HubId


def header_shapes(hub: HubId) -> tuple[dict[str, tuple[int, ...]], int] | None:
    """Shapes of a model's tensors by name, from ranges of its headers, and how many files that were.

    `None` where the hub is switched off, and where the weights are not safetensors at the repository's top.
    All are of one commit. Raises as `fetch` does, and `BadInput` for a header that is none.
    """
    library, offline = connected(hub)
    if offline or hub.folder is not None:
        return None
    commit, names = names_of(library, hub)
    if not {"model.safetensors", "model.safetensors.index.json"} & {*names}:
        return None
    read = library.HfApi().get_safetensors_metadata
    try:
        files = answered(library, hub, lambda: read(hub.repo, revision=commit)).files_metadata
    except (library.errors.SafetensorsParsingError, library.errors.NotASafetensorsRepoError) as error:
        raise BadInput(
            "header-json", "a header of the base on the hub cannot be read", file=spell(hub),
            expected="safetensors", found=printable(str(error).split("\n")[0]),
            fix="fetch the model, and name its folder",
        ) from None  # fmt: skip
    shapes = {n: tuple(tensor.shape) for file in files.values() for n, tensor in file.tensors.items()}
    return shapes, len(files)
