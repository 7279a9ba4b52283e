"""Reading a file that nobody vouches for: one clear error, never a traceback, and in bounded time."""

import time

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mkd_tf.checks import MkdError
from mkd_tf.edgetpu import operators
from mkd_tf.edgetpu.operators import read_graph
from mkd_tf.edgetpu.placement import check
from tests.edgetpu.edgetpu_models import model, tensor


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "an empty file"),
        (b"TFL3", "a file without the mark TFL3"),
        (b"PK\x03\x04" + bytes(100), "a file without the mark TFL3"),
        (b"\x1c\0\0\0TFL3" + bytes(100), "one that breaks off or contradicts itself"),
        (b"\xff\xff\xff\xffTFL3" + bytes(100), "one that breaks off or contradicts itself"),
    ],
    ids=["empty", "short", "another format", "zeros", "far offset"],
)
def test_no_tflite_file(content, got):
    with pytest.raises(MkdError) as caught:
        read_graph(content, "model x.tflite")
    assert str(caught.value).startswith(f"model x.tflite: expected a whole TFLite file, got {got}")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_file(part):
    content = model("plain")
    with pytest.raises(MkdError, match="expected a whole TFLite file, got one that breaks off"):
        read_graph(content[: int(len(content) * part)])


def test_what_is_read():
    graph = read_graph(model("detection"))
    assert graph.runtime == (1, 14, 0)
    assert graph.subgraphs == 1
    last = graph.operators[-1]
    assert (last.name, last.custom, len(last.inputs), len(last.outputs)) == (
        "TFLite_Detection_PostProcess",
        True,
        3,
        4,
    )
    # The anchors, 0.5 everywhere.
    assert last.inputs[2].type == "FLOAT32"
    assert (last.inputs[2].data.view("<f4") == 0.5).all()
    first = graph.operators[0]
    assert first.name == "QUANTIZE"
    assert (first.inputs[0].type, first.inputs[0].shape, first.inputs[0].constant) == (
        "UINT8",
        (1, 16, 16, 3),
        False,
    )


def test_constants_have_values():
    assert tensor(0, (2,), "INT32", value=np.array([3, -1], "<i4")).values().tolist() == [3, -1]
    assert tensor(0, (2,), "INT8", value=np.array([3, -1], "i1")).values().tolist() == [3, -1]
    assert tensor(0, (2,), "INT8").values() is None
    assert tensor(0, (2,), "FLOAT32", value=np.ones(2, "f4")).values() is None


def test_names_cannot_steer_the_terminal():
    assert operators._plain(b"a\x1b[31mb\nc\xff") == "a?[31mb?c\ufffd"
    assert len(operators._plain(b"x" * 10_000)) == 80
    assert operators._plain(None) == "(no name)"


@pytest.mark.parametrize("limit", ["MAX_OPERATORS", "MAX_TENSORS", "MAX_RANK"])
def test_limits(monkeypatch, limit):
    monkeypatch.setattr(operators, limit, 1)
    with pytest.raises(MkdError, match=r"ValueError: \d+ (operators|tensors|dimensions), more than 1"):
        read_graph(model("plain"))


@pytest.mark.parametrize("name", ["plain", "detection", "tile"])
def test_no_mutation_is_a_traceback(name):
    """Changed bytes give a report or the one error; nothing else, and soon."""
    rng, original = np.random.default_rng(0), np.frombuffer(model(name), np.uint8)
    outcomes = {"report": 0, "error": 0}
    for _ in range(150):
        content = original.copy()
        places = rng.integers(0, len(content), rng.integers(1, 30))
        content[places] = rng.choice([0, 1, 127, 128, 255, *rng.integers(0, 256, 5)], len(places))
        start = time.monotonic()
        try:
            check(content.tobytes())
            outcomes["report"] += 1
        except MkdError as error:
            assert "expected a whole TFLite file" in str(error)
            outcomes["error"] += 1
        assert time.monotonic() - start < 5
    assert all(outcomes.values()), outcomes


@pytest.mark.parametrize("index", [-2, -1, 10_000])
def test_an_operator_names_a_tensor_that_is_not_there(index):
    content = bytearray(model("plain"))
    operator = schema.Model.GetRootAs(content, 0).Subgraphs(0).Operators(0)
    operator.OutputsAsNumpy()[0] = index
    with pytest.raises(MkdError, match="an operator names a tensor that is not there"):
        read_graph(bytes(content))
