"""The exploration head: what counts as wrong, its loss against the reference, who has none."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.detection.boxes import encode
from mkd_tf.strategies import Exploration
from mkd_tf.strategies.exploration_head import ExplorationHead, head_loss, wrongness
from tests import reference
from tests.strategies import fakes


def connected(size=64, **arguments):
    """The head's part alone, between a teacher at `size` and a student at 64 px."""
    keras.utils.set_random_seed(0)
    ports = {"teacher": fakes.port("teacher", size), "student": fakes.port()}
    strategy = Exploration(inherit=0.0, explore=0.0, head=1.0, **arguments)
    strategy.connect(ports)
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    return strategy, outputs, {"student": fakes.targets(ports["student"])}


def test_wrongness_by_hand():
    logit = {p: np.log(p / (1 - p)) for p in (0.9, 0.2, 0.05, 0.6)}
    low = logit[0.05]
    truth, half = [0, 0, 10, 10], [0, 0, 10, 5]
    cases = [
        # logits of two classes, source's box, label, weight, matched: wrongness
        ([logit[0.9], low], truth, 0, 1.0, 1, 0.1),  # It sees the object.
        ([logit[0.9], low], half, 0, 1.0, 1, 0.5),  # Its box has an IoU of one half.
        ([logit[0.2], logit[0.9]], truth, 0, 1.0, 1, 0.8),  # It says another class.
        ([logit[0.2], low], truth, 0, 0.5, 1, 0.3),  # A score of 0.5 asks no more than 0.5.
        ([logit[0.6], low], truth, 0, 0.5, 1, 0.0),
        ([low, logit[0.6]], truth, 2, 0.0, 1, 0.6),  # It claims what is background.
        ([logit[0.2], low], truth, 0, 1.0, 0, 0.0),  # It has no such anchor.
    ]
    logits, boxes, labels, weights, matched, expected = (np.array(c) for c in zip(*cases, strict=True))
    targets = {
        "labels": labels[None].astype("int32"),
        "boxes": np.float32([[truth] * len(cases)]),
        "weights": weights[None].astype("float32"),
    }
    found = wrongness(
        logits[None].astype("float32"), boxes[None].astype("float32"), targets, np.float32(matched)
    )
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


@pytest.mark.parametrize("size", [64, 128])
def test_the_head_against_the_reference(size):
    strategy, outputs, targets = connected(size, gamma=2.0, beta=2.0, box_weight=1.5)
    student, teacher, truth = fakes.port(), fakes.port("teacher", size), targets["student"]
    maps = [tf.constant(outputs["student"][tap][..., 2:]) for tap in strategy.taps]
    # Predictions that differ: an untrained head says the same everywhere.
    for variable in strategy.detection_head.trainable_variables:
        variable.assign(np.random.default_rng(1).normal(0, 0.1, variable.shape))
    predictions = {k: np.array(v) for k, v in strategy.detection_head(maps).items()}
    anchors, found = student.anchors.centers_and_sizes(), np.array(strategy.parts(outputs, targets)["head"])
    for i in range(2):
        one = {k: v[i] for k, v in truth.items()}
        logits, boxes, matched = np.zeros((84, 3)), np.zeros((84, 4)), np.zeros(84)
        for n, anchor in enumerate(student.anchors.normalized()):
            # Of several equally near, the first.
            overlaps = [reference.iou(anchor, other) for other in teacher.anchors.normalized()]
            best = int(np.argmax(np.round(overlaps, 6)))
            matched[n] = overlaps[best] >= 0.5
            logits[n] = outputs["teacher"]["class_logits"][i, best]
            box = reference.decode(
                outputs["teacher"]["box_encodings"][i, best], teacher.anchors.centers_and_sizes()[best]
            )
            boxes[n] = np.array(box) * 64 / size
        wrong = reference.wrongness(logits, boxes, one, matched)
        assert matched.any() and max(wrong) > 0.5
        expected = reference.exploration_head(
            predictions["class_logits"][i],
            predictions["box_encodings"][i],
            one,
            anchors,
            wrong,
            2.0,
            2.0,
            1.5,
        )
        assert found[i] == pytest.approx(expected, rel=1e-3)


