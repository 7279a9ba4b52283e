"""Parts of a batch are the batch: what several workers draw together is what one would."""

import numpy as np
import pytest

from mkd_tf.config import AugmentationConfig
from mkd_tf.data.base import element
from mkd_tf.data.pipeline.batches import Stream, training_batches
from mkd_tf.data.pipeline.image_store import ImageStore
from mkd_tf.detection.anchors import grid_anchors

SIDE = 64
MIXING = AugmentationConfig(mosaic=0.5, mixup=0.25, mixed_images="all")


class Counting(ImageStore):
    """Counts the images that are taken from it."""

    taken = 0

    def images(self, indices):
        self.taken += len(indices)
        return super().images(indices)


@pytest.fixture(scope="module")
def store():
    rng = np.random.default_rng(0)
    split = [
        element(
            rng.integers(0, 255, (64, 64, 3), "uint8"),
            f"{i}",
            [[0.2, 0.1, 0.6, 0.5]] * (i % 3),
            [0] * (i % 3),
        )
        for i in range(10)
    ]
    return Counting([split], SIDE, "stretch", 1.0)


def drawn(store, config, part):
    made = training_batches(
        store,
        store.truth,
        [Stream(np.arange(6), 4), Stream(np.arange(6, 10), 4, labelled=False)],
        {"student": grid_anchors(SIDE)},
        3,
        config,
        seed=0,
        image_size=SIDE,
        first_step=1,
        steps=3,
        part=part,
    )
    return list(made.as_numpy_iterator())


@pytest.mark.parametrize("config", [AugmentationConfig(), MIXING], ids=["plain", "mixed"])
def test_parts_in_their_order_are_the_batch(store, config):
    whole = drawn(store, config, (0, 1))
    parts = [drawn(store, config, (i, 4)) for i in range(4)]
    for step, batch in enumerate(whole):
        assert parts[0][step]["images"].shape[0] == 2
        joined = np.concatenate([part[step]["images"] for part in parts])
        # Of 0..255; pixels are interpolated in groups, whose bounds move with the number of images.
        np.testing.assert_allclose(joined, batch["images"], rtol=0, atol=0.01)
        for name, values in batch["targets"]["student"].items():
            joined = np.concatenate([part[step]["targets"]["student"][name] for part in parts])
            np.testing.assert_allclose(joined, values, rtol=0, atol=1e-3, err_msg=name)


def test_a_part_costs_its_part(store):
    store.taken = 0
    drawn(store, AugmentationConfig(), (1, 2))
    assert store.taken == 2 * 4 + 1  # The first one tells the size.
