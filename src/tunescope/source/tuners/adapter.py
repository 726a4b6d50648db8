"""One opened adapter, as every tuner sees it: modules with their tensors, the config, the ledger."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tunescope.address import Address, parse
from tunescope.delta import Delta, Update
from tunescope.errors import BadInput
from tunescope.source.base_shapes import BaseHeaders, NamedBase
from tunescope.source.files.tensors import Array, LazyTensor, Ledger, require_float
from tunescope.source.tuners.patterns import fits
from tunescope.words import counted

# What PEFT saves under `base_model.` belongs to the whole adapter, not to one module.
_OUTSIDE = "base_model"
# How many modules of one kind of damage are named one by one.
_SHOWN = 10


@dataclass(frozen=True, eq=False)
class Module:
    """The adapter tensors of one module, by parameter name (`lora_A`, `lora_B.bias`, …)."""

    name: str
    tensors: Mapping[str, LazyTensor]

    def __getitem__(self, parameter: str) -> LazyTensor:
        return self.tensors[parameter]

    def __contains__(self, parameter: object) -> bool:
        return parameter in self.tensors


@dataclass(frozen=True, eq=False)
class Adapter:
    """All modules of one adapter file, in file order.

    `shapes` holds (d_out, d_in) of the base's modules where a base is known; some methods do not save it.
    `base` reads what else its headers say.
    """

    modules: Mapping[str, Module]
    config: Mapping[str, Any]
    ledger: Ledger
    file: str
    shapes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    base: NamedBase = BaseHeaders
    _halves: list[tuple[str, str]] = field(default_factory=list)
    _mismatches: list[str] = field(default_factory=list)
    _undetermined: dict[str, list[str]] = field(default_factory=dict)
    _sides: list[str] = field(default_factory=list)

    def complete(self, *required: str, indices: Iterable[str] = ()) -> Iterator[Module]:
        """Modules that hold any of `required`, and hold all of them; the others are noticed as half saved."""
        for module in self.modules.values():
            meant = module.name != _OUTSIDE and any(p in module for p in required)
            if meant and self.whole(module, *required, indices=indices):
                yield module

    def whole(self, module: Module, *required: str, indices: Iterable[str] = ()) -> bool:
        """Whether a module has every required tensor, none of them empty, all of them floating.

        Tensors named in `indices` are integers by nature.
        """
        unreadable = [module[p] for p in required if p in module and not module[p].supported]
        if unreadable:
            self.needs(module, unreadable[0].unreadable)
            return False
        missing = [p for p in required if p not in module]
        empty = [p for p in required if p in module and module[p].numel == 0]
        if missing or empty:
            self._half_saved(module, missing, empty)
            return False
        for parameter in required:
            if parameter not in indices:
                require_float(module[parameter], self.file)
        return True

    @property
    def shared(self) -> Module:
        """The tensors that stand outside every module, such as a projection or a vector bank."""
        return self.modules.get(_OUTSIDE, Module(_OUTSIDE, {}))

    def alike(self) -> bool:
        """Whether all modules are the same component of their blocks, and so have one shape."""
        kinds = {(a.stack, a.module_type) for a in (parse(m) for m in self.modules if m != _OUTSIDE)}
        return len(kinds) == 1

    def needs(self, module: Module, reason: str) -> None:
        """Leave a module out because the file alone does not give its ΔW; noticed once for all."""
        self.ledger.left((t.name for t in module.tensors.values()), reason)
        self._undetermined.setdefault(reason, []).append(module.name)

    def _half_saved(self, module: Module, missing: list[str], empty: list[str]) -> None:
        text = f"has no {', '.join(missing)}" if missing else f"has an empty {', '.join(empty)}"
        self._halves.append((module.name, f"module {module.name} {text}; it is left out"))
        self.ledger.left((t.name for t in module.tensors.values()), f"incomplete module: {text}")

    def for_module(self, patterns: str, module: str, default: Any) -> Any:
        """What the config states for one module: `patterns` names a dictionary from pattern to value.

        A pattern is a regular expression that must fit the module name whole or after a dot; the first
        that fits wins, as in PEFT.
        """
        for pattern, value in (self.config.get(patterns) or {}).items():
            if fits(pattern, module, patterns):
                return value
        return default

    def require(self, module: Module, fits: bool, *parameters: str, expected: str) -> None:
        """Refuse a module whose tensors cannot belong together."""
        if not fits:
            raise BadInput(
                "factor-shapes",
                f"the adapter tensors of {module.name} do not fit together",
                file=self.file,
                tensor=module[parameters[0]].name,
                expected=expected,
                found=", ".join(f"{p} {module[p].shape}" for p in parameters),
                fix="are the factors transposed, or from two adapters?",
            )

    def sizes(self, **shapes: tuple[LazyTensor, str]) -> dict[str, int]:
        """The sizes of tensors that belong together, by letter; `down=(tensor, "r i")` names its axes.

        A letter is one size wherever it stands. Raises `BadInput` where the shapes are others.
        """
        found: dict[str, int] = {}
        for tensor, axes in shapes.values():
            letters = axes.split()
            same = len(letters) == len(tensor.shape) and all(
                found.setdefault(letter, size) == size
                for letter, size in zip(letters, tensor.shape, strict=True)
            )
            if not same:
                spelled = ", ".join(f"{name} ({axes})" for name, (_, axes) in shapes.items())
                self.refuse(tensor, spelled, {n: tuple(t.shape) for n, (t, _) in shapes.items()})
        return found

    def refuse(self, tensor: LazyTensor, expected: str, found: object) -> NoReturn:
        """Refuse tensors that do not have the shapes, or not the values, that the method saves."""
        raise BadInput(
            "factor-shapes",
            f"the tensors are not those of a {self.config['peft_type']} adapter",
            file=self.file,
            tensor=tensor.name,
            expected=expected,
            found=found,
            fix="is this the adapter's own adapter_config.json? are the tensors from two adapters?",
        )

    def positions(self, tensor: LazyTensor, below: int) -> NDArray[np.int64]:
        """Positions within something of `below` places, wherever they are stored as floats too."""
        saved = tensor.read()
        whole = saved.astype(np.float64)
        inside = (whole >= 0) & (whole < below) & (whole == np.floor(whole))
        if not inside.all():
            wrong = whole[~inside].reshape(-1)[0]
            self.refuse(tensor, f"whole numbers from 0 to {below - 1}", wrong)
        return np.asarray(saved.astype(np.int64))

    def rank_differs(self, module: str, stated: int, found: int) -> None:
        """Remember that the config's rank is not the weights'; one notice is written for all."""
        if stated != found:
            self._mismatches.append(f"{module}: config says {stated}, weights have {found}")

    def sides_unknown(self, module: Module) -> None:
        """Remember that input and output of a module's experts cannot be told apart; noticed once for all."""
        self._sides.append(module["lora_A"].name)

    def close(self) -> None:
        """Write the notices that sum up over modules."""
        for name, text in self._halves[:_SHOWN]:
            self.ledger.notice("half_saved", text, name)
        if (more := len(self._halves) - _SHOWN) > 0:
            self.ledger.notice(
                "half_saved",
                f"{counted(more, 'more module is', 'more modules are')} "
                "incomplete and left out; see coverage",
            )
        if self._mismatches:
            shown = "; ".join(self._mismatches[:3]) + ("; …" if len(self._mismatches) > 3 else "")
            self.ledger.notice(
                "rank-mismatch",
                f"{counted(len(self._mismatches), 'module has', 'modules have')} "
                f"another rank than the config states ({shown}); "
                "shapes follow the weights, the scale follows the config",
            )
        if self._sides:
            text = (
                f"of the fused experts in {counted(len(self._sides), 'module')} nothing says on which side A "
                "and B are, which PEFT before 0.19 exchanged for some models: input and output may stand the "
                "other way round (--base BASE tells, of parameters by the names that models give them)"
            )
            self.ledger.notice("sides-unknown", text, self._sides[0])
        if self._undetermined:
            # What the modules that were left out would have shared is left out with them.
            reason = next(iter(self._undetermined))
            self.ledger.left((t.name for t in self.shared.tensors.values()), reason)
        for reason, modules in self._undetermined.items():
            self.ledger.notice(
                "left-out", f"{counted(len(modules), 'module')} left out: {reason}", modules[0]
            )

    def delta(
        self,
        module: Module,
        method: str,
        *,
        shape: tuple[int, int],
        open: Callable[[], Update],
        used: Iterable[str],
        scale: float | None = 1.0,
        rank: int | None = None,
        alpha: float | None = None,
        address: Address | None = None,
        status: str = "ok",
    ) -> Delta:
        """The module's `Delta`, with its tensors marked as used; `used` holds parameters or full names."""
        names = tuple(module[p].name if p in module else p for p in used)
        self.ledger.used(names)
        return Delta(
            address=address or parse(module.name),
            component_name="",
            method=method,
            d_out=shape[0],
            d_in=shape[1],
            rank=rank,
            alpha=alpha,
            scale=scale,
            tensors=names,
            open=open,
            status=status,
        )


