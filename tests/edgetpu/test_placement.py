"""The static Edge TPU check on real files: what must pass, and what must not, with operator and reason."""

import pytest

from mkd_tf.edgetpu import placement
from mkd_tf.edgetpu.placement import (
    ACCEPTED,
    CPU,
    DOUBTFUL,
    EDGE_TPU,
    PARTLY,
    REJECTED,
    check,
    parameter_bytes,
    place,
)
from mkd_tf.edgetpu.rules import POSTPROCESS
from tests.edgetpu.edgetpu_models import graph, model, operator, tensor

SHAPE = (1, 8, 8, 4)


@pytest.mark.parametrize(
    ("name", "verdict", "told"),
    [
        ("tile", REJECTED, "operator TILE v3 (operator 2, "),
        ("tile", REJECTED, "version 3 is above 2, the parser's highest"),
        ("tile", REJECTED, "a tensor has rank 5, above 4"),
        ("groups", REJECTED, "operator CONV_2D v6 (operator 1, "),
        ("groups", REJECTED, "version 6 is above 5, the parser's highest: a grouped convolution (2 groups)"),
        ("groups", REJECTED, "min_runtime_version 2.9.0 is above 2.5.0"),
        ("gelu", REJECTED, "operator GELU v2 (operator 1, "),
        ("gelu", REJECTED, "the compiler's parser (TensorFlow 2.5) does not know the operator"),
        ("gelu", REJECTED, "1 more would run on the CPU (CONV_2D): the first follows GELU (operator 1)"),
        ("hard-swish", PARTLY, "operator HARD_SWISH v1 (operator 1, "),
        ("hard-swish", PARTLY, "the operator is not supported"),
        (
            "hard-swish",
            PARTLY,
            "1 more would run on the CPU (CONV_2D): the first follows HARD_SWISH (operator 1)",
        ),
        ("dynamic batch", REJECTED, "operator CONV_2D v3 (operator 0, "),
        ("dynamic batch", REJECTED, "a tensor has a dynamic shape: export with batch 1"),
        ("float core", REJECTED, "operator CONV_2D v1 (operator 0, Identity): a tensor is FLOAT32, not INT8"),
        ("float core", REJECTED, "model not quantized: its tensors are FLOAT32, not INT8"),
        ("post-process in the middle", PARTLY, f"operator {POSTPROCESS} v1 ("),
        ("post-process in the middle", PARTLY, "it must be the last operator"),
        ("post-process in the middle", PARTLY, "operator MUL v"),
        ("post-process in the middle", PARTLY, f"follows {POSTPROCESS}, which must be last"),
        (
            "9 MB",
            REJECTED,
            "8.6 MiB of parameters, more than the 8 MiB on the chip: the most of them, 8.6 MiB",
        ),
        ("9 MB", REJECTED, "8.6 MiB, in CONV_2D (operator 1)"),
    ],
)
def test_what_does_not_run_is_told_with_operator_and_reason(name, verdict, told):
    report = check(model(name))
    assert report.verdict == verdict
    assert not report.passes
    assert any(told in problem for problem in report.problems), report.problems


def test_a_plain_model_passes():
    report = check(model("plain"))
    assert report.verdict == ACCEPTED
    assert report.passes
    assert report.problems == report.warnings == ()
    assert {p.place for p in report.placements} == {EDGE_TPU}
    assert report.versions() == {"CONV_2D": 3, "LOGISTIC": 2, "MUL": 2}
    # Two 3x3 kernels, 3 to 4 and 4 to 4 channels; their zero biases, 4 of 4 bytes, are stored once.
    assert report.parameter_bytes == 3 * 3 * 3 * 4 + 3 * 3 * 4 * 4 + 4 * 4
    assert report.on_chip_bytes == report.parameter_bytes
    assert report.off_chip_bytes == 0


def test_the_form_for_clients_passes():
    """uint8 input, int8 core, and only the float steps at the end on the CPU."""
    report = check(model("detection"))
    assert report.verdict == ACCEPTED, report.problems
    places = {(p.operator.name, p.place) for p in report.placements}
    assert ("QUANTIZE", EDGE_TPU) in places
    assert ("DEQUANTIZE", CPU) in places
    assert report.placements[-1].operator.name == POSTPROCESS
    assert {name for name, where in places if where == CPU} == {"DEQUANTIZE", POSTPROCESS}
    # The anchors are the post-process's.
    assert report.parameter_bytes < 16 * 16 * 4 * 4


