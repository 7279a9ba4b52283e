"""Calibration images: from the training split, the same for the same seed, never changed."""

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.conversion.calibration import choose_calibration, with_full_range
from mkd_tf.data.base import Dataset, element

IDS = [f"p{i}" for i in range(20)]


class Images(Dataset):
    """Grey images of 20 by 40, each of its own grey, in `train` alone."""

    name, class_names, split_names = "images", ("a",), ("train",)

    def _split(self, name):
        return [
            element(np.full((20, 40, 3), 10 * i, "uint8"), IDS[i], np.zeros((0, 4)), np.zeros(0))
            for i in range(20)
        ]


def test_a_data_set_gives_its_training_images_at_the_models_size():
    chosen = choose_calibration(Images(), 32, count=5, seed=3)
    assert chosen.images.shape == (5, 32, 32, 3) and chosen.images.dtype == np.uint8
    assert len(set(chosen.image_ids)) == 5 and set(chosen.image_ids) <= set(IDS)
    greys = [10 * int(name[1:]) for name in chosen.image_ids]
    np.testing.assert_array_equal(chosen.images[:, 0, 0, 0], greys)


def test_the_seed_decides():
    ids = [choose_calibration(Images(), 32, count=5, seed=s).image_ids for s in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]


def test_more_than_there_are_are_all():
    assert choose_calibration(Images().split("train"), 32, count=99).image_ids == tuple(IDS)


def test_the_fit_is_that_of_training():
    stretched, boxed = (choose_calibration(Images(), 32, count=20, fit=f) for f in ("stretch", "letterbox"))
    assert (stretched.images[5] == 50).all()
    assert (boxed.images[5, :16] == 50).all() and (boxed.images[5, 16:] == 0).all()


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_one_in_eight_has_the_other_fit(fit):
    chosen = choose_calibration(Images(), 32, count=20, fit=fit)
    # Images of 20 by 40: only letterboxed ones have padding, zeros.
    is_padded = (chosen.images[:, 16:] == 0).all(axis=(1, 2, 3))
    is_padded[0] = fit == "letterbox"  # The black one.
    others = [place for place, padded in enumerate(is_padded) if padded == (fit == "stretch")]
    assert others == [1, 9, 17]


def test_full_range_touches_two_pixels_of_a_copy():
    images = np.full((3, 8, 8, 3), 100, "uint8")
    full = with_full_range(images)
    assert (images == 100).all()
    assert (full != images).any(axis=-1).sum() == 2
    assert (full[0].min(), full[0].max()) == (0, 255) and (full[1:] == 100).all()


def test_a_list_of_images_of_any_size():
    images = [np.full((40 + i, 60, 3), 10 * i, "uint8") for i in range(5)]
    found = choose_calibration(images, 32, count=3)
    assert found.images.shape == (3, 32, 32, 3)
    assert [image[16, 16, 0] for image in found.images] == [10 * int(name) for name in found.image_ids]


def test_mistakes():
    for given, message in (
        (
            [np.zeros((1, 8, 8, 3), "uint8")],
            r"calibration image 0: expected uint8 \[H, W, 3\], got uint8 \[1, 8",
        ),
        ([np.zeros((8, 8, 3), "float32")], "calibration image 0: .*got float32"),
        (["image.jpg"], "calibration image 0: .*list of images"),
        (iter([]), "calibration: expected images by number, got a list_iterator"),
    ):
        with pytest.raises(MkdError, match=message):
            choose_calibration(given, 32)
    with pytest.raises(MkdError, match="calibration: expected at least one image, got an empty set"):
        choose_calibration([], 32)
    with pytest.raises(MkdError, match="calibration_images"):
        choose_calibration(Images(), 32, count=0)
