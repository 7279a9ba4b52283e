"""The store: images fitted once, boxes padded, the same from memory and from files."""

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.data.base import AnnotatedSplit, annotation, element
from mkd_tf.data.pipeline import image_store
from mkd_tf.data.pipeline.image_store import CANVAS_SCALE, ImageStore, pad_boxes

BOX = [0.1, 0.2, 0.5, 0.6]


def image(value, labels=(), height=20, width=40, **options):
    pixels = np.full((height, width, 3), value, "uint8")
    pixels[:, : width // 2] //= 2
    name = f"picture{value}"  # Part of the digest, which was computed with it.
    return element(pixels, name, np.float32([BOX] * len(labels)), np.int32(labels), **options)


def store(splits, cache_gb=1.0, fit="stretch", image_size=32):
    return ImageStore(splits, image_size, fit, cache_gb)


def test_splits_are_one_and_images_are_fitted():
    made = store([[image(10), image(20)], [image(30)]])
    assert len(made) == 3
    found = made.images(np.array([2, 0]))
    side = round(32 * CANVAS_SCALE)
    assert (found.shape, found.dtype) == ((2, side, side, 3), np.uint8)
    assert found[:, 5, -1, 0].tolist() == [30, 10]
    assert found[:, 5, 0, 0].tolist() == [15, 5]


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_memory_changes_nothing(fit):
    splits = [[image(v, [0] * (v % 3)) for v in range(10, 60, 10)]]
    kept, read = store(splits, fit=fit), store(splits, cache_gb=0.0, fit=fit)
    order = np.array([3, 3, 0, 4])
    np.testing.assert_array_equal(kept.images(order), read.images(order))
    np.testing.assert_array_equal(kept.truth.boxes, read.truth.boxes)


def test_images_are_read_again_only_when_they_are_not_kept():
    class Counted(list):
        reads = 0

        def __getitem__(self, i):
            Counted.reads += 1
            return super().__getitem__(i)

    for cache_gb, expected in ((1.0, 2), (0.0, 3)):
        Counted.reads = 0
        store([Counted([image(10), image(20)])], cache_gb).images(np.array([1]))
        assert Counted.reads == expected


class Annotated(AnnotatedSplit):
    """Counts what is decoded."""

    def __init__(self, elements):
        self.elements, self.decoded = elements, []

    def __len__(self):
        return len(self.elements)

    def image(self, index):
        self.decoded.append(index)
        return self.elements[index]["image"]

    def annotation(self, index):
        found = self.elements[index]
        details = found["objects"]
        return annotation(found["image"].shape[:2], found["image/id"], details["bbox"], details["label"])


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_annotated_images_are_decoded_once_or_when_they_are_used(fit):
    elements = [image(10, [0]), image(20), image(30, [1, 2])]
    plain = store([elements], fit=fit)
    for cache_gb, at_start in ((1.0, [0, 1, 2]), (0.0, [])):
        split = Annotated(elements)
        made = store([split], cache_gb, fit)
        assert sorted(split.decoded) == at_start
        assert made.digest() == plain.digest()
        np.testing.assert_array_equal(made.truth.boxes, plain.truth.boxes)
        np.testing.assert_array_equal(made.images(np.array([2, 0])), plain.images(np.array([2, 0])))
        assert sorted(split.decoded) == (at_start or [0, 2])


def test_the_digest_is_the_one_of_earlier_versions():
    """A changed digest would refuse to go on in a work directory that was begun before."""
    made = store([[image(10, [2]), image(20)], [image(30, [1, 0], is_labelled=False)]])
    assert made.digest() == "4918eba7bdd68f81eba0cd52b8e29551d4a24a67c72b4983ad21d2dbda2aad56"


def test_the_content_digest_is_of_the_pixels(monkeypatch):
    kept, other = store([[image(1), image(2)]]), store([[image(1), image(3)]])
    decoded = store([[image(1), image(2)]], cache_gb=0.0)
    assert kept.content_digest() == decoded.content_digest() != other.content_digest()
    # Of images that are decoded at each use only some are read.
    monkeypatch.setattr(image_store, "_SAMPLED", 1)
    assert decoded.content_digest() != kept.content_digest()


def test_boxes_are_padded_with_weight_zero():
    made = store([[image(10, [2]), image(20), image(30, [1, 0])]])
    truth = made.truth
    assert truth.boxes.shape == (3, 2, 4)
    assert truth.labels.tolist() == [[2, 0], [0, 0], [1, 0]]
    assert truth.weights.tolist() == [[1, 0], [0, 0], [1, 1]]
    np.testing.assert_allclose(truth.boxes[0], [BOX, [0] * 4])
    boxes, labels, weights = made.row(2)
    assert (labels.tolist(), weights.tolist(), boxes.shape) == ([1, 0], [1, 1], (2, 4))
    assert [len(part) for part in made.row(1)] == [0, 0, 0]


def test_letterboxed_boxes_follow_the_image():
    # 20 by 40 pixels: the image fills the upper half of the square.
    truth = store([[image(10, [0])]], fit="letterbox").truth
    np.testing.assert_allclose(truth.boxes[0, 0], [0.05, 0.2, 0.25, 0.6], rtol=1e-5)


def test_a_crowd_is_an_ignored_area():
    crowd = image(10, [0, 1], is_crowd=np.array([True, False]))
    difficult = image(20, [2], is_difficult=np.array([True]))
    made = store([[crowd, difficult]])
    assert made.truth.labels.tolist() == [[0, 1], [2, 0]]
    assert made.truth.weights.tolist() == [[-1, 1], [1, 0]]
    assert made.row(0)[2].tolist() == [-1, 1]
    other = store([[image(10, [0, 1], is_crowd=np.array([False, True])), difficult]])
    assert made.digest() != other.digest()


def test_what_is_known_is_what_is_labelled():
    made = store([[image(10, [0]), image(20)], [image(30, is_labelled=False)]])
    assert made.is_labelled.tolist() == [True, True, False]
    assert made.truth.known.tolist() == [1, 1, 0]


def test_padding_keeps_a_row_where_there_is_no_box_at_all():
    empty = np.zeros((0, 4)), np.zeros(0), np.zeros(0)
    found = pad_boxes([empty, empty], np.array([True, False]))
    assert found.boxes.shape == (2, 1, 4)
    assert found.weights.sum() == 0


def test_no_images_are_told():
    with pytest.raises(MkdError, match="training images: expected at least one, got none"):
        store([[], []])


def test_an_error_in_an_image_reaches_the_caller():
    class Broken(list):
        def __getitem__(self, i):
            raise MkdError("image 1: damaged")

    with pytest.raises(MkdError, match="image 1: damaged"):
        store([Broken([0])])


def test_what_does_not_fit_is_told_and_reading_reports():
    told = []
    made = ImageStore([[image(1), image(2)]], 32, "stretch", 0.0, lambda *now: told.append(now))
    assert (made.is_cached, told) == (False, [(1, 2), (2, 2)])
    # Two canvases of 40 px.
    assert made.gigabytes == 2 * 40 * 40 * 3 / 2**30
    assert store([[image(1)]]).is_cached
