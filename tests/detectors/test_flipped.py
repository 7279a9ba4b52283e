"""A second view: what is seen in a mirror image is carried back exactly."""

import keras
import numpy as np
import pytest
from keras import layers

from mkd_tf.checks import MkdError
from mkd_tf.detection.anchors import STRIDES, Anchors, grid_anchors
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.ensemble import mean_predictions
from mkd_tf.detectors.flipped import VIEWS, Flipped, mirrored_anchors
from mkd_tf.evaluation.cost import macs, parameters
from tests import harness, reference

SIDE = 64
SPEC = "tiny(widths=(8, 8, 8, 8), pyramid=8, tower=0, block='plain')"
each_view = pytest.mark.parametrize("views", list(VIEWS))


def mirror_box(box, axes, side=SIDE):
    y0, x0, y1, x1 = box
    if 1 in axes:
        y0, y1 = side - y1, side - y0
    if 2 in axes:
        x0, x1 = side - x1, side - x0
    return [y0, x0, y1, x1]


def partners_by_loops(anchors, axes):
    found = []
    for box in anchors.boxes:
        mirrored = mirror_box(box, axes, anchors.image_size)
        (partner,) = [m for m, other in enumerate(anchors.boxes) if np.allclose(other, mirrored, atol=1e-3)]
        found.append(partner)
    return found


def encode(box, anchor):
    y, x, height, width = anchor
    center = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return [
        10 * (center[0] - y) / height,
        10 * (center[1] - x) / width,
        5 * np.log((box[2] - box[0]) / height),
        5 * np.log((box[3] - box[1]) / width),
    ]


def symmetric_detector(axes, bins=5, num_classes=3):
    """A detector that sees a mirror image exactly as the mirror image of what it sees.

    Its kernels are their own mirror images; those of the outputs that change their
    sign (tx; in a half turn ty too) change theirs, and their bins are reversed.
    """
    rng = np.random.default_rng(0)
    images = keras.Input((SIDE, SIDE, 3))
    anchors, outputs = grid_anchors(SIDE), {"class_logits": [], "box_encodings": [], "box_logits": []}
    turned = [axis - 1 for axis in axes]
    signs = np.array([-1 if 1 in axes else 1, -1 if 2 in axes else 1, 1, 1])

    def convolution(x, filters, change=lambda kernel: kernel):
        layer = layers.Conv2D(filters, 3, padding="same", use_bias=False)
        y = layer(x)
        kernel = rng.normal(0, 1, (3, 3, x.shape[-1], filters))
        layer.kernel.assign((kernel + change(np.flip(kernel, turned))) / 2)
        return y

    def reverse_bins(kernel):
        split = kernel.reshape(*kernel.shape[:3], 4, bins)
        return np.where(signs[:, None] < 0, split[..., ::-1], split).reshape(kernel.shape)

    for level, stride in enumerate(STRIDES, start=3):
        x = layers.Rescaling(3.0)(layers.AveragePooling2D(stride)(images))
        outputs[f"C{level}"] = layers.ReLU()(convolution(x, 4))
        outputs[f"P{level}"] = convolution(outputs[f"C{level}"], 6)
        cells = (SIDE // stride) ** 2
        for name, filters, change, shape in (
            ("class_logits", num_classes, lambda k: k, (cells, num_classes)),
            ("box_encodings", 4, lambda k: k * signs, (cells, 4)),
            ("box_logits", 4 * bins, reverse_bins, (cells, 4, bins)),
        ):
            outputs[name].append(layers.Reshape(shape)(convolution(outputs[f"P{level}"], filters, change)))
    joined = {k: layers.Concatenate(axis=1)(v) if isinstance(v, list) else v for k, v in outputs.items()}
    core = keras.Model(images, joined, name="core")
    return Detector(core, anchors, [f"class{i}" for i in range(num_classes)], {"name": "symmetric"})


@each_view
def test_a_symmetric_detector_gains_nothing(views):
    detector = symmetric_detector(VIEWS[views])
    images = harness.random_images(2)
    expected, found = detector(images), Flipped(detector, views)(images)
    assert set(found) == set(expected)
    for name in expected:
        if name == "box_logits":
            # Logits say the same but for a constant.
            pairs = [keras.ops.softmax(x[name], axis=-1) for x in (found, expected)]
        else:
            pairs = [found[name], expected[name]]
        assert np.std(pairs[1]) > 0.05, f"{name} does not tell"
        np.testing.assert_allclose(*pairs, atol=2e-3, rtol=1e-4, err_msg=name)


@each_view
def test_two_views_are_what_the_loops_make(views):
    axes = VIEWS[views]
    detector = harness.shake(harness.build(SPEC))
    images = harness.random_images(2)
    found = {k: np.array(x) for k, x in Flipped(detector, views)(images).items()}
    here = {k: np.array(x) for k, x in detector(images, training=False).items()}
    turned = np.flip(images, axes).copy()
    there = {k: np.array(x) for k, x in detector(turned, training=False).items()}
    anchors, grid = detector.anchors.centers_and_sizes(), detector.anchors
    for b in range(2):
        for n, m in enumerate(partners_by_loops(grid, axes)):
            p = [
                [reference.sigmoid(float(z)) for z in row]
                for row in (here["class_logits"][b, n], there["class_logits"][b, m])
            ]
            mean = np.mean(p, axis=0)
            np.testing.assert_allclose(found["class_logits"][b, n], np.log(mean / (1 - mean)), atol=1e-4)
            # The box in the mirror image, in pixels, mirrored, and measured from the anchor of the image.
            seen = mirror_box(reference.decode(there["box_encodings"][b, m], anchors[m]), axes)
            surest = [max(row) for row in p]
            box = np.average([here["box_encodings"][b, n], encode(seen, anchors[n])], axis=0, weights=surest)
            np.testing.assert_allclose(found["box_encodings"][b, n], box, atol=1e-3)
        for tap in harness.TAPS:
            size = here[tap].shape[1]
            for y in range(size):
                for x in range(size):
                    across = there[tap][b, size - 1 - y if 1 in axes else y, size - 1 - x]
                    np.testing.assert_allclose(
                        found[tap][b, y, x], (here[tap][b, y, x] + across) / 2, atol=1e-4
                    )


@each_view
def test_its_answer_to_a_mirrored_image_is_the_mirrored_answer(views):
    axes, images = VIEWS[views], harness.random_images(2)
    teacher = Flipped(harness.shake(harness.build(SPEC)), views)
    found, mirrored = teacher(images), teacher(np.flip(images, axes).copy())
    partners = mirrored_anchors(teacher.anchors, axes)
    np.testing.assert_allclose(
        mirrored["class_logits"], np.array(found["class_logits"])[:, partners], atol=1e-4
    )
    np.testing.assert_allclose(mirrored["C3"], np.flip(found["C3"], axes), atol=1e-4)
    assert not np.allclose(mirrored["class_logits"], found["class_logits"], atol=1e-3)


def test_distributions_are_averaged_too():
    detector = symmetric_detector(())  # Of no symmetry.
    images = harness.random_images(1)
    here, there = (detector(x) for x in (images, images[:, :, ::-1].copy()))
    back = {
        k: np.array(there[k])[:, partners_by_loops(detector.anchors, (2,))]
        for k in here
        if here[k].ndim != 4 or k == "box_logits"
    }
    back["box_encodings"][:, :, 1] *= -1
    back["box_logits"][:, :, 1] = back["box_logits"][:, :, 1, ::-1]
    expected = mean_predictions({k: np.stack([here[k], back[k]]) for k in back})
    found = Flipped(detector)(images)
    for name in back:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-3, err_msg=name)