@dataclass(frozen=True, eq=False)
class Tuner:
    """One PEFT method: the parameter names that it saves and the function that turns them into deltas.

    `read` looks at every shape and position before it relies on it.
    """

    parameters: frozenset[str]
    read: Callable[[Adapter], Iterable[Delta]]


def floats(tensor: LazyTensor) -> Array:
    """The tensor's numbers as stored; 8-bit floats widened to float32, since nothing computes with them."""
    array = tensor.read()
    return array.astype(np.float32) if array.dtype.itemsize == 1 else array


def exact(tensor: LazyTensor) -> NDArray[np.float64]:
    """The tensor's numbers in float64, where products of them must not overflow or round."""
    return np.asarray(floats(tensor).astype(np.float64))


def kernel_axes(ranks: str, core: LazyTensor) -> str:
    """The axes of a Tucker core for `Adapter.sizes`: its two ranks, and one to three of a kernel.

    A core without any kernel, or with more axes, has no fitting size and is refused there.
    """
    kernel = min(max(len(core.shape) - 2, 1), 3)
    return " ".join((ranks, *"hwd"[:kernel]))


def mixed(core: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """The right factor (p, d_in·k…) of a Tucker-decomposed convolution: a core (p, q, k…), then (q, d_in)."""
    kernel = core.reshape(*core.shape[:2], -1)
    return np.asarray(np.einsum("pqk,qi->pik", kernel, right, optimize=True)).reshape(core.shape[0], -1)


def cheaper_factored(rank: int, shape: tuple[int, int]) -> bool:
    """Whether a factorisation of this rank holds at most half the numbers of the matrix itself.

    >>> cheaper_factored(16, (4096, 4096)), cheaper_factored(2048, (4096, 4096))
    (True, False)
    """
    return 2 * rank * sum(shape) <= shape[0] * shape[1]


def lora_scale(alpha: float, rank: int, rank_stabilised: bool = False) -> float:
    """alpha/r, or alpha/√r for rsLoRA.

    >>> lora_scale(16, 4), lora_scale(16, 4, True)
    (4.0, 8.0)
    """
    return alpha / (math.sqrt(rank) if rank_stabilised else rank)
