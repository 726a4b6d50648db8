"""FourierFT: ΔW = s·Re(F⁻¹(S)) [Gao et al. 2024]; WaveFT: the same with a Haar wavelet.

The file holds the values of the spectrum S alone; their places are drawn by a seed from the layer's shape.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Delta, Dense
from tunescope.source.files.tensors import LazyTensor
from tunescope.source.tuners.adapter import Adapter, Module, Tuner, exact
from tunescope.source.tuners.seeded import WITHOUT_TORCH, permutation, torch_is_there

Matrix = NDArray[np.float64]


def read_fourierft(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each module whose shape is known from a base."""
    scale = float(adapter.config.get("scaling", 150.0))
    for module, shape in _shaped(adapter, "FourierFT"):
        tensor = module["fourierft_spectrum"]
        load = partial(_fourier, tensor, shape, _seed(adapter), scale)
        yield adapter.delta(
            module, "fourierft", shape=shape, used=("fourierft_spectrum",), scale=scale, open=load
        )


def _shaped(adapter: Adapter, method: str) -> Iterator[tuple[Module, tuple[int, int]]]:
    for module in adapter.complete(f"{method.lower()}_spectrum"):
        if module.name not in adapter.shapes:
            adapter.needs(module, f"{method}: the layer's shape is not in the file; needs the base's shapes")
        elif not torch_is_there():
            adapter.needs(module, f"{method}: {WITHOUT_TORCH}")
        else:
            shape, spectrum = adapter.shapes[module.name], module[f"{method.lower()}_spectrum"]
            if adapter.sizes(spectrum=(spectrum, "n"))["n"] > shape[0] * shape[1]:
                adapter.refuse(spectrum, f"at most {shape[0] * shape[1]} values", spectrum.shape)
            yield module, shape


def _spectrum(tensor: LazyTensor, shape: tuple[int, int], seed: int) -> Matrix:
    flat = np.zeros(shape[0] * shape[1])
    flat[permutation(flat.size, seed, tensor.numel)] = exact(tensor)
    return flat.reshape(shape)


def _fourier(tensor: LazyTensor, shape: tuple[int, int], seed: int, scale: float) -> Dense:
    return Dense(np.fft.ifft2(_spectrum(tensor, shape, seed)).real, scale)


def read_waveft(adapter: Adapter) -> Iterator[Delta]:
    """One delta for each module whose shape is known from a base, for Haar wavelets or none."""
    family = adapter.config.get("wavelet_family", "db1")
    transformed = bool(adapter.config.get("use_idwt", True))
    scale = float(adapter.config.get("scaling", 25.0))
    for module, shape in _shaped(adapter, "WaveFT"):
        if transformed and family not in ("db1", "haar"):
            adapter.needs(module, f"WaveFT: only the wavelet db1 is understood, not {family}")
            continue
        load = partial(_wave, module["waveft_spectrum"], shape, _seed(adapter), transformed, scale)
        yield adapter.delta(module, "waveft", shape=shape, used=("waveft_spectrum",), scale=scale, open=load)


def _seed(adapter: Adapter) -> int:
    seed = adapter.config.get("random_loc_seed")
    return 777 if seed is None else int(seed)


def _wave(tensor: LazyTensor, shape: tuple[int, int], seed: int, transformed: bool, scale: float) -> Dense:
    spectrum = _spectrum(tensor, shape, seed)
    if not transformed:
        return Dense(spectrum, scale)
    padded = np.pad(spectrum, [(0, side % 2) for side in shape])
    return Dense(_inverse_haar(padded)[: shape[0], : shape[1]], scale)


def _inverse_haar(bands: Matrix) -> Matrix:
    """One level back from the four quarters: approximation, horizontal, vertical and diagonal detail."""
    rows, columns = bands.shape[0] // 2, bands.shape[1] // 2
    a, h = bands[:rows, :columns], bands[:rows, columns:]
    v, d = bands[rows:, :columns], bands[rows:, columns:]
    out = np.empty_like(bands)
    out[0::2, 0::2], out[0::2, 1::2] = a + h + v + d, a + h - v - d
    out[1::2, 0::2], out[1::2, 1::2] = a - h + v - d, a - h - v + d
    return out / 2


FOURIERFT = Tuner(frozenset({"fourierft_spectrum"}), read_fourierft)
WAVEFT = Tuner(frozenset({"waveft_spectrum"}), read_waveft)
