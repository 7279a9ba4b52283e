"""The cross head: its halves by the losses of soft targets, the frozen head, and networks without one."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import mkd_tf
from mkd_tf.checks import MkdError
from mkd_tf.strategies import CrossHead
from tests import reference
from tests.strategies import fakes


def connected(size=64, **arguments):
    ports = {"teacher": fakes.port("teacher", size), "student": fakes.port()}
    strategy = CrossHead(**arguments)
    strategy.connect(ports)
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    return strategy, outputs, ports["teacher"]


@pytest.mark.parametrize("size", [64, 128])
def test_against_the_reference(size):
    strategy, outputs, port = connected(size, classes=0.5, boxes=2.0, tau=2.0, beta=0)
    kernels = {tap: (np.array(a.kernel)[0, 0], np.array(a.bias)) for tap, a in strategy.adapters.items()}
    pairs = {64: {"P3": "P3", "P4": "P4", "P5": "P5"}, 128: {"P4": "P3", "P5": "P4"}}[size]
    head, anchors = port.head(strategy.taps), port.anchors.centers_and_sizes()
    # At twice the size the teacher's finest level has no partner.
    first = 0 if size == 64 else 256
    assert strategy._matched.tolist() == [0.0] * first + [1.0] * (len(anchors) - first)
    for i, found in enumerate(strategy(outputs, {})):
        maps = [
            outputs["student"][pairs[tap]][i : i + 1] @ kernels[pairs[tap]][0] + kernels[pairs[tap]][1]
            if tap in pairs
            else outputs["teacher"][tap][i : i + 1]
            for tap in strategy.taps
        ]
        crossed = {name: np.array(value)[0, first:] for name, value in head(maps).items()}
        source = {name: outputs["teacher"][name][i, first:] for name in crossed}
        ours, theirs = (
            [reference.decode(e, a) for e, a in zip(x["box_encodings"], anchors[first:], strict=True)]
            for x in (crossed, source)
        )
        classes = reference.soft_classes(crossed["class_logits"], source["class_logits"], 2.0, 0)
        boxes = reference.soft_boxes(ours, theirs, source["class_logits"])
        assert float(found) == pytest.approx(0.5 * classes + 2 * boxes, rel=1e-3)


def test_by_hand():
    # A head whose only class logit is the map's only channel: probability 1/2 of the student against
    # 3/4 of the source, at each of 84 anchors. |1/4| log 2 each, divided by their confidence 3/4 each.
    logit = np.log(3)
    shapes = {f"P{i}": (s, s, 1) for i, s in ((3, 8), (4, 4), (5, 2))} | {"class_logits": (84, 1)}

    def head(taps):
        def predict(maps):
            logits = keras.ops.concatenate([keras.ops.reshape(x, (1, -1, 1)) for x in maps], axis=1)
            return {"class_logits": logits, "box_encodings": np.zeros((1, 84, 4), "float32")}

        return predict

    port = dataclasses.replace(fakes.port(), shapes=shapes, head=head)
    strategy = CrossHead(boxes=0.0)
    strategy.connect({"teacher": port, "student": port})
    source = {name: np.full((1, *shape), logit, "float32") for name, shape in shapes.items()}
    student = {name: np.zeros_like(value) for name, value in source.items()}
    found = strategy({"teacher": source, "student": student}, {})
    assert float(found[0]) == pytest.approx(0.25 * np.log(2) / 0.75, rel=1e-4)


def detector(name, size="fast", **arguments):
    return mkd_tf.Tiny(64, ("a", "b", "c"), size=size, name=name, **arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A distiller with a cross head after two steps, and the teacher's variables before."""
    keras.utils.set_random_seed(0)
    teacher = detector("teacher", widths=(8, 8, 12, 12), pyramid=12)
    made = mkd_tf.Distiller(detector("student"), teacher, strategies=[CrossHead(), mkd_tf.AttentionMap()])
    made.compile(optimizer=keras.optimizers.Adam(3e-3), run_eagerly=True)
    before = [np.array(v) for v in teacher.variables]
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    data = tf.data.Dataset.from_tensors(
        {"images": images, "targets": {"student": fakes.targets(fakes.port())}}
    )
    history = made.fit(data.repeat(), epochs=2, steps_per_epoch=1, shuffle=False, verbose=0).history
    file = tmp_path_factory.mktemp("cross") / "distiller.keras"
    made.save(file)
    return made, before, history, (data, file)


def test_the_teacher_is_bit_identical_and_the_adapters_learn(trained):
    made, before, history, _ = trained
    for old, variable in zip(before, made.teacher.variables, strict=True):
        np.testing.assert_array_equal(old, variable)
    strategy = made.strategies[0]
    assert len(strategy.variables) == len(strategy.trainable_variables) == 6
    assert not {id(v) for v in made.trainable_variables} & {id(v) for v in made.teacher.variables}
    assert all(np.abs(np.array(a.bias)).max() > 0 for a in strategy.adapters.values())
    assert history["cross_head"][1] < history["cross_head"][0]


def test_a_file_of_the_distiller_gives_the_same_term(trained):
    made, _, _, (data, file) = trained
    again = keras.saving.load_model(file)
    again.run_eagerly = True
    values = [d.evaluate(data, verbose=0, return_dict=True)["cross_head"] for d in (made, again)]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_a_network_without_a_head_is_told():
    port = dataclasses.replace(fakes.port("teacher"), head=None)
    with pytest.raises(
        MkdError, match="strategy cross_head: expected a teacher whose predictions follow from P3"
    ):
        CrossHead().connect({"teacher": port, "student": fakes.port()})
    with pytest.raises(MkdError, match="cross_head: expected classes or boxes above 0"):
        CrossHead(classes=0, boxes=0)
