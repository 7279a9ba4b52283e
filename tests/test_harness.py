"""Every line of DETECTORS through the harness, and every check of the harness shown to fail."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.distiller import port_of, resized
from mkd_tf.layers import NearestUpsample, conv_bn
from mkd_tf.strategies import STRATEGIES
from mkd_tf.targets import assign
from tests import edge_operators, harness, int8, keras_twin

pytestmark = pytest.mark.timeout(300)
each_detector = pytest.mark.parametrize("spec", harness.SPECS)
each_class_count = pytest.mark.parametrize("num_classes", harness.CLASS_COUNTS)


@each_detector
@each_class_count
def test_contract(spec, num_classes):
    detector = harness.build(spec, num_classes)
    harness.check_outputs(detector, num_classes)
    harness.check_initial_probability(detector)
    harness.check_finite(detector)
    harness.check_calls(detector.core)


@each_detector
def test_file(spec, tmp_path):
    harness.check_file(harness.shake(harness.build(spec)), tmp_path)


@each_detector
def test_weights(spec, tmp_path):
    detector = harness.shake(harness.build(spec))
    harness.check_weights(detector, harness.build(spec, seed=1), tmp_path)


@each_detector
@each_class_count
def test_int8(spec, num_classes):
    harness.check_int8(harness.shake(harness.build(spec, num_classes)))


@each_detector
def test_quantization_aware(spec):
    harness.check_quantization_aware(harness.shake(harness.build(spec)))


@pytest.fixture(scope="module", params=list(harness.ROLES))
def outputs_by_role(request):
    """What a strategy is called with: one picture through each role's network, at its own size."""
    return {
        role: harness.build(spec, image_size=side)(harness.pictures(2, side))
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
    side = max(network.image_size for network in networks.values())
    images = tf.constant(harness.pictures(1, side), tf.float32)
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


def _int8_of(outputs, inputs, batch: int | None = 1) -> bytes:
    scaled = harness.pictures(4, 16) / 127.5 - 1
    return int8.int8_file(keras.Model(inputs, {"y": outputs}), (batch, 16, 16, 3), scaled)


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        (keras.layers.UpSampling2D(), "operator TILE v"),
        (keras.layers.Conv2D(6, 3, groups=3), "operator CONV_2D v6 is above v5"),
        (keras.layers.Activation("gelu"), "is not supported"),
        (keras.layers.Reshape((2, 8, 16, 3)), "rank 5"),
    ],
    ids=["tile", "groups", "gelu", "rank"],
)
def test_edge_problems_are_noticed(layer, problem):
    inputs = keras.Input((16, 16, 3))
    content = _int8_of(layer(keras.layers.Conv2D(3, 3, padding="same")(inputs)), inputs)
    assert any(problem in found for found in edge_operators.edge_problems(content))


def test_a_dynamic_batch_is_noticed():
    inputs = keras.Input((16, 16, 3))
    content = _int8_of(keras.layers.Conv2D(3, 3)(inputs), inputs, batch=None)
    assert any("dynamic shape" in found for found in edge_operators.edge_problems(content))


def test_float_tensors_are_noticed():
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 3)(inputs))
    function = tf.function(model).get_concrete_function(tf.TensorSpec((1, 16, 16, 3)))
    content = tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()
    assert any("FLOAT32, not INT8" in found for found in edge_operators.edge_problems(content))


def test_a_layer_without_a_twin_is_refused():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, {"y": keras.layers.RMSNormalization(name="odd")(inputs)})
    with pytest.raises(MkdError, match="layer odd: expected a layer of Keras that tf_keras has too"):
        keras_twin.keras_twin(model)


def test_an_argument_without_a_twin_is_refused():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, {"y": keras.layers.BatchNormalization(renorm=True, name="odd")(inputs)})
    with pytest.raises(MkdError, match="layer odd: expected renorm=False"):
        keras_twin.keras_twin(model)


def test_the_twin_trains_in_any_batch():
    core = harness.build("tiny").inference_core()
    twin = keras_twin.keras_twin(core)
    assert twin.input_shape == (None, harness.IMAGE_SIZE, harness.IMAGE_SIZE, 3)
    assert len(twin.trainable_weights) == len(core.trainable_weights)
    kernels = [w.name for w in twin.weights if w.name.startswith("head_class/")]
    assert kernels == ["head_class/kernel:0", "head_class/bias:0"], "a shared layer must stay one layer"


def test_the_house_upsampling_is_the_safe_operator():
    inputs = keras.Input((16, 16, 3))
    content = _int8_of(NearestUpsample()(inputs), inputs)
    assert edge_operators.edge_problems(content) == []
    assert edge_operators.operators(content)["RESIZE_NEAREST_NEIGHBOR"] == 2
