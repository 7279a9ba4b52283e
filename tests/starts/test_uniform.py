"""Uniform selection: which channels a layer takes, by hand and on real detectors."""

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detectors.channel_selection import evenly_spaced, selected
from mkd_tf.starts import STARTS
from mkd_tf.starts.uniform import Uniform
from tests import harness

CLASSES = 3


def build(spec, seed=2):
    return harness.build(spec, CLASSES, seed=seed)


def test_evenly_spaced_by_hand():
    assert evenly_spaced(8, 4).tolist() == [0, 2, 5, 7]
    assert evenly_spaced(4, 1).tolist() == [0]
    assert evenly_spaced(3, 3).tolist() == [0, 1, 2]
    # A layer that is wider than its source takes some channels twice.
    assert evenly_spaced(2, 4).tolist() == [0, 0, 1, 1]


def test_selected_takes_the_same_elements_on_every_axis():
    array = np.arange(24.0).reshape(1, 1, 4, 6)
    found = selected(array, (1, 1, 2, 3))
    np.testing.assert_array_equal(found[0, 0], array[0, 0][np.ix_([0, 3], [0, 2, 5])])


def test_a_network_of_the_same_form_is_copied(large):
    small = build("tiny(widths=(8,16,24,32), pyramid=16)")
    done = Uniform()(small, large)
    assert done.fresh == () and len(done.layers) == len([x for x in small.core.layers if x.weights])
    for ours, theirs in zip(small.get_weights(), large.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_channels_and_scale_of_every_kind_of_layer(large):
    small = build("tiny(widths=(4,8,12,16), pyramid=4)")
    before = large.get_weights()
    Uniform()(small, large)
    ours, theirs = ({x.name: x.get_weights() for x in n.core.layers} for n in (small, large))
    (kernel,), (source,) = ours["stage4_a_conv"], theirs["stage4_a_conv"]
    chosen = source[:, :, evenly_spaced(16, 8)][..., evenly_spaced(24, 12)]
    np.testing.assert_array_equal(kernel, chosen)
    for mine, its in zip(ours["stage4_a_bn"], theirs["stage4_a_bn"], strict=True):
        np.testing.assert_array_equal(mine, its[evenly_spaced(24, 12)])
    # The prediction layers read 4 of 16 channels: sqrt(16 / 4) = 2. Their bias is the large one's.
    kernel, bias = ours["head_class"]
    np.testing.assert_allclose(kernel, 2 * theirs["head_class"][0][:, :, evenly_spaced(16, 4)], rtol=1e-6)
    np.testing.assert_array_equal(bias, theirs["head_class"][1])
    for mine, its in zip(large.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_layers_of_another_form_stay_fresh(large):
    small = build("tiny(size='fast')")
    before = {x.name: x.get_weights() for x in small.core.layers}
    done = Uniform()(small, large)
    assert {"stem_conv", "stage3_conv", "stage3_bn"} <= set(done.fresh)
    assert {"pyramid_lateral3_conv", "head_class", "head_box"} <= set(done.layers)
    for name in done.fresh:
        for ours, theirs in zip(small.core.get_layer(name).get_weights(), before[name], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_table_names_them():
    assert isinstance(STARTS.build("uniform"), Uniform)
    with pytest.raises(MkdError, match="start"):
        STARTS.build("unknown")
