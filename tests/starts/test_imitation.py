"""Imitation: the loss by hand, and that it brings the pyramid closer in another family and another size."""

import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.detectors.channel_selection import evenly_spaced
from mkd_tf.starts import Imitation, Uniform
from mkd_tf.starts.imitation import distance
from mkd_tf.training.starting import starts_of
from tests import harness
from tests.starts.scene import CLASSES


@pytest.fixture(scope="module")
def images():
    return harness.random_images(16, seed=3)


def test_distance_by_hand():
    # Channel 0: values 1, 3 of variance 1, errors 1 and 0; channel 1 is constant and does not count.
    wanted = tf.constant([[[[1.0, 5.0]], [[3.0, 5.0]]]])
    found = tf.constant([[[[2.0, 0.0]], [[3.0, 0.0]]]])
    # Mean square of the map: (1 + 9 + 25 + 25) / 4 = 15; the share of channel 0 is 1 / (1 + 0.015).
    assert float(distance([found], [wanted])) == pytest.approx((0.5 / 1.015 + 0.0) / 2, rel=1e-5)
    assert float(distance([found, wanted], [wanted, wanted])) == pytest.approx(0.5 / 1.015 / 4, rel=1e-5)


def error(small, large, images):
    ours, theirs = (n.predict(images, verbose=0)["P4"] for n in (small, large))
    wanted = theirs[..., evenly_spaced(theirs.shape[-1], ours.shape[-1])]
    return np.square(ours - wanted).mean() / wanted.var()


def test_a_network_of_another_family_learns_the_pyramid(large, images):
    small = harness.build("resnet(depth=18, width=0.125, pyramid=8)", CLASSES, seed=2)
    before = [w.copy() for w in large.get_weights()]
    Uniform()(small, large)
    selected = error(small, large, images)
    done = Imitation(steps=100, batch=8, learning_rate=1e-2)(small, large, images.astype("uint8"))
    assert error(small, large, images) < 0.8 * selected
    assert done.layers
    assert all(not n.startswith("head") for n in done.layers), "the head is not trained"
    assert all((a == b).all() for a, b in zip(before, large.get_weights(), strict=True))


def test_the_same_weights_again(large, images):
    made = []
    for _ in range(2):
        small = harness.build("tiny(widths=(4,8,12,16), pyramid=8)", CLASSES, seed=2)
        Imitation(steps=2, batch=4)(small, large, images)
        made.append(small.get_weights())
    assert all((a == b).all() for a, b in zip(*made, strict=True))


def test_starts_are_chained():
    kinds = [type(start).__name__ for start in starts_of("uniform+imitation(steps=5)")]
    assert kinds == ["Uniform", "Imitation"]
    with pytest.raises(MkdError, match="start: expected one start"):
        starts_of("uniform, imitation")
    with pytest.raises(MkdError, match="imitation steps"):
        starts_of("imitation(steps=0)")
