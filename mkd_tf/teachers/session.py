"""A network in a file, as inputs and outputs by name: what ONNX, TFLite and SavedModel share."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or an output.

    Attributes:
      shape: None where any size is allowed.
      dtype: of its values.
      scale, zero: real value = (value - zero) * scale for integers that are quantised; scale 0
        for others.
    """

    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    scale: float = 0.0
    zero: int = 0

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join('any' if s is None else str(s) for s in self.shape)}]"

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Returns real values as the tensor holds them."""
        if not np.issubdtype(self.dtype, np.integer):
            return np.ascontiguousarray(values, self.dtype)
        if self.scale:
            values = values / np.float32(self.scale) + self.zero
        limits = np.iinfo(self.dtype)
        return np.ascontiguousarray(np.clip(np.rint(values), limits.min, limits.max), self.dtype)

    def real(self, values: np.ndarray) -> np.ndarray:
        """Returns the real values of what the tensor holds."""
        if self.scale and np.issubdtype(self.dtype, np.integer):
            return (values.astype("float32") - self.zero) * np.float32(self.scale)
        return values


class Session:
    """Runs a network.

    Attributes:
      kind: one of `presets.KINDS`.
      inputs, outputs: by name.
      aliases: further names of outputs.
      names: of the classes, as the file has them: in order, by number, or None.
      normalisation: (mean, std) of pixels in 0..255 as the file states it, or None.
      size: side of the input as the file's metadata state it; 0 for none.
    """

    kind: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    aliases: Mapping[str, str] = MappingProxyType({})
    names: Any = None
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    size: int = 0

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs by name, as real values."""
        raise NotImplementedError


def described(tensors: Mapping[str, Tensor]) -> str:
    """Returns names and shapes, for errors."""
    return ", ".join(f"{name} {tensor}" for name, tensor in tensors.items())
