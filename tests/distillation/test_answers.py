"""A teacher without a network: its soft targets equal those of a network with these outputs."""

import keras
import numpy as np
import pytest

from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.detection.from_detections import outputs_at_anchors, places
from mkd_tf.distillation.answers import Answers
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.objective import Objective
from mkd_tf.strategies import SoftBoxes, SoftClasses
from mkd_tf.strategies.base import Port
from tests.distillation.test_distiller import batch, detector, endless
from tests.strategies import fakes

ANCHORS = grid_anchors(64)
BOXES = np.float32([[4, 4, 30, 34], [5, 4, 30, 33], [30, 20, 60, 62]])
SCORES, LABELS = np.float32([0.9, 0.3, 0.6]), np.int32([0, 1, 2])


def answers(count=2):
    """Two images, the second without an answer."""
    boxes, table = places(BOXES, SCORES, LABELS, 3)
    most = table.max(axis=1)
    rows, weights = np.tile(np.arange(2, dtype="int32"), (count, 1)), np.tile(most, (count, 1))
    weights[1:] = 0
    found = outputs_at_anchors(ANCHORS, np.tile(boxes, (count, 1, 1)), rows, weights, table / most[:, None])
    return {name: np.array(value) for name, value in found.items()}


def test_soft_terms_by_loops():
    student, teacher = fakes.outputs(fakes.port()), answers()
    strategies = [SoftClasses(beta=1.0), SoftBoxes()]
    ports = {"teacher": Answers(ANCHORS, 3).port(), "student": fakes.port()}
    for strategy in strategies:
        strategy.connect(ports)
    found = [np.array(s({"teacher": teacher, "student": student}, {})) for s in strategies]

    def sigmoid(x):
        return 1 / (1 + np.exp(-np.float64(x)))

    assert teacher["matched"][0].sum() > 2
    for image in range(2):
        classes = confidences = distances = 0.0
        for a in np.flatnonzero(teacher["matched"][image]):
            goal, ours = (
                sigmoid(teacher["class_logits"][image, a]),
                sigmoid(student["class_logits"][image, a]),
            )
            cross = -goal * np.log(ours) - (1 - goal) * np.log(1 - ours)
            classes += float((np.abs(goal - ours) * cross).sum())
            confidences += float(goal.max())
            distances += float(goal.max()) * (
                1 - giou(corners(teacher, image, a), corners(student, image, a))
            )
        np.testing.assert_allclose(found[0][image], classes / max(1, confidences), rtol=1e-4)
        np.testing.assert_allclose(found[1][image], distances / max(1, confidences), rtol=1e-4)
    assert found[0][1] == found[1][1] == 0, "an image without an answer has no term"


def corners(outputs, image, anchor):
    y, x, h, w = ANCHORS.centers_and_sizes()[anchor].astype("float64")
    ty, tx, th, tw = outputs["box_encodings"][image, anchor].astype("float64")
    y, x, h, w = y + ty / 10 * h, x + tx / 10 * w, h * np.exp(th / 5), w * np.exp(tw / 5)
    return y - h / 2, x - w / 2, y + h / 2, x + w / 2


def giou(a, b):
    height, width = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - height * width
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return height * width / union - (hull - union) / hull


def test_a_student_that_agrees_has_no_term():
    strategies = [SoftClasses(beta=0.0), SoftBoxes()]
    ports = {"teacher": Answers(ANCHORS, 3).port(), "student": fakes.port()}
    found = answers()
    for strategy in strategies:
        strategy.connect(ports)
        term = np.array(strategy({"teacher": found, "student": found}, {}))
        np.testing.assert_allclose(term, 0, atol=1e-5)


def test_the_better_of_a_guide_and_the_answers_is_taken():
    strategy = SoftClasses(source="best")
    ports = {role: fakes.port(role) for role in ("guide", "student")}
    strategy.connect(ports | {"teacher": Answers(ANCHORS, 3).port()})
    outputs = {role: dict(fakes.outputs(port)) for role, port in ports.items()}
    outputs["guide"]["class_logits"] = np.full((2, len(ANCHORS), 3), -9.0, "float32")
    found = np.array(strategy(outputs | {"teacher": answers()}, {}))
    assert (found > 0).all(), "where the teacher says nothing, the guide does"


def test_the_distiller_takes_them_from_the_batch():
    keras.utils.set_random_seed(3)
    made = Distiller(detector(), Answers(ANCHORS, 3), detector(64, 2), [SoftClasses(), SoftBoxes()])
    made.compile(optimizer=keras.optimizers.Adam(3e-3), jit_compile=False, run_eagerly=True)
    given = batch(64) | {"answers": {"teacher": answers()}}
    before = made.evaluate(endless(given), steps=1, verbose=0, return_dict=True)
    assert before["soft_classes"] > 0
    assert before["soft_boxes"] > 0
    made.fit(endless(given), steps_per_epoch=8, verbose=0, shuffle=False)
    after = made.evaluate(endless(given), steps=1, verbose=0, return_dict=True)
    assert after["soft_classes"] < before["soft_classes"]


def test_its_configuration_comes_back():
    made = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(Answers(ANCHORS, 3)))
    np.testing.assert_array_equal(made.anchors.boxes, ANCHORS.boxes)
    assert (made.anchors.level_counts, made.anchors.image_size, made.num_classes) == (
        ANCHORS.level_counts,
        64,
        3,
    )


def test_strategies_of_features_find_nothing_to_read():
    port = Answers(ANCHORS, 3).port()
    assert isinstance(port, Port)
    with pytest.raises(ValueError, match="expected some of class_logits, box_encodings, matched"):
        port.shape("P3")
    objective = Objective(strategies=[SoftClasses()])
    assert objective.active[0].from_detections
