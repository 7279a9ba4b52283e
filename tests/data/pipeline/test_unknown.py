"""What is unknown never becomes background on its way to the targets."""

import numpy as np
import pytest

from mkd_tf.config import AugmentationConfig
from mkd_tf.data.base import WHOLE, annotation, element, is_complete, unknown_of
from mkd_tf.data.pipeline.batches import Stream, training_batches
from mkd_tf.data.pipeline.image_store import IGNORED, ImageStore
from mkd_tf.detection.anchors import grid_anchors

SIDE = 64
STILL = {"flips": "none", "scale_min": 1.0, "scale_max": 1.0, "aspect": 0.0}
BOX = [0.1, 0.1, 0.5, 0.5]


def image(i, unknown, boxes=(BOX,)):
    """Image i has brightness 20 i."""
    pixels = np.full((48, 64, 3), 20 * i, "uint8")
    return element(pixels, f"{i}", np.float32(boxes), np.zeros(len(boxes), "int32"), unknown=unknown)


@pytest.fixture(scope="module")
def store():
    """Four images: a plain one, one with a small unknown area, two that are unknown as a whole."""
    small = [[0.6, 0.6, 0.7, 0.7]]
    split = [image(1, ()), image(2, small), image(3, [WHOLE]), image(4, [WHOLE], boxes=())]
    return ImageStore([split], SIDE, "stretch", 1.0)


def batch(store, **changes):
    config = AugmentationConfig(**{**STILL, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, **changes})
    made = training_batches(
        store,
        store.truth,
        [Stream(np.arange(4), 4)],
        {"student": grid_anchors(SIDE)},
        1,
        config,
        seed=0,
        image_size=SIDE,
        first_step=0,
        steps=1,
    )
    return next(made.as_numpy_iterator())


def test_an_element_says_what_is_unknown():
    plain = annotation((48, 64), "a", np.zeros((0, 4)), np.zeros(0))
    assert unknown_of(plain).shape == (0, 4) and is_complete(plain)
    assert is_complete({}) and unknown_of({}).shape == (0, 4)  # elements of before
    area = annotation((48, 64), "a", np.zeros((0, 4)), np.zeros(0), unknown=[[0, 0, 1, 0.5]])
    assert is_complete(area) and unknown_of(area).dtype == np.float32
    assert not is_complete(annotation((48, 64), "a", np.zeros((0, 4)), np.zeros(0), unknown=[WHOLE]))


def test_the_store_has_a_row_for_every_area(store):
    assert [store.truth.weights[i].tolist() for i in range(4)] == [
        [1, 0],
        [1, IGNORED],
        [1, IGNORED],
        [IGNORED, 0],
    ]
    np.testing.assert_allclose(store.truth.boxes[1, 1], [0.6, 0.6, 0.7, 0.7])
    assert store.truth.labels.dtype == np.int32 and store.is_labelled.all()


def test_a_letterbox_moves_it():
    made = ImageStore([[image(1, [WHOLE])]], SIDE, "letterbox", 1.0)
    np.testing.assert_allclose(made.truth.boxes[0, 1], [0, 0, 0.75, 1])


def test_nothing_in_it_is_background(store):
    found = batch(store)
    targets = found["targets"]["student"]
    shown = np.round(found["images"][:, 30, 30, 0] / 20).astype(int).tolist()
    ignored = dict(zip(shown, targets["ignored"], strict=True))
    positive = dict(zip(shown, targets["weights"] > 0, strict=True))
    assert not ignored[1].any() and positive[1].any()
    assert 0 < ignored[2].sum() < 12  # a small area: where its object would be assigned
    np.testing.assert_array_equal(ignored[3] > 0, ~positive[3])  # its object stays one
    assert ignored[4].all()


@pytest.mark.parametrize("changes", [{"mosaic": 1.0}, {"mixup": 1.0}])
def test_mixing_keeps_it_unknown(store, changes):
    found = batch(store, mixed_images="all", **changes)
    targets = found["targets"]["student"]
    assert (targets["ignored"].sum(axis=1) > 0).all()  # every mosaic and every pair here has some of it
    fine = targets["ignored"][:, :64].reshape(-1, 8, 8)
    taken = targets["weights"][:, :64].reshape(-1, 8, 8)
    brightness = found["images"][:, 4::8, 4::8, 0] / 20
    if "mosaic" in changes:  # deep inside of a part that shows an image which is unknown as a whole
        unknown = np.isin(np.round(brightness), (3, 4)) & (np.abs(brightness - np.round(brightness)) < 0.05)
        inner = unknown[:, 1:-1, 1:-1]
        for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
            inner = inner & unknown[:, dy : dy + 6, dx : dx + 6]
        assert inner.any()
        assert ((fine + taken)[:, 1:-1, 1:-1][inner] > 0).all()


@pytest.mark.parametrize("cut_objects", ["background", "unknown"])
def test_a_cut_object_is_background_unless_asked_otherwise(cut_objects):
    """The left tenth of a wide object is all that a zoom of 10 keeps of it, or nothing at all."""
    plain = ImageStore([[image(1, (), boxes=([0.0, 0.0, 1.0, 1.0],))] * 4], SIDE, "stretch", 1.0)
    found = batch(plain, scale_min=10.0, scale_max=10.0, cut_objects=cut_objects)["targets"]["student"]
    assert not found["weights"].any()
    if cut_objects == "unknown":
        assert found["ignored"].all()
    else:
        assert "ignored" not in found
