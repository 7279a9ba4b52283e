"""Selective precision: the bad layer's error goes, the contract and all other grids stay."""

import builtins
import sys

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from mkd_tf.checks import MkdError
from mkd_tf.conversion.tflite.model_file import producers, tensor_name, unpack
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from mkd_tf.diagnosis import layer_errors, selective
from mkd_tf.diagnosis.format import import_quantizer
from mkd_tf.diagnosis.layer_names import keras_names
from mkd_tf.diagnosis.layer_quantization import Pair
from mkd_tf.diagnosis.selective import chosen_layers, to_selective, with_readers
from mkd_tf.edgetpu import placement
from mkd_tf.evaluation.runners import KerasRunner
from tests.conversion import made, made_broken

TYPES = {"int16": np.int16, "float": np.float32}


@pytest.fixture(scope="module")
def pair():
    names = keras_names(made_broken.detector().inference_core())
    return Pair(*made_broken.files(), names)


@pytest.fixture(scope="module")
def make():
    """Makes files from the two that are there already."""
    pytest.importorskip("ai_edge_quantizer")
    floats, int8 = made_broken.files()
    made_before = {}

    def maker(layers, precision):
        key = (tuple(layers), precision)
        if key not in made_before:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(selective, "float_core", lambda *_: floats)
                patch.setattr(selective, "to_tflite", lambda *_, **__: int8)
                made_before[key] = to_selective(
                    made_broken.detector(), made_broken.calibration(), layers, precision
                )
        return made_before[key]

    return maker


def output_errors(content, exact, images, scaling):
    """Returns the relative RMS error of each output of a file with uint8 input against the float file's."""
    ours, theirs = layer_errors._Run(content), layer_errors._Run(exact)
    found, reference = [], []
    factor, offset = np.asarray(scaling, "float32")
    for image, scaled in zip(images, images.astype("float32") * factor + offset, strict=True):
        for run, given, heads in ((ours, image, found), (theirs, scaled, reference)):
            run(given)
            heads.append(run.heads())
    return layer_errors._compared(iter(found), reference)


def tensors(content):
    graph = unpack(content).subgraphs[0]
    return {tensor_name(graph, index): graph.tensors[index] for index in producers(graph)}


@pytest.mark.parametrize(("precision", "factor"), [("int16", 0.4), ("float", 0.4)])
def test_the_worst_layer_in_more_bits_brings_the_error_down(make, precision, factor):
    floats, int8 = made_broken.files()
    images, scaling = made_broken.calibration().images[:4], made_broken.detector().scaling
    before = output_errors(int8, floats, images, scaling)
    assert before == pytest.approx(made_broken.diagnosis().total, rel=1e-6)
    (worst,) = made_broken.diagnosis().worst(1)
    after = output_errors(make([worst], precision), floats, images, scaling)
    for head in before:
        assert after[head] < factor * before[head], head


@pytest.mark.parametrize("precision", ["int16", "float"])
def test_the_contract_is_that_of_the_int8_file(make, precision):
    content = make([made_broken.BAD], precision)
    interpreter = Interpreter(model_content=content)
    (entry,) = interpreter.get_input_details()
    assert entry["dtype"] == np.uint8 and entry["quantization"] == pytest.approx((1 / 127.5, 127), abs=1e-5)
    assert {d["dtype"] for d in interpreter.get_output_details()} == {np.float32}
    runner = TFLiteRunner(content)
    assert runner.class_names == made_broken.detector().class_names
    images = made.images(2, seed=9)
    for found, expected in zip(runner(images), KerasRunner(made_broken.detector())(images), strict=True):
        assert len(found) > 10
        count = min(len(found), len(expected))
        np.testing.assert_allclose(found.scores[:count], expected.scores[:count], atol=0.1)


@pytest.mark.parametrize("precision", ["int16", "float"])
def test_an_edge_tpu_refuses_it_and_is_told_why(make, precision):
    report = placement.check(make([made_broken.BAD], precision))
    assert not report.passes
    assert any("a tensor is " + precision.upper()[:5] in problem for problem in report.problems)


