"""Which tensors of a model are weights packed by a quantiser, so that their numbers are no weights."""

from collections.abc import Mapping
from dataclasses import replace

from tunescope.source.dequantised import installed
from tunescope.source.files.tensors import LazyTensor, is_float
from tunescope.source.scaled import PART

# What stands beside a packed weight, by the end of its name, and who writes it.
_BESIDE = (
    ("weight.quant_state.bitsandbytes__nf4", "bitsandbytes nf4"),
    ("weight.quant_state.bitsandbytes__fp4", "bitsandbytes fp4"),
    ("SCB", "bitsandbytes int8"),
    ("weight_packed", "compressed-tensors"),
    ("weight_scale_inv", "float8 in blocks"),
    ("weight_scale", "float8 or integers with a scale"),
    ("qweight", "GPTQ or AWQ"),
    ("scales", "packed with scales"),
)
# The ends of names of what a quantiser saves beside or instead of a weight.
PACKED_PARTS = (
    ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".SCB", ".weight_format", ".qzeros",
    ".g_idx", ".scales", ".weight_scale", ".weight_scale_inv", ".input_scale", ".weight_zero_point",
    ".weight_shape", ".qweight", ".weight_packed", ".scale_weight", ".scale_input", ".weight_scale_2",
)  # fmt: skip
# The ends of names of codes that stand in the place of a weight, and of the weight's name.
_INSTEAD = ((".qweight", ".weight"), (".weight_packed", ".weight"), ("_blocks", ""))


def weight_name(name: str) -> str:
    """The name of the weight that packed codes stand for; any other name as it is.

    >>> weight_name("layers.0.up_proj.qweight"), weight_name("layers.0.mlp.experts.down_proj_blocks")
    ('layers.0.up_proj.weight', 'layers.0.mlp.experts.down_proj')
    """
    for end, of in _INSTEAD:
        if name.endswith(end):
            return name.removesuffix(end) + of
    return name


def codes_named(tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """The same tensors, with the codes of quantised weights as what cannot be read, and why."""
    return {name: _named(name, tensor, tensors) for name, tensor in tensors.items()}


def _named(name: str, tensor: LazyTensor, tensors: Mapping[str, LazyTensor]) -> LazyTensor:
    why = quantised(name, tensors)
    if why == PART:
        why = (
            packed(weight_name(name).removesuffix(".weight"), tensors) if weight_name(name) != name else None
        )
    return tensor if why is None else replace(tensor, supported=False, lacking=tensor.lacking or why)


def quantised(name: str, tensors: Mapping[str, LazyTensor]) -> str | None:
    """Why a tensor is no weight but part of a quantised one, `None` where it is a plain tensor."""
    if name.endswith(PACKED_PARTS) or ".quant_state." in name or tensors[name].lacking == PART:
        return PART
    if not name.endswith((".weight", "_proj", "_blocks")):
        return None
    return packed(name.removesuffix(".weight"), tensors)


def packed(module: str, tensors: Mapping[str, LazyTensor]) -> str | None:
    """How a module's weight is quantised, by what stands beside it or in its place."""
    stem = module.removesuffix("_blocks")
    if f"{stem}_blocks" in tensors and f"{stem}_scales" in tensors:
        return _codes("mxfp4")
    weight = tensors.get(f"{module}.weight")
    for end, writer in _BESIDE:
        if f"{module}.{end}" in tensors:
            if writer.startswith(("bitsandbytes", "float8")) and weight is not None and is_float(weight):
                # Read with its scales, or through bitsandbytes.
                return None
            if weight is not None and weight.lacking:
                return weight.lacking
            lacking = ""
            if writer.startswith("bitsandbytes") and not installed():
                lacking = "; with bitsandbytes installed they are read"
            return _codes(writer) + lacking
    return None


def _codes(writer: str) -> str:
    return f"quantised ({writer}): its numbers are codes, not weights"
