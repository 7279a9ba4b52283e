"""Selection by importance: scores by hand, and one choice for all layers of a space."""

import keras
import numpy as np
import pytest

from mkd_tf.starts import Importance
from mkd_tf.starts.importance import Spaces
from tests import harness
from tests.starts.scene import LARGE


def residual():
    """Two convolutions with batch norms whose outputs are added, and one that reads the sum."""
    image = keras.Input((4, 4, 1))
    first = keras.layers.Conv2D(3, 1, use_bias=False, name="a")(image)
    first = keras.layers.BatchNormalization(name="a_norm")(first)
    second = keras.layers.Conv2D(3, 1, use_bias=False, name="b")(keras.layers.ReLU()(first))
    second = keras.layers.BatchNormalization(name="b_norm")(second)
    total = keras.layers.Add(name="sum")([first, second])
    model = keras.Model(image, keras.layers.Conv2D(2, 1, use_bias=False, name="c")(total))

    def set_gamma(name, gamma):
        layer = model.get_layer(name)
        layer.set_weights([np.float32(gamma), *layer.get_weights()[1:]])

    set_gamma("a_norm", [1, 2, 3])
    set_gamma("b_norm", [7, 2, 1])
    model.get_layer("b").set_weights([np.ones((1, 1, 3, 3), "float32")])
    model.get_layer("c").set_weights([np.float32([[[[1, 1], [2, 2], [0, 0]]]])])
    return model


def test_scores_by_hand():
    model = residual()
    spaces = Spaces(model)
    total = model.get_layer("sum").output
    assert spaces.of(total) == spaces.of(model.get_layer("a_norm").output)
    assert spaces.of(total) != spaces.of(model.input)
    # Written: (1 + 49) / 2 = 25, 4, (9 + 1) / 2 = 5. Read by b: 3, 3, 3; by c: 2, 8, 0; mean 2.5, 5.5, 1.5.
    # Scores squared: 62.5, 22, 7.5.
    assert spaces.chosen(total, 1).tolist() == [0]
    assert spaces.chosen(total, 2).tolist() == [0, 1]
    assert spaces.chosen(total, 3).tolist() == [0, 1, 2]


def test_a_network_of_the_same_form_becomes_the_same(large):
    small = harness.build(LARGE, 3, seed=2)
    done = Importance()(small, large)
    assert not done.fresh
    assert all((a == b).all() for a, b in zip(small.get_weights(), large.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("big", "spec"),
    [
        (LARGE, "tiny(widths=(4,8,12,16), pyramid=8)"),
        ("mobilenet_v2(alpha=0.35)", "mobilenet_v2(alpha=0.35, pyramid=24)"),
    ],
)
def test_dead_channels_are_not_taken(big, spec):
    large = harness.shake(harness.build(big, 3, seed=1))
    small = harness.build(spec, 3, seed=2)
    # The shared prediction layers read the same channels of three towers; every second one never varies.
    towers = [x for x in large.core.layers if x.name.startswith("head_tower") and x.name.endswith("_bn")]
    for norm in towers:
        gamma, *rest = norm.get_weights()
        gamma[::2] = 0.0
        norm.set_weights([gamma, *rest])
    assert not Importance()(small, large).fresh
    for norm in towers:
        assert (small.core.get_layer(norm.name).get_weights()[0] != 0).all()