def test_partners_by_hand():
    grid = grid_anchors(32)  # 4 x 4, 2 x 2 and 1 anchors, rows first.
    flip = [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 17, 16, 19, 18, 20]
    assert mirrored_anchors(grid, (2,)).tolist() == flip
    assert mirrored_anchors(grid, (1, 2)).tolist() == [*range(15, -1, -1), 19, 18, 17, 16, 20]


@each_view
@pytest.mark.parametrize("size", [96, 224])
def test_partners_are_those_of_the_loops(views, size):
    grid = grid_anchors(size, strides=(16, 32), scale=3.3)
    found = mirrored_anchors(grid, VIEWS[views])
    assert found.dtype == np.int32
    assert found.tolist() == partners_by_loops(grid, VIEWS[views])
    np.testing.assert_array_equal(found[found], np.arange(len(grid)))


def test_equal_boxes_of_two_levels_stay_on_theirs():
    boxes = grid_anchors(64, strides=(32,), scale=2.0).boxes
    twice = Anchors(np.concatenate([boxes, boxes]), (4, 4), 64)
    assert mirrored_anchors(twice, (2,)).tolist() == [1, 0, 3, 2, 5, 4, 7, 6]


def test_a_grid_without_symmetry_is_told():
    grid = grid_anchors(64)
    moved = Anchors(grid.boxes + np.float32([0, 1, 0, 1]), grid.level_counts, 64)
    with pytest.raises(MkdError, match="anchors: expected a grid that is its own mirror image"):
        mirrored_anchors(moved, (2,))
    with pytest.raises(MkdError, match="views: expected one of flip, half_turn, got 'both'"):
        Flipped(harness.build(SPEC), "both")


def test_it_has_no_training_mode_and_costs_twice():
    network, images = harness.shake(harness.build(SPEC)), harness.random_images(2)
    teacher = Flipped(network)
    before = [np.array(v) for v in teacher.variables]
    for a, b in zip(teacher(images).values(), teacher(images, training=True).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(before, teacher.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert parameters(teacher.inference()) == parameters(network.inference())
    assert macs(teacher.inference()) == 2 * macs(network.inference())
    assert (teacher.image_size, teacher.class_names) == (network.image_size, network.class_names)
