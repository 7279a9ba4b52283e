"""Reads tensors from a file of PyTorch's older form, without PyTorch and without running its code.

The file is four pickles (magic number, version, sizes of types, a dictionary of tensors by
name), a pickled list of storage keys, and the storages in the order of the keys: each an
int64 with its number of elements, then the elements. A tensor is a storage, an offset, a
shape and strides, in elements.

A pickle calls whatever it names. `_Tensors` knows the names that a dictionary of tensors
needs and refuses every other one, so that nothing else can be called.
"""

import collections
import dataclasses
import io
import pickle
from typing import Any

import numpy as np

from mkd_tf.checks import MkdError, fail

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_STORAGES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4"}


@dataclasses.dataclass(frozen=True)
class _Storage:
    """Elements of one type in a row; `key` says where they are in the file."""

    key: str
    dtype: str
    count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset, shape and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _Tensor:
    """Takes the place of `torch._utils._rebuild_tensor_v2`."""
    del rest  # Whether it has a gradient, and hooks.
    return _Tensor(storage, offset, shape, strides)


class _Tensors(pickle.Unpickler):
    """An unpickler that knows dictionaries and tensors alone."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no dictionary of tensors needs")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, view = pid
        if kind != "storage" or dtype not in _STORAGES.values() or view is not None:
            raise pickle.UnpicklingError("it holds something else than whole storages")
        return _Storage(str(key), dtype, int(count))


def read_tensors(content: bytes, where: str) -> dict[str, np.ndarray]:
    """Returns the tensors of a file by name, each as an array of its own memory.

    Args:
      content: of the whole file.
      where: what errors call it.

    Raises:
      MkdError: if it is not such a file, is cut short, or names anything but tensors.
    """
    stream = io.BytesIO(content)
    try:
        magic, version, system = (_Tensors(stream).load() for _ in range(3))
        if magic != MAGIC_NUMBER or version != _VERSION or not system["little_endian"]:
            raise pickle.UnpicklingError("it is of another form")
        tensors = _Tensors(stream).load()
        if not isinstance(tensors, dict) or not all(isinstance(t, _Tensor) for t in tensors.values()):
            raise pickle.UnpicklingError("it is not a dictionary of tensors")
        storages = {t.storage.key: t.storage for t in tensors.values()}
        elements = {}
        for key in _Tensors(stream).load():
            storage = storages[str(key)]
            if int.from_bytes(stream.read(8), "little") != storage.count:
                raise EOFError("a storage of another length than announced")
            size = storage.count * np.dtype(storage.dtype).itemsize
            elements[storage.key] = np.frombuffer(stream.read(size), storage.dtype, storage.count)
        return {name: _array(tensor, elements[tensor.storage.key]) for name, tensor in tensors.items()}
    except MkdError:
        raise
    except Exception as error:  # A damaged pickle can end in an error of any kind.
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        fail(
            where,
            expected="a dictionary of tensors as PyTorch wrote them before version 1.6",
            got=f"a file that cannot be read so ({reason})",
            do="Use the original file.",
        )


def _array(tensor: _Tensor, elements: np.ndarray) -> np.ndarray:
    """Returns the array that a tensor shows of its storage's `elements`.

    Raises:
      ValueError: if it reaches beyond them.
    """
    shape, strides = tensor.shape, tensor.strides
    is_valid = len(shape) == len(strides) and min((*shape, *strides, tensor.offset), default=0) >= 0
    last = tensor.offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=is_valid))
    if not is_valid or (0 not in shape and last >= len(elements)):
        raise ValueError("a tensor reaches beyond its storage")
    steps = tuple(s * elements.itemsize for s in strides)
    return np.lib.stride_tricks.as_strided(elements[tensor.offset :], shape, steps).copy()
