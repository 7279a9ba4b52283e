"""A teacher's detections go with their image through the batch, and never into its labels."""

import numpy as np
import pytest

from mkd_tf.config import AugmentationConfig
from mkd_tf.data.base import element
from mkd_tf.data.pipeline.batches import Stream, training_batches
from mkd_tf.data.pipeline.image_store import ImageStore
from mkd_tf.data.pipeline.teacher_places import TeacherPlaces
from mkd_tf.detection import boxes as box_math
from mkd_tf.detection.anchors import grid_anchors

SIDE, COUNT, CLASSES = 64, 6, 3
STILL = AugmentationConfig(
    flips="none", scale_min=1.0, scale_max=1.0, aspect=0.0, brightness=0.0, contrast=0.0, saturation=0.0
)
MIRRORED = AugmentationConfig(
    flips="half_turn", scale_min=1.0, scale_max=1.0, aspect=0.0, brightness=0.0, contrast=0.0, saturation=0.0
)
# Fractions of the image; the third image is one of which the teacher says nothing.
BOX = np.float32([[0.25, 0.25, 0.75, 0.5]])


def row(i):
    scores = np.float32([0.8, 0.4])
    return np.concatenate([BOX, BOX + 0.01]), np.int32([i % CLASSES, (i + 1) % CLASSES]), scores


@pytest.fixture(scope="module")
def store():
    """Plain images of brightness 20 i, each with one object of class 2."""
    split = [
        element(np.full((48, 64, 3), 20 * i, "uint8"), f"{i}", BOX / 2, np.int32([2])) for i in range(COUNT)
    ]
    return ImageStore([split], SIDE, "stretch", 1.0)


@pytest.fixture(scope="module")
def places():
    return TeacherPlaces.of({i: row(i) for i in range(COUNT) if i != 2}, COUNT, CLASSES)


def batches(store, places, config=STILL, steps=2, first_step=0, sizes=(("student", SIDE),)):
    made = training_batches(
        store,
        store.truth,
        [Stream(np.arange(COUNT), 4)],
        {role: grid_anchors(size) for role, size in sizes},
        CLASSES,
        config,
        seed=0,
        image_size=SIDE,
        first_step=first_step,
        steps=steps,
        soft=places,
    )
    return list(made.as_numpy_iterator())


def test_detections_of_one_place_are_one_row(places):
    assert places.boxes.labels[[0, 1, 3, 4, 5], 0].tolist() == [0, 1, 2, 3, 4]
    assert places.boxes.weights[:, 0].tolist() == pytest.approx([0.8, 0.8, 0, 0.8, 0.8, 0.8])
    assert places.boxes.known.tolist() == [1, 1, 0, 1, 1, 1]
    np.testing.assert_allclose(places.profiles[0], [1, 0.5, 0])
    np.testing.assert_allclose(places.profiles[1], [0, 1, 0.5])


@pytest.mark.parametrize("config", [STILL, MIRRORED], ids=["still", "mirrored"])
def test_the_answers_of_each_image_follow_it(store, places, config):
    anchors = grid_anchors(SIDE)
    seen = set()
    for batch in batches(store, places, config, steps=4):
        which = np.round(batch["images"][:, SIDE // 2, SIDE // 2, 0] / 20).astype(int)
        answers = batch["answers"]["teacher"]
        boxes = np.array(box_math.decode(answers["box_encodings"], anchors.centers_and_sizes()))
        for b, image in enumerate(which.tolist()):
            mine = answers["matched"][b] > 0
            assert mine.any() == (image != 2)
            if image == 2:
                continue
            expected = np.zeros(CLASSES)
            expected[[image % CLASSES, (image + 1) % CLASSES]] = 0.8, 0.4
            probabilities = 1 / (1 + np.exp(-answers["class_logits"][b][mine].astype("float64")))
            np.testing.assert_allclose(probabilities, np.tile(expected, (mine.sum(), 1)), atol=1e-5)
            straight = BOX[0] * SIDE
            turned = SIDE - straight[[2, 3, 0, 1]]
            is_turned = np.abs(boxes[b][mine][0] - turned).max() < 0.1
            seen.add(is_turned)
            np.testing.assert_allclose(boxes[b][mine][0], turned if is_turned else straight, atol=0.1)
    assert seen == ({False} if config is STILL else {False, True})


def test_labels_are_as_without_answers(store, places):
    for alone, beside in zip(batches(store, None), batches(store, places), strict=True):
        assert "answers" not in alone
        np.testing.assert_array_equal(alone["images"], beside["images"])
        for name, value in alone["targets"]["student"].items():
            np.testing.assert_array_equal(value, beside["targets"]["student"][name], err_msg=name)


def test_mosaic_and_mixup_take_the_answers_along(store, places):
    config = AugmentationConfig(mosaic=0.25, mixup=0.25, mixed_images="all")
    first, second = batches(store, places, config)
    again = batches(store, places, config, first_step=1)[0]
    for name, value in second["answers"]["teacher"].items():
        np.testing.assert_array_equal(value, again["answers"]["teacher"][name])
        assert np.isfinite(first["answers"]["teacher"][name]).all()
    assert (first["answers"]["teacher"]["matched"].sum(axis=1) > 0).sum() >= 3
    # A blended image has blended scores.
    best = 1 / (1 + np.exp(-second["answers"]["teacher"]["class_logits"].max(axis=(1, 2))))
    assert (best[:-1] < 0.8 + 1e-5).all()
    assert best[-1] < 0.8 - 1e-3


def test_a_larger_network_that_learns_has_anchors_of_its_own(store, places):
    sizes = (("student", SIDE // 2), ("guide", SIDE))
    found = batches(store, places, sizes=sizes, steps=1)[0]
    small, large = (grid_anchors(size) for _, size in sizes)
    assert found["answers"]["teacher"]["matched"].shape == (4, len(small) + len(large))
    assert found["answers"]["teacher"]["matched"][:, len(small) :].sum() > 0
