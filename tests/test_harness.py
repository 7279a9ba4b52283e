"""Every line of DETECTORS through the harness, and every check of the harness shown to fail."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.detection.layers import NearestUpsample, conv_bn
from mkd_tf.detection.targets import assign
from mkd_tf.distillation.outputs import port_of, resized
from mkd_tf.edgetpu import placement
from mkd_tf.strategies import STRATEGIES
from tests import harness, int8

pytestmark = pytest.mark.timeout(300)


def specs(names):
    """Parametrises a test by specs; the slow ones are marked."""
    marked = [pytest.param(s, marks=pytest.mark.slow if s in harness.SLOW else ()) for s in names]
    return pytest.mark.parametrize("spec", marked)


each_detector, each_structure = specs(harness.SPECS), specs(harness.STRUCTURES)
each_class_count = pytest.mark.parametrize("num_classes", harness.CLASS_COUNTS)


@each_detector
@each_class_count
def test_contract(spec, num_classes):
    detector = harness.build(spec, num_classes)
    harness.check_outputs(detector, num_classes)
    harness.check_initial_probability(detector)
    harness.check_finite(detector)
    harness.check_calls(detector.core)


def test_files(tmp_path):
    """Of all in one process: most of its time is that of importing TensorFlow."""
    harness.check_files([harness.shake(harness.build(spec)) for spec in harness.STRUCTURES], tmp_path)


@each_structure
def test_weights(spec, tmp_path):
    detector = harness.shake(harness.build(spec))
    harness.check_weights(detector, harness.build(spec, seed=1), tmp_path)


@each_structure
def test_int8(spec):
    harness.check_int8(harness.shake(harness.build(spec)))


@pytest.mark.parametrize("num_classes", harness.CLASS_COUNTS[:-1])
def test_int8_of_other_class_counts(num_classes):
    """The number of classes is a matter of the head, which all families share."""
    harness.check_int8(harness.shake(harness.build(harness.STRUCTURES[0], num_classes)))


@each_structure
def test_quantization_aware(spec):
    harness.check_quantization_aware(harness.shake(harness.build(spec)))


@pytest.fixture(scope="module", params=list(harness.ROLES))
def outputs_by_role(request):
    """What a strategy is called with: one image through each role's network, at its own size."""
    return {
        role: harness.build(spec, image_size=side)(harness.random_images(2, side))
        for role, (spec, side) in harness.ROLES[request.param].items()
    }


def test_roles_share_grids(outputs_by_role):
    grids = {role: harness.grids(outputs) for role, outputs in outputs_by_role.items()}
    for role in grids:
        assert len(set(grids[role]) & set(grids["student"])) >= 2, f"{role} and student share too few grids"


@pytest.fixture(scope="module", params=list(harness.ROLES))
def networks(request):
    """A pair of detectors, or three with a guide, by role."""
    return {
        role: harness.build(spec, image_size=side)
        for role, (spec, side) in harness.ROLES[request.param].items()
    }


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_every_strategy_teaches_every_student(networks, name):
    """Each line of STRATEGIES on real networks, of other sizes too."""
    strategy = STRATEGIES[name](source="guide" if "guide" in networks else "teacher")
    strategy.connect({role: port_of(network) for role, network in networks.items()})
    student = networks["student"]
    boxes, weights = np.array([[[8, 8, 40, 40]]], "float32"), np.ones((1, 1), "float32")
    targets = assign(student.anchors, boxes, np.zeros((1, 1), "int32"), weights, len(student.class_names))
    targets["known"] = np.ones(1, "float32")
    side = max(network.image_size for network in networks.values())
    images = tf.constant(harness.random_images(1, side), tf.float32)
    with tf.GradientTape() as tape:
        outputs = {role: network(resized(images, network)) for role, network in networks.items()}
        term = strategy(outputs, {"student": targets})
    assert term.shape == (1,)
    assert np.isfinite(term.numpy()).all()
    assert term.numpy()[0] > 0, "untrained networks agree by chance"
    gradients = tape.gradient(term, student.trainable_variables)
    assert any(g is not None and np.abs(g.numpy()).max() > 0 for g in gradients)


def test_a_wrong_prior_is_noticed():
    detector = harness.build("tiny(prior=0.2)")
    with pytest.raises(AssertionError):
        harness.check_initial_probability(detector, prior=0.01)


def test_a_shared_batch_norm_is_noticed():
    inputs = keras.Input((8, 8, 3))
    norm = keras.layers.BatchNormalization(name="shared")
    model = keras.Model(inputs, norm(conv_bn(norm(inputs), 3, "a")))
    with pytest.raises(AssertionError, match="shared is called 2 times"):
        harness.check_calls(model)


def test_the_house_upsampling_is_the_safe_operator():
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, {"y": NearestUpsample()(inputs)})
    content = int8.int8_file(model, (1, 16, 16, 3), harness.random_images(4, 16) / 127.5 - 1)
    report = placement.check(content)
    assert report.problems == ()
    assert report.versions()["RESIZE_NEAREST_NEIGHBOR"] == 2