def _chain(*names: str, **versions: int):
    tensors = [tensor(i, SHAPE) for i in range(len(names) + 1)]
    return graph(
        *(
            operator(name, [tensors[i]], [tensors[i + 1]], index=i, version=versions.get(name, 1))
            for i, name in enumerate(names)
        )
    )


def test_what_follows_the_first_unmapped_operator_is_on_the_cpu():
    placements = place(_chain("RELU", "HARD_SWISH", "RELU6", "CAST", "TANH"))
    assert [p.place for p in placements] == [EDGE_TPU, CPU, CPU, CPU, CPU]
    assert placements[2].reason == "follows HARD_SWISH (operator 1), which is not mapped"
    assert [p.follows for p in placements] == [False, False, True, False, True]
    # The first one is to blame, not the last.
    assert placements[4].reason == "follows HARD_SWISH (operator 1), which is not mapped"
    assert not any(p.passes for p in placements[1:])


def test_what_does_not_depend_on_it_stays():
    a, b, c, d = (tensor(i, SHAPE) for i in range(4))
    placements = place(
        graph(operator("HARD_SWISH", [a], [b]), operator("RELU", [a], [c]), operator("ADD", [b, c], [d]))
    )
    assert [p.place for p in placements] == [CPU, EDGE_TPU, CPU]


def test_a_float_input_is_quantised_on_the_cpu():
    first = tensor(0, SHAPE, "FLOAT32")
    entry = operator("QUANTIZE", [first], [tensor(1, SHAPE)])
    placements = place(graph(entry, operator("RELU", [tensor(1, SHAPE)], [tensor(2, SHAPE)])))
    assert [(p.place, p.passes) for p in placements] == [(CPU, True), (EDGE_TPU, True)]


def test_a_float_island_sends_the_rest_to_the_cpu():
    tensors = [tensor(0, SHAPE), tensor(1, SHAPE, "FLOAT32"), tensor(2, SHAPE), tensor(3, SHAPE)]
    names = ("DEQUANTIZE", "QUANTIZE", "RELU")
    placements = place(graph(*(operator(n, [tensors[i]], [tensors[i + 1]]) for i, n in enumerate(names))))
    assert [(p.place, p.passes) for p in placements] == [(CPU, True), (CPU, True), (CPU, False)]


def test_the_post_process_must_be_last():
    boxes, found, other = tensor(0, SHAPE, "FLOAT32"), tensor(1, (1, 5, 4), "FLOAT32"), tensor(2, SHAPE)
    process, relu = operator(POSTPROCESS, [boxes], [found]), operator("RELU", [other], [tensor(3, SHAPE)])
    assert [p.passes for p in place(graph(relu, process))] == [True, True]
    assert [p.passes for p in place(graph(process, relu))] == [False, True]
    # Not even the steps that may run on the CPU, behind it.
    after = operator("QUANTIZE", [found], [tensor(4, (1, 5, 4))])
    assert [p.passes for p in place(graph(process, after))] == [False, False]


def _with_parameters(monkeypatch, size: int):
    kernel = tensor(1, (1, 1, 1, size), value=[0], size=size)
    one = operator("CONV_2D", [tensor(0, SHAPE), kernel], [tensor(2, SHAPE)], version=3)
    twice = operator("CONV_2D", [tensor(2, SHAPE), kernel], [tensor(3, SHAPE)], version=3)
    made = graph(one, twice)
    # Shared by both, counted once.
    assert parameter_bytes(made) == size
    monkeypatch.setattr(placement, "read_graph", lambda content, where: made)
    return check(b"")


def test_the_budget_of_parameters(monkeypatch):
    fits = _with_parameters(monkeypatch, 6 * 2**20)
    assert (fits.verdict, fits.warnings, fits.off_chip_bytes) == (ACCEPTED, (), 0)
    warned = _with_parameters(monkeypatch, 6 * 2**20 + 1)
    assert warned.verdict == ACCEPTED
    assert (warned.on_chip_bytes, warned.off_chip_bytes) == (6 * 2**20, 1)
    assert warned.warnings[0].startswith("6.0 MiB of parameters: above 6 MiB a part may be streamed")
    assert _with_parameters(monkeypatch, 8 * 2**20).verdict == ACCEPTED
    refused = _with_parameters(monkeypatch, 8 * 2**20 + 1)
    assert refused.verdict == REJECTED
    assert refused.warnings == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"subgraphs": 2}, "2 subgraphs, not 1"),
        ({"runtime": (2, 5, 1)}, "min_runtime_version 2.5.1 is above 2.5.0, which the compiler reads"),
    ],
)
def test_what_rejects_the_whole_file(monkeypatch, changes, told):
    made = _chain("RELU")
    for name, value in changes.items():
        object.__setattr__(made, name, value)
    monkeypatch.setattr(placement, "read_graph", lambda content, where: made)
    report = check(b"")
    assert (report.verdict, report.problems) == (REJECTED, (told,))


