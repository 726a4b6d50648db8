"""A live `PeftModel` or a state dict as a source, read where it lies."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np

from tunescope.delta import Array, read_only
from tunescope.errors import BadInput, UsageError
from tunescope.source.files.container import DTYPE_NAMES, lazy
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.formats.names import strip_wrappers
from tunescope.source.weights import Weights

_TORCH_NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0", "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
# Types that torch cannot hand to NumPy, and the unsigned integers that carry their bits.
_AS_BITS = {
    "BF16": ("int16", ml_dtypes.bfloat16), "F8_E4M3": ("uint8", ml_dtypes.float8_e4m3fn),
    "F8_E5M2": ("uint8", ml_dtypes.float8_e5m2), "F8_E8M0": ("uint8", ml_dtypes.float8_e8m0fnu),
    "F8_E4M3FNUZ": ("uint8", ml_dtypes.float8_e4m3fnuz), "F8_E5M2FNUZ": ("uint8", ml_dtypes.float8_e5m2fnuz),
}  # fmt: skip


def live_weights(model: Any, config: Mapping[str, Any] | None = None) -> Weights:
    """The adapter tensors of a `PeftModel` (its active adapter), or those of a state dict with its config."""
    if isinstance(model, Mapping):
        return Weights("state dict", _tensors(model), config=config)
    if not hasattr(model, "peft_config"):
        raise UsageError(
            "not-a-source",
            "this object is no source",
            expected="a path, an id on the hub, a PeftModel or a state dict",
            found=type(model).__name__,
        )
    # Deferred: whoever holds such a model has loaded PEFT.
    from peft import get_peft_model_state_dict

    adapter = _active(model)
    state = get_peft_model_state_dict(model, adapter_name=adapter)
    return Weights(
        f"live {type(model).__name__} ({adapter})",
        _tensors(state),
        config=_plain(model.peft_config[adapter]),
        shapes=_shapes(model),
    )


def _shapes(model: Any) -> dict[str, tuple[int, int]]:
    """(d_out, d_in) of the layers that PEFT has wrapped, under their names in the plain model."""
    return {
        strip_wrappers(name): (layer.out_features, layer.in_features)
        for name, layer in model.named_modules()
        if hasattr(layer, "base_layer") and hasattr(layer, "in_features") and hasattr(layer, "out_features")
    }


def _active(model: Any) -> str:
    active = getattr(model, "active_adapters", None) or list(model.peft_config)
    active = active() if callable(active) else active
    if len(active) != 1:
        raise UsageError(
            "several-adapters",
            "the model has several active adapters",
            expected="one active adapter",
            found=", ".join(map(str, active)),
            fix="call model.set_adapter(name) first",
        )
    return str(active[0])


def _plain(config: Any) -> dict[str, Any]:
    """A PEFT config as `adapter_config.json` would hold it."""
    return {key: _json_value(value) for key, value in config.to_dict().items()}


def _json_value(value: Any) -> Any:
    if isinstance(value, set | tuple):
        return sorted(value) if isinstance(value, set) else list(value)
    return getattr(value, "value", value)


def _tensors(state: Mapping[Any, Any]) -> dict[str, LazyTensor]:
    return {str(name): _tensor(str(name), value) for name, value in state.items()}


def _tensor(name: str, value: Any) -> LazyTensor:
    if isinstance(value, np.ndarray):
        dtype = DTYPE_NAMES.get(value.dtype.newbyteorder("<"), str(value.dtype))
        return lazy(name, dtype, value.shape, value.nbytes, partial(read_only, value))
    if not (hasattr(value, "detach") and hasattr(value, "element_size")):
        raise BadInput(
            "not-a-tensor",
            "the state dict holds something that is no tensor",
            tensor=name,
            expected="torch tensors or NumPy arrays",
            found=type(value).__name__,
            fix="pass model.state_dict() alone",
        )
    dtype = _TORCH_NAMES.get(str(value.dtype).removeprefix("torch."), str(value.dtype))
    if value.is_meta or str(value.layout) != "torch.strided":
        dtype = "meta tensor" if value.is_meta else f"{value.layout} tensor"
    return lazy(
        name, dtype, tuple(value.shape), value.numel() * value.element_size(), partial(_array, value, dtype)
    )


def _array(tensor: Any, dtype: str) -> Array:
    plain = tensor.detach().cpu().contiguous()
    if dtype in _AS_BITS:
        # Deferred: the tensor at hand comes from torch, so torch is there.
        import torch

        bits, numpy_dtype = _AS_BITS[dtype]
        return read_only(plain.view(getattr(torch, bits)).numpy().view(numpy_dtype))
    return read_only(plain.numpy())
