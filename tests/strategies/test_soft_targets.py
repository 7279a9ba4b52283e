"""Soft targets against the reference and values worked by hand."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.strategies import SoftBoxes, SoftClasses
from mkd_tf.strategies.soft_targets import soft_box_loss, soft_class_loss
from tests import reference
from tests.strategies import fakes

LOG3 = math.log(3)  # the logit of probability 3/4


def logits(*values):
    """One image, one class, an anchor for each value."""
    return np.float32(values).reshape(1, -1, 1)


@pytest.mark.parametrize("tau", [1.0, 2.0])
@pytest.mark.parametrize("beta", [0, 1, 2])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_classes_against_the_reference(tau, beta, num_classes):
    rng = np.random.default_rng(0)
    student, source = rng.normal(-1, 2, (2, 3, 40, num_classes)).astype("float32")
    found = soft_class_loss(student, source, np.ones(40, "float32"), tau, beta)
    expected = [reference.soft_classes(*pair, tau, beta) for pair in zip(student, source, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("tau", [1.0, 4.0])
@pytest.mark.parametrize("form", ["sigmoid", "softmax"])
@pytest.mark.parametrize("mask", ["none", "foreground"])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_forms_and_masks_against_the_reference(tau, form, mask, num_classes):
    rng = np.random.default_rng(3)
    student, source = rng.normal(-1, 2, (2, 3, 40, num_classes)).astype("float32")
    found = soft_class_loss(student, source, np.ones(40, "float32"), tau, 1.0, form, mask)
    expected = [
        reference.soft_classes(*pair, tau, 1.0, form, mask) for pair in zip(student, source, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_softmax_by_hand():
    # Two classes at logit 0 beside the background's 0: thirds. The source says 1/2, 1/4, 1/4
    # (logit log 2 of the first), the student thirds; the source's confidence 2/3 is raised to 1.
    student, source = np.float32([[[0, 0]]]), np.float32([[[math.log(2), 0]]])
    expected = 0.5 * math.log(1.5) + 2 * 0.25 * math.log(0.75)
    one = soft_class_loss(student, source, np.ones(1, "float32"), form="softmax")
    assert float(one[0]) == pytest.approx(expected, rel=1e-4)
    # At tau 2 twice the logit says the same, and the divergence counts four times.
    two = soft_class_loss(student, 2 * source, np.ones(1, "float32"), tau=2.0, form="softmax")
    assert float(two[0]) == pytest.approx(4 * expected, rel=1e-4)


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_softmax_of_one_class_is_the_sigmoid(tau):
    rng = np.random.default_rng(4)
    student, source = rng.normal(0, 2, (2, 2, 30, 1)).astype("float32")
    softmax = soft_class_loss(student, source, np.ones(30, "float32"), tau, form="softmax")
    sigmoid = soft_class_loss(student, source, np.ones(30, "float32"), tau, beta=0)
    np.testing.assert_allclose(softmax, tau**2 * sigmoid, rtol=1e-4)


def test_softmax_pulls_a_class_to_the_source():
    student = tf.Variable(np.float32([[[0, 1, -1]]]))
    source = np.float32([[[2, 1, -1]]])
    with tf.GradientTape() as tape:
        loss = soft_class_loss(student, source, np.ones(1, "float32"), 2.0, form="softmax")
    gradient = tape.gradient(loss, student).numpy()[0, 0]
    assert gradient[0] < 0
    assert (gradient[1:] > 0).all(), "what the first class gains, the others lose"


@pytest.mark.parametrize("form", ["sigmoid", "softmax"])
def test_the_gradient_of_softmax_keeps_its_size_at_any_temperature(form):
    # What tau^2 is for (Hinton et al., Sec. 2.1); the sigmoid form's fades.
    sizes = []
    for tau in (4.0, 16.0):
        z = tf.Variable(np.float32([[[0.5, -0.5]]]))
        with tf.GradientTape() as tape:
            loss = soft_class_loss(z, np.float32([[[-0.5, 1]]]), np.ones(1, "float32"), tau, 0, form)
        sizes.append(np.abs(tape.gradient(loss, z)).max())
    assert (sizes[0] / sizes[1] == pytest.approx(1, abs=0.1)) == (form == "softmax")


def test_the_mask_by_hand():
    # Confidences 3/4 and 1/4: each anchor's 1/4 * log 2 (see above) counts by its own.
    student, source = logits(0, 0), logits(LOG3, -LOG3)
    masked = soft_class_loss(student, source, np.ones(2, "float32"), mask="foreground")
    assert float(masked[0]) == pytest.approx((0.75 + 0.25) * 0.25 * math.log(2), rel=1e-5)
    one = soft_class_loss(student, source, np.float32([0, 1]), mask="foreground")
    assert float(one[0]) == pytest.approx(0.25 * 0.25 * math.log(2), rel=1e-5)


def test_the_mask_keeps_a_lifted_background_small():
    # One object among 500 empty locations, both at tau 4 half right: without the mask the
    # background, which the temperature lifts to 0.24, is nearly all of the term.
    source = logits(4, *[-4.6] * 500)
    object_only, all_anchors = np.zeros(501, "float32"), np.ones(501, "float32")
    object_only[0] = 1

    def share(mask):
        def of(matched):
            return float(soft_class_loss(source * 0.5, source, matched, 4.0, 1.0, "sigmoid", mask)[0])

        # The normaliser differs: about 6 objects against 1.
        confidences = 1 / (1 + np.exp(-source[0, :, 0]))
        return of(object_only) / (of(all_anchors) * confidences.sum())

    assert share("none") < 0.01
    assert share("foreground") > 0.1


def test_classes_by_hand():
    # s = 1/2, t = 3/4: the distance is 1/4, the cross-entropy log 2; the confidence 3/4
    # is raised to 1. With four such anchors it is 3.
    one = soft_class_loss(logits(0), logits(LOG3), np.ones(1, "float32"))
    assert float(one[0]) == pytest.approx(0.25 * math.log(2), rel=1e-5)
    four = soft_class_loss(logits(0, 0, 0, 0), logits(*[LOG3] * 4), np.ones(4, "float32"))
    assert float(four[0]) == pytest.approx(4 * 0.25 * math.log(2) / 3, rel=1e-5)


def test_without_the_factor_it_is_the_divergence():
    # KL(3/4 || 1/2) = 3/4 log 3/2 + 1/4 log 1/2.
    found = soft_class_loss(logits(0), logits(LOG3), np.ones(1, "float32"), beta=0)
    assert float(found[0]) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-5)


def test_the_temperature_divides_both_and_leaves_the_confidence():
    # At tau 2 a logit of 2 log 3 is 3/4 again; the confidence stays that of tau 1, 9/10.
    two = [soft_class_loss(logits(0, 0), logits(*[2 * LOG3] * 2), np.ones(2, "float32"), tau=2.0)]
    assert float(two[0][0]) == pytest.approx(2 * 0.25 * math.log(2) / 1.8, rel=1e-5)


def test_anchors_without_a_partner_do_not_count():
    student, source = logits(0, 5), logits(LOG3, -5)
    masked = soft_class_loss(student, source, np.float32([1, 0]))
    alone = soft_class_loss(student[:, :1], source[:, :1], np.ones(1, "float32"))
    np.testing.assert_allclose(masked, alone, rtol=1e-6)
    boxes, others = np.random.default_rng(0).uniform(0, 1, (2, 1, 2, 4)).astype("float32")
    masked = soft_box_loss(boxes, others, source, np.float32([1, 0]))
    alone = soft_box_loss(boxes[:, :1], others[:, :1], source[:, :1], np.ones(1, "float32"))
    np.testing.assert_allclose(masked, alone, rtol=1e-6)


@pytest.mark.parametrize("beta", [0, 1, 2])
@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_every_logit_is_pulled_to_the_source(beta, tau):
    rng = np.random.default_rng(1)
    student, source = rng.normal(0, 2, (2, 1, 50, 2)).astype("float32")
    z = tf.Variable(student)
    with tf.GradientTape() as tape:
        loss = soft_class_loss(z, source, np.ones(50, "float32"), tau, beta)
    np.testing.assert_array_equal(np.sign(tape.gradient(loss, z)), np.sign(student - source))


def test_boxes_against_the_reference():
    rng = np.random.default_rng(2)
    low = rng.uniform(0, 1, (2, 3, 20, 2))
    student, source = np.concatenate([low, low + rng.uniform(0.1, 0.5, low.shape)], -1).astype("float32")
    sure = rng.normal(-1, 2, (3, 20, 2)).astype("float32")
    found = soft_box_loss(student, source, sure, np.ones(20, "float32"))
    expected = [reference.soft_boxes(*triple) for triple in zip(student, source, sure, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_boxes_by_hand():
    # Unit squares one unit apart: 1 - GIoU = 4/3. Two such anchors of confidence 3/4 and
    # one of confidence 1/2 that agrees: 2 * 3/4 * 4/3, divided by the sum 2.
    here, there = [0, 0, 1, 1], [0, 2, 1, 3]
    student, source = np.float32([[here, here, here]]), np.float32([[there, there, here]])
    found = soft_box_loss(student, source, logits(LOG3, LOG3, 0), np.ones(3, "float32"))
    assert float(found[0]) == pytest.approx(2 * 0.75 * (4 / 3) / 2, rel=1e-5)


def test_a_box_is_pulled_to_the_sources():
    teacher, student = fakes.port("teacher"), fakes.port()
    strategy = SoftBoxes()
    strategy.connect({"teacher": teacher, "student": student})
    outputs = {"teacher": fakes.outputs(teacher), "student": fakes.outputs(student)}
    ahead = outputs["student"]["box_encodings"] + np.float32([0, 5, 0, 0])
    outputs["teacher"]["box_encodings"] = ahead
    encodings = tf.Variable(outputs["student"]["box_encodings"])
    with tf.GradientTape() as tape:
        term = strategy(outputs | {"student": outputs["student"] | {"box_encodings": encodings}}, {})
    gradient = tape.gradient(term, encodings).numpy()
    assert (gradient[..., 1] < 0).all(), "every box must move to the right"


def test_boxes_of_a_larger_teacher_are_compared_as_fractions():
    # A teacher at twice the size whose P4 and P5 say what the student's P3 and P4 say.
    teacher, student = fakes.port("teacher", 128), fakes.port("student", 64)
    ports = {"teacher": teacher, "student": student}
    ours, theirs = fakes.outputs(student), fakes.outputs(teacher)
    for name in ("class_logits", "box_encodings"):
        theirs[name][:, 256:] = ours[name][:, :80]
    for strategy in (SoftClasses(), SoftBoxes()):
        strategy.connect(ports)
        same = strategy({"teacher": theirs, "student": ours}, {})
        np.testing.assert_allclose(same, 0, atol=1e-5)
        other = strategy({"teacher": fakes.outputs(teacher, seed=1), "student": ours}, {})
        assert (keras.ops.convert_to_numpy(other) > 0.1).all()


@pytest.mark.parametrize("strategy", [SoftClasses, SoftBoxes])
def test_other_classes_are_told(strategy):
    ports = {"teacher": fakes.port("teacher", num_classes=2), "student": fakes.port(num_classes=3)}
    with pytest.raises(MkdError, match="expected the 3 classes of the student, got 2 classes in the teacher"):
        strategy().connect(ports)


def box_of(strategy, outputs, role, i, n):
    """One box of a network, from its encodings, as fractions of the image."""
    anchors = fakes.port(role).anchors
    anchor = anchors.centers_and_sizes()[n] / anchors.image_size
    return reference.decode(outputs[role]["box_encodings"][i, n], anchor)


@pytest.mark.parametrize("beta", [0, 1])
def test_a_score_times_the_overlap_of_the_boxes(beta):
    ports = {"teacher": fakes.port("teacher"), "student": fakes.port()}
    strategy = SoftClasses(soft_target="score_iou", beta=beta)
    strategy.connect(ports)
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    for i, found in enumerate(strategy(outputs, {})):
        total = confidence = 0.0
        for n in range(84):
            overlap = reference.iou(*(box_of(strategy, outputs, role, i, n) for role in ports))
            theirs, ours = (outputs[role]["class_logits"][i, n] for role in ports)
            confidence += max(reference.sigmoid(z) for z in theirs)
            for z, t in zip(ours, theirs, strict=True):
                soft = overlap * reference.sigmoid(t)
                total += reference.quality_focal(soft, float(z), beta)
                if beta == 0 and soft > 0:
                    total += soft * math.log(soft) + (1 - soft) * math.log(1 - soft)
        assert float(found) == pytest.approx(total / max(confidence, 1), rel=1e-3)


def test_a_score_times_the_overlap_by_hand():
    # A probability of 3/4 for a box of which the student's covers two thirds asks for one half.
    sure, half, overlap = logits(LOG3), logits(0), np.float32([[2 / 3]])
    one = np.ones(1, "float32")
    assert float(soft_class_loss(half, sure, one, overlap=overlap)[0]) == pytest.approx(0, abs=1e-6)
    assert float(soft_class_loss(half, sure, one, beta=0, overlap=overlap)[0]) == pytest.approx(0, abs=1e-6)
    # Without overlap it asks for 0: the distance is 1/2, the cross-entropy log 2.
    none = soft_class_loss(half, sure, one, overlap=np.zeros((1, 1), "float32"))
    assert float(none[0]) == pytest.approx(0.5 * math.log(2), rel=1e-5)


def test_the_overlap_of_the_soft_target_teaches_no_box():
    ports = {"teacher": fakes.port("teacher"), "student": fakes.port()}
    strategy = SoftClasses(soft_target="score_iou")
    strategy.connect(ports)
    outputs = {role: fakes.outputs(port, seed=i) for i, (role, port) in enumerate(ports.items())}
    encodings = tf.Variable(outputs["student"]["box_encodings"])
    with tf.GradientTape() as tape:
        term = strategy(outputs | {"student": outputs["student"] | {"box_encodings": encodings}}, {})
    assert tape.gradient(term, encodings) is None
