"""Whether the modules that an adapter changes are those that its config says."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tunescope.source.files.tensors import Ledger
from tunescope.source.tuners.patterns import fits
from tunescope.words import counted

_SHOWN = 3
_LAYER = re.compile(r".*\.[^.]*\.(\d+)\.")
# What PEFT's own names of classes of modules stand for is not said by a name.
_CLASSES = ("all-linear", "all_linear")


def notice_targets(config: Mapping[str, Any], modules: Iterable[str], ledger: Ledger) -> None:
    """Note modules that have adapter tensors and are not named by `target_modules`.

    The config may be another adapter's; the weights are believed.
    """
    targets = config.get("target_modules")
    if not targets or targets in _CLASSES or config.get("target_parameters"):
        return
    inner = [module for module in modules if "." in module and ".base_layer" not in module]
    beside = [module for module in inner if not _is_target(module, targets)]
    among = "target_modules"
    if left := [module for module in inner if module not in beside and _is_left_out(module, config)]:
        beside, among = [*beside, *left], "targets by target_modules, exclude_modules and layers_to_transform"
    if beside:
        shown = ", ".join(beside[:_SHOWN]) + (", …" if len(beside) > _SHOWN else "")
        text = (
            f"{len(beside)} of {counted(len(inner), 'module')} "
            f"{'is' if len(beside) == 1 else 'are'} not among the config's {among} ({shown})"
        )
        ledger.notice("targets-differ", text + "; is it this adapter's own config?", beside[0])


def _is_left_out(module: str, config: Mapping[str, Any]) -> bool:
    """Whether `exclude_modules` or `layers_to_transform` leaves out a module, by the rule of PEFT.

    Of a `layers_pattern` nothing is said: which numbers are layers by it is for PEFT to find.
    """
    if (excluded := config.get("exclude_modules")) and _is_target(module, excluded):
        return True
    layers = config.get("layers_to_transform")
    if layers is None or layers == [] or config.get("layers_pattern"):
        return False
    number = _LAYER.match(module)
    return number is not None and int(number[1]) not in ([layers] if isinstance(layers, int) else layers)


def _is_target(module: str, targets: str | list[str]) -> bool:
    if isinstance(targets, str):
        return fits(targets, module)
    return any(module == target or module.endswith(f".{target}") for target in targets)
