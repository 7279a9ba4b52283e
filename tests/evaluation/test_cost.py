"""Multiply-adds worked by hand, and of a published network."""

import itertools

import keras
import pytest
from keras import layers

from mkd_tf.checks import MkdError
from mkd_tf.evaluation import cost


def network(body, shape=(8, 8, 4)):
    images = keras.Input(shape)
    return keras.Model(images, body(images))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Conv2D(6, 3, strides=2, padding="same"), 4 * 4 * 6 * 9 * 4),
        (layers.Conv2D(6, 3, padding="valid"), 6 * 6 * 6 * 9 * 4),
        (layers.Conv2D(6, 3, groups=2, padding="same"), 8 * 8 * 6 * 9 * 2),
        (layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), 8 * 8 * 8 * 9),
        (layers.SeparableConv2D(5, 3, padding="same"), 8 * 8 * 4 * 9 + 8 * 8 * 4 * 5),
        (layers.Conv2DTranspose(5, 3, strides=2, padding="same"), 8 * 8 * 4 * 9 * 5),
        (layers.Dense(5), 8 * 8 * 4 * 5),
        (keras.Sequential([layers.Flatten(), layers.Dense(3)]), 8 * 8 * 4 * 3),
        (layers.BatchNormalization(), 0),
        (layers.MaxPooling2D(), 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_macs_of_a_layer_worked_by_hand(layer, expected):
    assert cost.macs(network(layer)) == expected


def test_every_call_of_a_shared_layer_counts_and_nested_models_do():
    shared = layers.Conv2D(4, 3, padding="same")
    inner = network(shared)
    assert cost.macs(network(lambda x: shared(shared(x)))) == 2 * 8 * 8 * 4 * 4 * 9
    assert cost.macs(network(lambda x: inner(inner(x)))) == 2 * 8 * 8 * 4 * 4 * 9


def test_counting_changes_no_weight_and_leaves_no_node():
    model = network(layers.Conv2D(4, 3))
    before = [w.copy() for w in model.get_weights()]
    cost.macs(model)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    assert model.layers[-1].output.shape == (None, 6, 6, 4)


def test_mobilenet_v2_costs_what_its_paper_says():
    # Sandler et al., CVPR 2018, Table 4: 300 M multiply-adds, 3.4 M parameters (rounded there).
    model = keras.applications.MobileNetV2(weights=None, input_shape=(224, 224, 3))
    assert cost.macs(model) == pytest.approx(300e6, rel=0.005)
    # Golden: Keras 3's own summary of this model.
    assert cost.parameters(model) == 3538984


def test_a_free_size_is_told():
    with pytest.raises(MkdError, match="static height and width"):
        cost.macs(network(layers.Conv2D(4, 3), shape=(None, None, 3)))


def test_latency_is_a_median_after_the_warm_up(monkeypatch):
    # Three runs of 1, 9 and 2 s by this clock.
    clock = itertools.chain([0, 1, 10, 19, 20, 22])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    calls = []
    assert cost.latency_ms(calls.append, "image", warm_up=2, runs=3) == 2000
    assert calls == ["image"] * 5
    with pytest.raises(MkdError, match="runs"):
        cost.latency_ms(calls.append, "image", runs=0)
