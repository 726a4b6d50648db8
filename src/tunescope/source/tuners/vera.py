"""VeRA, PVeRA: ΔW = (λ_b ∘ B[:d_out]) (λ_d ∘ A[:, :d_in]), A and B shared by all modules [Kopiczko et al.].

The file says d_out (the length of λ_b) but not d_in. PVeRA's λ_d and A hold means above log-variances; the
mean is what acts without sampling.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

from tunescope.delta import Array, Delta, Factored
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, exact
from tunescope.source.tuners.seeded import WITHOUT_TORCH, kaiming_uniform_pair, torch_is_there
from tunescope.source.tuners.widths import input_widths


@dataclass(frozen=True)
class Vera:
    """One of the two methods: its name as a title, and how many times the rank A has as rows."""

    title: str
    halves: int

    @property
    def method(self) -> str:
        """The name in lower case, which its tensors bear too."""
        return self.title.lower()

    def parameter(self, name: str) -> str:
        """The name of a tensor in the file."""
        return f"{self.method}_{name}"

    def read(self, adapter: Adapter) -> Iterator[Delta]:
        """One delta for each module whose input width is known."""
        modules = list(adapter.complete(self.parameter("lambda_b"), self.parameter("lambda_d")))
        widths = self._widths(adapter, modules)
        projections = self._projections(adapter, modules)
        for module in modules:
            if projections is None:
                adapter.needs(module, f"{self.title}: {_reason()}")
            elif module.name not in widths:
                reason = "the input width is not in the file; needs the base's shapes"
                adapter.needs(module, f"{self.title}: {reason}")
            else:
                yield self._delta(adapter, module, widths[module.name], projections)

    def _widths(self, adapter: Adapter, modules: list[Module]) -> dict[str, int]:
        b, d = self.parameter("lambda_b"), self.parameter("lambda_d")
        outputs = {
            m.name: adapter.sizes(lambda_b=(m[b], "d_out"), lambda_d=(m[d], "r"))["d_out"] for m in modules
        }
        a = adapter.shared.tensors.get(self.parameter("A"))
        if a is not None:
            adapter.sizes(A=(a, "rows d_in"))
        inferred = input_widths(outputs, None if a is None else a.shape[1])
        return inferred | {m.name: adapter.shapes[m.name][1] for m in modules if m.name in adapter.shapes}

    def _projections(self, adapter: Adapter, modules: list[Module]) -> "Projections | None":
        names = self.parameter("A"), self.parameter("B")
        if all(name in adapter.shared for name in names):
            if not adapter.whole(adapter.shared, *names):
                return None
            a, b = (adapter.shared[name] for name in names)
            return Projections((a.name, b.name), partial(_saved, a, b))
        known = bool(modules) and all(m.name in adapter.shapes for m in modules)
        if not torch_is_there() or not known:
            return None
        d_in = max(adapter.shapes[m.name][1] for m in modules)
        d_out = max(adapter.shapes[m.name][0] for m in modules)
        rank = int(adapter.config.get("r", 256))
        self._check_ranks(adapter, modules, rank)
        seed = int(adapter.config.get("projection_prng_key", 0))
        return Projections((), partial(kaiming_uniform_pair, (rank * self.halves, d_in), (d_out, rank), seed))

    def _check_ranks(self, adapter: Adapter, modules: list[Module], rank: int) -> None:
        """What was trained on projections that are drawn has the config's rank and the base's sizes."""
        for module in modules:
            d, b = module[self.parameter("lambda_d")], module[self.parameter("lambda_b")]
            if d.shape[0] != rank * self.halves:
                adapter.refuse(d, f"{rank * self.halves} values: r is {rank}", d.shape[0])
            if b.shape[0] != (d_out := adapter.shapes[module.name][0]):
                adapter.refuse(b, f"{d_out} values: the base's weight has as many rows", b.shape[0])

    def _check(self, adapter: Adapter, module: Module, d_in: int, rank: int) -> None:
        """The saved projections are as large as the module's part of them."""
        names = self.parameter("A"), self.parameter("B")
        if not all(name in adapter.shared for name in names):
            return
        a, b = (adapter.shared[name] for name in names)
        sizes = adapter.sizes(A=(a, "rows d_in"), B=(b, "d_out r"))
        d_out = module[self.parameter("lambda_b")].shape[0]
        fits = sizes["rows"] >= rank and sizes["d_in"] >= d_in and sizes["d_out"] >= d_out
        if not fits or sizes["r"] != rank:
            found = f"A {tuple(a.shape)}, B {tuple(b.shape)}"
            adapter.refuse(a, f"projections of rank {rank} for a layer of {d_out}×{d_in}", found)

    def _delta(self, adapter: Adapter, module: Module, d_in: int, projections: "Projections") -> Delta:
        d, b = self.parameter("lambda_d"), self.parameter("lambda_b")
        rank = module[d].shape[0] // self.halves
        self._check(adapter, module, d_in, rank)
        known = module.name in adapter.shapes or adapter.alike()
        used = (d, b, *projections.tensors)
        return adapter.delta(
            module, self.method, shape=(module[b].shape[0], d_in), used=used, rank=rank,
            open=partial(_factors, projections, module, d, b, d_in, rank),
            status="ok" if known else f"input width {d_in} follows from the other modules",
        )  # fmt: skip


def _reason() -> str:
    if not torch_is_there():
        return WITHOUT_TORCH
    return "the projections were not saved; drawing them again needs the base's shapes"


@dataclass(frozen=True, eq=False)
class Projections:
    """The shared matrices: `load()` gives A and B, `tensors` names what holds them in the file."""

    tensors: tuple[str, ...]
    load: Callable[[], tuple[Array, Array]]


# Every module needs the same pair.
@lru_cache(maxsize=1)
def _saved(a: LazyTensor, b: LazyTensor) -> tuple[Array, Array]:
    return exact(a), exact(b)


def _factors(projections: Projections, module: Module, d: str, b: str, d_in: int, rank: int) -> Factored:
    A, B = projections.load()
    left, right = exact(module[b]), exact(module[d])[:rank]
    return Factored(left[:, None] * B[: left.size], right[:, None] * A[:rank, :d_in])


def _tuner(vera: Vera) -> Tuner:
    names = ("lambda_b", "lambda_d", "A", "B")
    return Tuner(frozenset(vera.parameter(n) for n in names), vera.read)


VERA = _tuner(Vera("VeRA", 1))
PVERA = _tuner(Vera("PVeRA", 2))