def test_a_source_without_fault_leaves_the_plain_loss():
    strategy, outputs, targets = connected(gamma=3.0)
    # A head that says "perhaps" everywhere: of one that says no the background asks nothing.
    strategy.detection_head.classify.bias.assign(np.zeros(3))
    truth, anchors = targets["student"], fakes.port().anchors
    hot = np.eye(4)[truth["labels"]][..., :3]
    perfect = {
        "class_logits": np.where(hot * truth["weights"][..., None] > 0, 50.0, -50.0).astype("float32"),
        "box_encodings": np.array(encode(truth["boxes"], anchors.centers_and_sizes())),
    }
    blind = perfect | {"class_logits": np.full_like(perfect["class_logits"], -50.0)}
    liar = perfect | {"class_logits": -perfect["class_logits"]}
    values = [
        np.array(strategy.parts(outputs | {"teacher": outputs["teacher"] | source}, targets)["head"])
        for source in (perfect, blind, liar)
    ]
    strategy.gamma = 0.0
    plain = np.array(strategy.parts(outputs, targets)["head"])
    np.testing.assert_allclose(values[0], plain, rtol=1e-4)
    assert (values[1] > 1.1 * values[0]).all(), "missed objects weigh more"
    assert (values[2] > 1.1 * values[1]).all(), "so do objects that are none"
    # Weights are 0.5 or 1: what a score of 0.5 lacks is 0.5.
    assert (values[2] <= 4.0 * plain * (1 + 1e-5)).all(), "1 + gamma bounds it"


def test_an_image_of_which_nothing_is_known_has_no_head():
    strategy, outputs, targets = connected()
    targets["student"] = targets["student"] | {"known": np.float32([0, 1])}
    taps = {tap: tf.Variable(outputs["student"][tap]) for tap in strategy.taps}
    with tf.GradientTape() as tape:
        head = strategy.parts(outputs | {"student": outputs["student"] | taps}, targets)["head"]
    gradient = tape.gradient(head, taps["P3"])
    assert float(head[0]) == 0 and np.abs(gradient[0]).max() == 0
    assert float(head[1]) > 0 and np.abs(gradient[1]).max() > 0


def test_an_untrained_head_starts_at_its_prior():
    head = ExplorationHead((3, 3, 3), num_classes=4, anchors_per_cell=1, channels=8)
    maps = [fakes.outputs(fakes.port())[tap] for tap in ("P3", "P4", "P5")]
    logits = np.array(head(maps)["class_logits"])
    assert logits.shape == (2, 84, 4)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), 0.01, rtol=0.5)


def test_several_anchors_in_a_cell_and_levels_of_other_widths():
    head = ExplorationHead((3, 2), num_classes=4, anchors_per_cell=2, channels=8)
    maps = [np.ones((1, 2, 3, 3), "float32"), np.ones((1, 1, 1, 2), "float32")]
    found = head(maps)
    assert found["class_logits"].shape == (1, 14, 4)
    assert found["box_encodings"].shape == (1, 14, 4)
    # One tower for each width, and the predictions shared.
    assert len(head.trainable_variables) == 2 * 2 + 2 * 2


def test_ignored_locations_take_no_part_in_its_classes():
    port = fakes.port()
    targets, rng = fakes.targets(port), np.random.default_rng(0)
    ignored = np.float32((rng.uniform(size=targets["weights"].shape) < 0.4) & (targets["weights"] == 0))
    predictions, emphasis = fakes.outputs(port), 1 + rng.uniform(size=ignored.shape).astype("float32")
    found = head_loss(predictions, targets | {"ignored": ignored}, port.anchors, emphasis, 1.0, 2.0)
    # A background that nobody takes for anything has no loss either.
    sure = np.where(ignored[..., None] == 1, np.float32(-100), predictions["class_logits"])
    expected = head_loss(predictions | {"class_logits": sure}, targets, port.anchors, emphasis, 1.0, 2.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.all(found < head_loss(predictions, targets, port.anchors, emphasis, 1.0, 2.0))


def test_the_head_may_learn_from_human_labels_alone():
    strategy, outputs, targets = connected()
    whole = np.array(strategy.parts(outputs, targets)["head"])
    assert (whole > 0).all()
    targets["student"] = targets["student"] | {"labelled": np.float32([0, 1])}
    strategy.head_images = "labelled"
    np.testing.assert_array_equal(strategy.parts(outputs, targets)["head"], whole * [0, 1])
    both = Exploration(head_images="labelled")
    both.connect({"teacher": fakes.port("teacher"), "student": fakes.port()})
    parts = both.parts(outputs, targets)
    assert float(parts["inherit"][0]) > 0 and float(parts["head"][0]) == 0, "only the head needs labels"