def test_warnings(monkeypatch):
    image, flat, folded = tensor(0, (1, 64, 4)), tensor(1, SHAPE), tensor(3, SHAPE)
    reshape = operator("RESHAPE", [image, tensor(9, (4,), "INT32", value=[1])], [flat], index=3)
    convolution = operator("CONV_2D", [flat, tensor(2, (4, 1, 1, 4), value=[0] * 16)], [folded], index=4)
    softmax = operator("SOFTMAX", [folded], [tensor(4, SHAPE)], index=5)
    flat_one = operator("SOFTMAX", [tensor(5, (1, 1, 1, 4))], [tensor(6, (1, 1, 1, 4))], index=7)
    made = graph(reshape, convolution, softmax, softmax, flat_one)
    object.__setattr__(made, "runtime", ())
    monkeypatch.setattr(placement, "read_graph", lambda content, where: made)
    report = check(b"")
    assert report.verdict == ACCEPTED
    assert report.warnings == (
        "the file names no min_runtime_version",
        "operator CONV_2D (operator 4) follows a RESHAPE, which was seen mapped at the heads only",
        "operator SOFTMAX (operator 5, 2 times) is documented for one dimension, and has more",
    )


def _resized(name: str, before: int, after: int):
    image = tensor(0, (1, before, before, 4))
    resize = operator(name, [image], [tensor(1, (1, after, after, 4))], version=2)
    return graph(
        resize, operator("RELU", [tensor(1, (1, after, after, 4))], [tensor(2, (1, after, after, 4))])
    )


@pytest.mark.parametrize(
    ("name", "before", "after", "verdict"),
    [
        ("RESIZE_BILINEAR", 24, 48, ACCEPTED),
        ("RESIZE_BILINEAR", 33, 33, ACCEPTED),
        ("RESIZE_BILINEAR", 25, 50, DOUBTFUL),
        ("RESIZE_BILINEAR", 4, 12, DOUBTFUL),
        ("RESIZE_BILINEAR", 2, 30, PARTLY),
        ("RESIZE_NEAREST_NEIGHBOR", 40, 80, ACCEPTED),
        ("RESIZE_NEAREST_NEIGHBOR", 41, 82, DOUBTFUL),
        ("RESIZE_NEAREST_NEIGHBOR", 4, 12, DOUBTFUL),
    ],
)
def test_a_resize_beyond_the_sizes_seen_mapped_is_doubtful(monkeypatch, name, before, after, verdict):
    monkeypatch.setattr(placement, "read_graph", lambda content, where: _resized(name, before, after))
    report = check(b"")
    assert report.verdict == verdict
    assert report.passes == (verdict == ACCEPTED)
    if verdict == DOUBTFUL:
        assert {p.place for p in report.placements} == {EDGE_TPU}
        assert report.problems[0].startswith(f"operator {name} (operator 0) enlarges ")
        assert report.problems[0].endswith("only edgetpu_compiler can decide")


def test_the_input_may_be_converted_on_the_cpu_first():
    pixels, floats = tensor(0, SHAPE, "UINT8"), tensor(1, SHAPE, "FLOAT32")
    ints, last = tensor(2, SHAPE), tensor(3, SHAPE)
    cast, quantize = operator("CAST", [pixels], [floats]), operator("QUANTIZE", [floats], [ints])
    placements = place(graph(cast, quantize, operator("RELU", [ints], [last])))
    assert [(p.place, p.passes) for p in placements] == [(CPU, True), (CPU, True), (EDGE_TPU, True)]
    # Behind another operator it is no conversion of the input.
    early = operator("RELU", [tensor(4, SHAPE)], [pixels])
    placements = place(graph(early, cast, quantize, operator("RELU", [ints], [last])))
    assert [p.place for p in placements] == [EDGE_TPU, CPU, CPU, CPU]
