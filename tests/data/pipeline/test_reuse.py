"""Augmentations that come back: in which epochs, and that the batches are then the same."""

import numpy as np
import tensorflow as tf

from mkd_tf.config import AugmentationConfig
from mkd_tf.data.base import element
from mkd_tf.data.pipeline.batches import Stream, training_batches
from mkd_tf.data.pipeline.image_store import ImageStore
from mkd_tf.data.pipeline.reuse import TIMES, Reuse
from mkd_tf.detection.anchors import grid_anchors

COUNT, BATCH, SIDE = 2, 4, 64


def test_each_variant_has_its_turns_and_its_slot():
    reuse, epochs = Reuse(COUNT), np.arange(3 * COUNT * TIMES)
    variants, slots, generations = (
        f(tf.constant(epochs)).numpy() for f in (reuse.variant, reuse.slot, reuse.generation)
    )
    assert {int(v): int((variants == v).sum()) for v in variants} == dict.fromkeys(range(3 * COUNT), TIMES)
    # One slot holds one variant at a time, and each generation is over before the next.
    pairs = set(zip(slots.tolist(), generations.tolist(), variants.tolist(), strict=True))
    assert len(pairs) == len({p[:2] for p in pairs}) == 3 * COUNT
    assert (np.diff(generations) >= 0).all() and slots.max() == COUNT - 1


def batches(reuse, steps):
    rng = np.random.default_rng(0)
    split = [
        element(
            rng.integers(0, 255, (SIDE, SIDE, 3), "uint8"),
            str(i),
            np.array([[0.2, 0.2, 0.7, 0.8]]),
            np.array([i % 2]),
        )
        for i in range(BATCH)
    ]
    store = ImageStore([split], SIDE, "stretch", 1.0)
    made = training_batches(
        store,
        store.truth,
        [Stream(np.arange(BATCH), BATCH)],
        {"student": grid_anchors(SIDE)},
        2,
        AugmentationConfig(),
        seed=3,
        image_size=SIDE,
        first_step=0,
        steps=steps,
        reuse=reuse,
    )
    return list(made.as_numpy_iterator())


def test_an_image_comes_back_as_it_was_with_its_targets():
    steps = COUNT * TIMES + 1
    found: dict[tuple, tuple] = {}
    for batch in batches(Reuse(COUNT), steps):
        for row, view in enumerate(batch["views"].tolist()):
            targets = [value[row] for _, value in sorted(batch["targets"]["student"].items())]
            before = found.setdefault(tuple(view), (batch["images"][row], targets))
            np.testing.assert_array_equal(batch["images"][row], before[0])
            for value, expected in zip(targets, before[1], strict=True):
                np.testing.assert_array_equal(value, expected)
    # Two augmentations of each image, and the first of those that follow.
    assert set(found) == {
        (i, slot, generation) for i in range(BATCH) for slot, generation in ((0, 0), (1, 0), (0, 1))
    }
    images = [pixels for _, (pixels, _) in sorted(found.items(), key=lambda item: item[0])]
    assert all(not np.array_equal(a, b) for a, b in zip(images, images[1:], strict=False))


def test_without_it_batches_are_what_they_were():
    first, plain = batches(Reuse(COUNT), COUNT), batches(None, COUNT)
    assert set(first[0]) - set(plain[0]) == {"views"}
    for one, other in zip(first, plain, strict=True):  # The first epochs are those of the plain run.
        np.testing.assert_array_equal(one["images"], other["images"])
