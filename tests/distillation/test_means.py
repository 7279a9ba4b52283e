"""One metric of many means, against `keras.metrics.Mean` for each of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.distillation.means import Means

NAMES = ("classes", "boxes", "total")


def batches():
    """Two batches of other sizes: per example, and scalars."""
    rng = np.random.default_rng(0)
    return [
        {"classes": rng.normal(size=n).astype("float32"), "boxes": np.float32(n), "total": np.full(n, 7.0)}
        for n in (4, 3)
    ]


@pytest.mark.parametrize("is_graph", [False, True])
def test_against_a_metric_for_each_value(is_graph):
    means, separate = Means(NAMES), {name: keras.metrics.Mean(name) for name in NAMES}
    update = tf.function(means.update_state) if is_graph else means.update_state
    for batch in batches():
        update({name: tf.constant(value, tf.float32) for name, value in batch.items()})
        for name, value in batch.items():
            separate[name].update_state(value)
    assert list(means.result()) == list(NAMES)
    for name, mean in means.result().items():
        np.testing.assert_allclose(float(mean), float(separate[name].result()), rtol=1e-6)


def test_by_hand_with_a_batch_of_unknown_size():
    means = Means(NAMES)
    update = tf.function(means.update_state)
    shape = tf.TensorSpec([None])
    call = update.get_concrete_function({"classes": shape, "boxes": tf.TensorSpec([])})
    call({"classes": tf.constant([1.0, 2.0]), "boxes": tf.constant(5.0)})
    call({"classes": tf.constant([6.0]), "boxes": tf.constant(6.0)})
    # (1 + 2 + 6) / 3; (5 + 6) / 2; never given.
    assert {n: float(v) for n, v in means.result().items()} == {"classes": 3.0, "boxes": 5.5, "total": 0.0}


def test_a_reset_forgets():
    means = Means(NAMES)
    means.update_state({"boxes": 4.0})
    means.reset_state()
    means.update_state({"boxes": 2.0})
    assert float(means.result()["boxes"]) == 2.0