@pytest.mark.parametrize("precision", ["int16", "float"])
def test_all_but_the_chosen_and_their_readers_is_the_int8_file(make, pair, precision):
    _, int8 = made_broken.files()
    found, expected = tensors(make([made_broken.BAD], precision)), tensors(int8)
    (bad,) = chosen_layers(pair, [made_broken.BAD])
    precise = with_readers(unpack(pair.float_file), [bad.tensor])
    compared = 0
    for layer in pair.layers[1:]:
        ours, theirs = found[layer.tensor], expected[layer.tensor]
        if layer.tensor in precise:
            assert ours.type == selective._TYPES[precision]
            continue
        assert ours.type == theirs.type
        assert ours.quantization.scale[0] == pytest.approx(theirs.quantization.scale[0], rel=1e-4)
        assert ours.quantization.zeroPoint[0] == theirs.quantization.zeroPoint[0]
        compared += 1
    assert compared == len(pair.layers) - 1 - len(precise)


def test_the_scores_keep_their_range_in_int16(make):
    content = make(["Sigmoid"], "int16")
    step = tensors(content)["Sigmoid"].quantization.scale[0]
    assert step == pytest.approx(1 / 32768, rel=1e-6)
    assert TFLiteRunner(content)(made.images(1, seed=9))[0].scores.max() > 0.5


def test_readers_come_along_through_what_only_moves_values(pair):
    model = unpack(pair.float_file)
    names = {layer.name: layer.tensor for layer in pair.layers}

    def readers(name):
        known = {tensor: n for n, tensor in names.items()}
        return [known.get(t) or t.split("/")[1] for t in with_readers(model, [names[name]])]

    assert readers(made_broken.BAD) == [made_broken.BAD, "stage3_add"]
    # By way of the upsampling, whose grid is that of its input.
    lateral = readers("pyramid_lateral5_conv")
    assert lateral == ["pyramid_lateral5_conv", "pyramid_out5_conv", "pyramid_up4_1", "pyramid_add4"]
    assert readers("head_class@2x2")[-2:] == ["head_class_all_1", "Sigmoid"]


def test_layers_are_chosen_by_name_one_call_or_all(pair):
    assert [x.name for x in chosen_layers(pair, ["head_box"])] == [
        "head_box@2x2",
        "head_box@4x4",
        "head_box@8x8",
    ]
    assert [x.name for x in chosen_layers(pair, ["head_box@4x4", "head_box@4x4"])] == ["head_box@4x4"]
    for names, told in (
        (["stem"], r"expected some of stem_conv, .*, got 'stem'"),
        (["input"], "the input cannot be chosen"),
        ([], "expected at least one layer"),
    ):
        with pytest.raises(MkdError, match=told):
            chosen_layers(pair, names)


def test_what_the_package_leaves_in_int8_is_told(pair):
    _, int8 = made_broken.files()
    bad = chosen_layers(pair, [made_broken.BAD])
    with pytest.raises(MkdError, match=r"precision int16: .* got stage3_b_conv \(CONV_2D\).*or choose float"):
        selective._check_types(int8, bad, "int16")


def test_an_unknown_precision_is_told():
    with pytest.raises(MkdError, match="precision: expected one of int16, float, got 'int4'"):
        to_selective(made.detector(), made_broken.calibration(), ["stem_conv"], "int4")


def test_a_missing_package_is_told_with_its_extra(monkeypatch):
    whole = builtins.__import__

    def without(name, *rest, **options):
        if name.startswith("ai_edge_quantizer"):
            raise ImportError(name)
        return whole(name, *rest, **options)

    for name in [n for n in sys.modules if n.startswith("ai_edge_quantizer")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MkdError, match=r"the package ai-edge-quantizer, got none.*mkd_tf\[selective\]"):
        import_quantizer()


def test_a_failure_of_the_package_is_told(make, monkeypatch):
    def broken(*_):
        raise ValueError("no such\nthing")

    monkeypatch.setattr(selective, "_quantized", broken)
    with pytest.raises(MkdError, match=r"made no file \(no such thing\). Choose other layers"):
        make(["stem_conv"], "float")
