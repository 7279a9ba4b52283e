"""Every family in int8, in both forms that are exported, passes the Edge TPU check."""

import keras
import numpy as np
import pytest
from keras import layers

from mkd_tf.conversion import to_tflite
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.detectors import adapt
from mkd_tf.edgetpu.placement import CPU, EDGE_TPU, check
from mkd_tf.edgetpu.rules import POSTPROCESS
from tests import harness

SIDE = harness.IMAGE_SIZE
FORMS = {"detection": {"DEQUANTIZE", POSTPROCESS}, "raw": {"DEQUANTIZE"}}


def adapted():
    """A Keras model of a user's own, with its own scaling of pixels."""
    maps = [keras.Input((SIDE, SIDE, 3))]
    for width in (4, 8, 16, 16, 16):
        x = layers.BatchNormalization()(layers.Conv2D(width, 3, 2, "same")(maps[-1]))
        maps.append(layers.ReLU()(x))
    join = layers.Concatenate(axis=1)
    heads = {
        name: join([layers.Reshape((-1, width))(layers.Conv2D(width, 1)(x)) for x in maps[3:]])
        for name, width in {"class_logits": 3, "box_encodings": 4}.items()
    }
    model = keras.Model(maps[0], heads)
    names = ("class0", "class1", "class2")
    return adapt(model, taps={}, anchors=grid_anchors(SIDE), class_names=names, scale=1 / 255)


CASES = [(spec, form) for spec in (*harness.STRUCTURES, "adapted") for form in FORMS]


@pytest.mark.parametrize(
    ("spec", "form"),
    # The bottlenecks of depth 50 are the same in both forms, and slow to convert.
    [c for c in CASES if c[0] not in harness.SLOW]
    + [pytest.param(spec, "detection", marks=pytest.mark.slow) for spec in harness.SLOW],
)
def test_every_family_passes(spec, form):
    detector = harness.shake(adapted() if spec == "adapted" else harness.build(spec))
    images = harness.random_images(2, SIDE).astype(np.uint8)
    content = to_tflite(detector, "int8", images, form)
    assert harness.operator_problems(content, detector) == []
    placements = check(content).placements
    assert {p.operator.name for p in placements if p.place == CPU} == FORMS[form]
    assert {p.place for p in placements} == {CPU, EDGE_TPU}
    assert all(p.passes for p in placements)
