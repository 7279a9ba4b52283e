"""Files of PyTorch's older form: read without PyTorch, and nothing in them is called."""

import collections
import io
import os
import pickle
import sys
import types

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detectors.torch_file import MAGIC_NUMBER, read_tensors

KINDS = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class Storage:
    def __init__(self, kind, key, elements):
        self.kind, self.key, self.elements = kind, key, np.asarray(elements, KINDS[kind])


@pytest.fixture
def torch(monkeypatch):
    """What a pickler must find under the names that it writes: no part of the reader."""
    module, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in KINDS:
        setattr(module, kind, type(kind, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*arguments):
        raise RuntimeError("the original is never called")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2, module._utils = _rebuild_tensor_v2, utils
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return module


def written(torch, tensors, parts=None):
    """A file's content. `tensors` has (storage, offset, shape, strides) by name; `parts` replaces pickles."""
    storages = {s.key: s for s, *_ in tensors.values()}

    class Pickler(pickle.Pickler):
        def persistent_id(self, found):
            if isinstance(found, Storage):
                kind = getattr(torch, found.kind)
                return ("storage", kind, found.key, "cpu", len(found.elements), None)
            return None

        def reducer_override(self, found):
            if isinstance(found, types.SimpleNamespace):
                return torch._utils._rebuild_tensor_v2, (*found.values, False, collections.OrderedDict())
            return NotImplemented

    views = collections.OrderedDict((n, types.SimpleNamespace(values=v)) for n, v in tensors.items())
    pickles = [MAGIC_NUMBER, 1001, {"little_endian": True}, views, list(storages)]
    stream = io.BytesIO()
    for number, part in enumerate(pickles):
        Pickler(stream, protocol=2).dump((parts or {}).get(number, part))
    for storage in storages.values():
        stream.write(len(storage.elements).to_bytes(8, "little") + storage.elements.tobytes())
    return stream.getvalue()


def two(torch, **changes):
    kernel, count = Storage("FloatStorage", "12", range(12)), Storage("LongStorage", "7", [5])
    tensors = {
        "kernel": (kernel, 0, (2, 3), (1, 2)),
        "tail": (kernel, 9, (3,), (1,)),
        "count": (count, 0, (), ()),
    }
    return written(torch, tensors | changes)


def test_views_of_storages_by_hand(torch):
    found = read_tensors(two(torch), "x")
    # Element (i, j) of the first is number i + 2 j: it was stored transposed.
    assert found["kernel"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert found["tail"].tolist() == [9, 10, 11]
    assert found["count"] == 5
    assert {n: a.dtype.str for n, a in found.items()} == {"kernel": "<f4", "tail": "<f4", "count": "<i8"}
    found["kernel"][0, 0] = 8  # Memory of its own.


class Call:
    """What a pickle does to call something."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("number", range(5))
def test_no_pickle_of_the_file_can_call_anything(torch, tmp_path, number):
    evil = Call(os.system, f"touch {tmp_path}/called")
    storage = Storage("FloatStorage", "1", [1.0])
    content = written(torch, {"a": (storage, 0, (1,), (1,))}, {number: evil})
    with pytest.raises(MkdError, match=r"it names (posix|nt)\.system, which no dictionary of tensors needs"):
        read_tensors(content, "x")
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    "name", ["builtins eval", "torch load", "torch.storage FloatStorage", "collections deque"]
)
def test_other_names_are_refused_even_near_known_ones(torch, name):
    module, function = name.split()
    part = f"c{module}\n{function}\n.".encode()
    with pytest.raises(MkdError, match=f"it names {module}.{function}") as error:
        read_tensors(part + two(torch), "weights w.pth")
    assert str(error.value).startswith("weights w.pth: expected a dictionary of tensors")


def test_damaged_files_are_told(torch):
    whole = two(torch)
    storage = Storage("FloatStorage", "1", [1.0, 2.0])
    for content in (
        b"",
        b"not a pickle",
        whole[:40],
        whole[:-1],
        whole[: len(whole) // 2],
        two(torch, kernel=(storage, 0, (3,), (1,))),
        two(torch, kernel=(storage, 1, (2,), (1,))),
        two(torch, kernel=(storage, 1, (2,), (-1,))),
        two(torch, kernel=(storage, 0, (2,), (1, 1))),
        written(torch, {}, {0: 1}),
        written(torch, {}, {1: 1000}),
        written(torch, {}, {3: {"a": "no tensor"}}),
        written(torch, {"a": (storage, 0, (2,), (1,))}, {4: []}),
    ):
        with pytest.raises(
            MkdError, match="^x: expected a dictionary of tensors .* got a file that cannot be"
        ):
            read_tensors(content, "x")
