"""Evenly spaced channels: how a narrow layer takes weights of a wide one.

Consecutive layers with the same numbers of channels take the same ones, so that what
one layer writes is what the next one reads (uniform element selection).

Reference: Xu et al., "Initializing Models with Larger Ones", ICLR 2024.
"""

from collections.abc import Sequence

import numpy as np


def evenly_spaced(large: int, small: int) -> np.ndarray:
    """Returns which of `large` channels a layer of `small` channels takes, `[small]` int64.

    With more channels than the large layer has, some are taken twice.
    """
    return np.round(np.linspace(0, large - 1, small)).astype("int64")


def selected(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Returns `array` with evenly spaced elements along every axis whose size differs from `shape`."""
    for axis, size in enumerate(shape):
        if array.shape[axis] != size:
            array = np.take(array, evenly_spaced(array.shape[axis], size), axis=axis)
    return array
