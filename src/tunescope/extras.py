"""What the base install leaves out, and how to get it."""

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from tunescope.errors import UsageError

# Package that may be missing -> the extra that brings it.
_EXTRA_OF = {
    **dict.fromkeys(
        ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "trl", "datasets", "safetensors",
         "tokenizers", "pyarrow"),
        "train",
    ),
    "huggingface_hub": "hub",
    "pandas": "pandas",
}  # fmt: skip


def advice(extra: str) -> str:
    """How to install an extra from a checkout, without what a bare one may drag in."""
    if extra != "train":
        return f"in the folder of tunescope's source: pip install -c constraints.txt '.[{extra}]'"
    return (
        "in the folder of tunescope's source: pip install -c constraints.txt torch, then "
        "pip install -c constraints.txt '.[train]' (torch first and pinned: a bare extra may bring gigabytes "
        "of CUDA packages to a machine without a GPU)"
    )


def missing(what: str, problem: ImportError) -> UsageError | None:
    """The refusal for a package of an extra that is not installed; `None` for any other failed import."""
    package = (problem.name or "").partition(".")[0]
    extra = _EXTRA_OF.get(package)
    if extra is None or not isinstance(problem, ModuleNotFoundError):
        return None
    return UsageError(
        "extra-missing", f"{what} needs {package}, which is not installed", expected=f"the extra {extra!r}",
        found=problem, fix=advice(extra),
    )  # fmt: skip


@contextmanager
def needed_by(what: str) -> Iterator[None]:
    """Turn a failed import of an extra's package inside the block into a refusal that names the extra."""
    try:
        yield
    except ModuleNotFoundError as problem:
        refusal = missing(what, problem)
        if refusal is None:
            raise
        raise refusal from problem


def require(package: str, what: str) -> None:
    """Refuse where a package of an extra is not installed, without the seconds that its import takes."""
    with needed_by(what):
        try:
            there = importlib.util.find_spec(package) is not None
        except ValueError:
            # What was put into `sys.modules` without a spec says nothing of the disk.
            there = False
        if not there:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def public(name: str, module: str) -> Any:
    """The public `name` of a module, or where an extra is missing something that says so when it is used."""
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as problem:
        refusal = missing(f"tunescope.{name}", problem)
        if refusal is None:
            raise
        return _unavailable(name, refusal)


def _unavailable(name: str, refusal: UsageError) -> Any:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise refusal

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = f"Not installed: {refusal.what}.\n\n{refusal.fix}"
    return refuse
