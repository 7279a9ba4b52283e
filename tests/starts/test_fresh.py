"""Fresh channels: the last ones of every pyramid level, and nothing else."""

import numpy as np

from mkd_tf.starts import Fresh, Uniform
from tests import harness


def test_only_the_exploring_channels_of_the_pyramid_are_new(large):
    small = harness.build("tiny(widths=(4,8,12,16), pyramid=8)", 3, seed=2)
    Uniform()(small, large)
    before = {layer.name: layer.get_weights() for layer in small.core.layers if layer.weights}
    Fresh(share=0.25)(small, large)
    after = {layer.name: layer.get_weights() for layer in small.core.layers if layer.weights}
    changed = {n for n in before if any((a != b).any() for a, b in zip(before[n], after[n], strict=True))}
    assert changed == {f"pyramid_out{i}_{kind}" for i in (3, 4, 5) for kind in ("conv", "bn")}
    kernel, inherited = after["pyramid_out4_conv"][0], before["pyramid_out4_conv"][0]
    np.testing.assert_array_equal(kernel[..., :6], inherited[..., :6])
    assert (kernel[..., 6:] != inherited[..., 6:]).all()
    for array, value in zip(after["pyramid_out4_bn"], (1, 0, 0, 1), strict=True):
        np.testing.assert_array_equal(array[6:], value)
