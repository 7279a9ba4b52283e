"""Mosaic and mixup: every pixel, box, weight and label from where it should be."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.config import AugmentationConfig
from mkd_tf.data.pipeline import mixing
from mkd_tf.data.pipeline.augmentation import MIN_SIDE_PX, MIN_VISIBLE
from mkd_tf.data.pipeline.mixing import Examples

SIZE, COUNT, MOST = 20, 5, 3


def examples(count=COUNT, size=SIZE, seed=0):
    """Images of noise with whole boxes, some of which reach out of their image."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(-4, size - 4, (count, MOST, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, size / 2, (count, MOST, 2))], axis=2)
    return Examples(
        tf.constant(rng.uniform(0, 255, (count, size, size, 3)), tf.float32),
        tf.constant(boxes, tf.float32),
        tf.constant(rng.integers(0, 9, (count, MOST)), tf.int32),
        tf.constant(rng.choice([0, 0.4, 1.0], (count, MOST)), tf.float32),
        tf.cast(tf.range(count) != 2, tf.float32),
    )


def plain(image, box, weight=1.0, known=1.0):
    """One image with one object of class 7."""
    image = np.asarray(image, "float32")
    return Examples(
        tf.constant(image[None]),
        tf.constant([[box]], tf.float32),
        tf.constant([[7]]),
        tf.constant([[weight]], tf.float32),
        tf.constant([known], tf.float32),
    )


def together(parts):
    return Examples(*(tf.concat(column, axis=0) for column in zip(*parts, strict=True)))


def cropped(box, weight, window):
    """The crop rule, slowly: the clipped box, and its weight."""
    seen = [min(max(box[i], window[i % 2]), window[2 + i % 2]) for i in range(4)]
    sides = seen[2] - seen[0], seen[3] - seen[1]
    visible = sides[0] * sides[1] / ((box[2] - box[0]) * (box[3] - box[1]))
    return seen, weight if visible >= MIN_VISIBLE and min(sides) >= MIN_SIDE_PX else 0.0


def mosaic_by_loops(found, first, draws):
    """One mosaic, pixel after pixel and box after box."""
    count, size = found.images.shape[:2]
    seam = [int(size * (0.2 + 0.6 * draws[axis])) for axis in range(2)]
    image = np.zeros((size, size, 3), "float32")
    rows = []
    for part in range(4):
        source = (first + part) % count
        window, move = [0, 0, size, size], [0, 0]
        for axis, second in enumerate((part // 2, part % 2)):
            start, end = (seam[axis], size) if second else (0, seam[axis])
            window[axis], window[2 + axis] = start, end
            move[axis] = start - int(draws[2 + 2 * axis + second] * (size - (end - start) + 1))
        for y in range(window[0], window[2]):
            for x in range(window[1], window[3]):
                image[y, x] = found.images[source, y - move[0], x - move[1]]
        for m in range(MOST):
            box = [float(v) + move[i % 2] for i, v in enumerate(found.boxes[source, m])]
            rows.append(
                (*cropped(box, float(found.weights[source, m]), window), int(found.labels[source, m]))
            )
    boxes, weights, labels = zip(*rows, strict=True)
    known = min(float(found.known[(first + part) % count]) for part in range(4))
    return image, boxes, labels, weights, known


def test_a_mosaic_is_what_the_loops_make():
    found = examples()
    draws = np.random.default_rng(1).uniform(0, 1, (4, mixing.MOSAIC_DRAWS)).astype("float32")
    made = mixing.mosaic(found, 4, tf.constant(draws))
    assert made.boxes.shape == (4, 4 * MOST, 4)
    for i in range(4):
        image, boxes, labels, weights, known = mosaic_by_loops(found, i, draws[i])
        np.testing.assert_array_equal(made.images[i], image)
        np.testing.assert_allclose(made.boxes[i], boxes, atol=1e-4)
        np.testing.assert_array_equal(made.labels[i], labels)
        np.testing.assert_allclose(made.weights[i], weights)
        assert float(made.known[i]) == known
    assert 0 < np.count_nonzero(made.weights) < 4 * 4 * np.count_nonzero(found.weights) / COUNT
    assert made.known.numpy().tolist() == [0, 0, 0, 1], "image 2 is in the first three"


def test_a_mosaic_by_hand():
    # Four images of one colour each, 10 px; an object at the same place of each.
    parts = [plain(np.full((10, 10, 3), 10.0 * i), (1, 2, 4, 8), 0.5) for i in range(4)]
    draws = tf.constant([[0.34, 0.67, 0.0, 0.999, 0.0, 0.999]])  # The seams lie at y = 4 and x = 6.
    made = mixing.mosaic(together(parts), 1, draws)
    expected = np.zeros((10, 10))
    expected[:4, 6:], expected[4:, :6], expected[4:, 6:] = 10, 20, 30
    np.testing.assert_array_equal(made.images[0, :, :, 0], expected)
    # Upper parts show rows 0..4, lower 4..10; left ones columns 0..6, right ones 6..10.
    boxes = [(1, 2, 4, 6), (1, 6, 4, 8), (4, 2, 4, 6), (4, 6, 4, 8)]
    np.testing.assert_allclose(made.boxes[0], boxes, atol=1e-5)
    np.testing.assert_allclose(made.weights[0], [0.5, 0.5, 0, 0])
    np.testing.assert_array_equal(made.labels[0], [7, 7, 7, 7])


def test_a_rectangle_and_its_box_go_together():
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(8):
        y, x = rng.integers(0, 40, 2)
        image = np.zeros((64, 64, 3))
        image[y : y + 20, x : x + 16] = 255
        parts.append(plain(image, (y, x, y + 20, x + 16)))
    made = mixing.mosaic(together(parts), 8, tf.constant(rng.uniform(0, 1, (8, 6)), tf.float32))
    for mixed, boxes, weights in zip(made.images, made.boxes.numpy(), made.weights.numpy(), strict=True):
        white = np.zeros((64, 64))
        for y0, x0, y1, x1 in boxes.astype(int):
            white[y0:y1, x0:x1] = 255
        np.testing.assert_array_equal(mixed[..., 0], white)
        # Of 20 x 16 px at least 30 % must be in view.
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        np.testing.assert_array_equal(weights, areas >= 96)


def test_what_zoom_cut_off_counts_as_out_of_view():
    # 40 % in view before the cut, half of that behind it: 20 % of the object.
    parts = [plain(np.zeros((20, 20, 3)), (-12, 0, 8, 20)) for _ in range(4)]
    draws = tf.constant([[0.51, 0.51, 0, 0, 0, 0]])  # Seams in the middle, windows at the corner.
    weights = mixing.mosaic(together(parts), 1, draws).weights[0].numpy()
    np.testing.assert_array_equal(weights, [0, 0, 0, 0])
    whole = [plain(np.zeros((20, 20, 3)), (0, 0, 8, 20)) for _ in range(4)]
    np.testing.assert_array_equal(mixing.mosaic(together(whole), 1, draws).weights[0], [1, 1, 1, 1])


def test_seams_and_windows_stay_within():
    found = examples(4, 50)
    for value in (0.0, 1 - 2**-24):
        made = mixing.mosaic(found, 1, tf.fill((1, 6), np.float32(value)))
        # The upper left part ends at a fifth or just under four fifths; each begins where it still can.
        seam, start, lower_start = (10, 0, 0) if value == 0 else (39, 11, 39)
        np.testing.assert_array_equal(
            made.images[0, :seam, :seam], found.images[0, start : start + seam, start : start + seam]
        )
        np.testing.assert_array_equal(made.images[0, seam, 0], found.images[2, lower_start, start])


def test_mixup_by_hand():
    a = plain(np.full((10, 10, 3), 100.0), (1, 1, 5, 5))
    b = plain(np.full((10, 10, 3), 200.0), (6, -4, 10, 4), 0.5)
    c = plain(np.full((10, 10, 3), 40.0), (-9, 0, 1, 10), known=0.0)
    made = mixing.mixup(together([a, b, c]), 2, tf.constant([0.75, 0.25]))
    # The last two: the second with the third, the third with the first.
    np.testing.assert_allclose(made.images[:, 0, 0, 0], [0.75 * 200 + 0.25 * 40, 0.25 * 40 + 0.75 * 100])
    np.testing.assert_allclose(made.boxes[0], [(6, 0, 10, 4), (0, 0, 1, 10)])
    np.testing.assert_allclose(made.weights, [(0.375, 0), (0, 0.75)])
    np.testing.assert_array_equal(made.labels, [(7, 7), (7, 7)])
    np.testing.assert_array_equal(made.known, [0, 0])  # Once the partner is unknown, once itself.
    assert mixing.mixup(together([a, b, c]), 3, tf.constant([0.5] * 3)).known.numpy().tolist() == [1, 0, 0]


def test_groups_are_joined_without_gaps():
    found = mixing.in_view(examples())
    one, two = Examples(*(x[:3] for x in found)), Examples(*(x[3:] for x in found))
    wide = two._replace(
        boxes=tf.tile(two.boxes, [1, 4, 1]),
        labels=tf.tile(two.labels, [1, 4]),
        weights=tf.tile(two.weights, [1, 4]),
    )
    joined = mixing.join([one, wide])
    np.testing.assert_array_equal(joined.images, found.images)
    counts = np.count_nonzero(joined.weights, axis=1)
    assert joined.boxes.shape[1] == counts.max()
    for i in range(COUNT):
        source, row = (one, i) if i < 3 else (wide, i - 3)
        kept = source.weights[row].numpy() > 0
        assert counts[i] == kept.sum()
        for name in ("boxes", "labels", "weights"):
            expected = getattr(source, name)[row].numpy()[kept]
            np.testing.assert_array_equal(getattr(joined, name)[i][: counts[i]], expected, err_msg=name)
        assert not joined.weights[i, counts[i] :].numpy().any()
    # Ignored areas have a weight too.
    areas = one._replace(weights=-one.weights)
    np.testing.assert_array_equal(mixing.join([areas]).weights, -mixing.join([one]).weights)
    empty = one._replace(weights=tf.zeros_like(one.weights))
    assert mixing.join([empty]).boxes.shape == (3, 1, 4)


def test_a_batch_is_mosaics_then_plain_then_mixups():
    found, seed = examples(12), tf.constant([3, 4], tf.int64)
    groups = mixing.mix(found, 3, 4, seed)
    assert [len(g.images) for g in groups] == [3, 5, 4]
    np.testing.assert_array_equal(groups[1].images, found.images[3:8])
    np.testing.assert_array_equal(groups[1].weights, mixing.in_view(found).weights[3:8])
    joined = mixing.join(groups)
    assert joined.images.shape == found.images.shape
    again = mixing.join(mixing.mix(found, 3, 4, seed))
    np.testing.assert_array_equal(joined.images, again.images)
    np.testing.assert_array_equal(joined.boxes, again.boxes)
    other = mixing.join(mixing.mix(found, 3, 4, seed + 1))
    for group in (slice(0, 3), slice(8, 12)):
        assert (joined.images[group].numpy() != other.images[group].numpy()).any(axis=(1, 2, 3)).all()
    assert [len(g.images) for g in mixing.mix(found, 12, 0, seed)] == [12]


def test_shares_of_a_mixup_are_of_a_beta_distribution():
    count = 4000
    parts = Examples(
        tf.reshape(tf.cast(tf.range(count) % 2, tf.float32), [count, 1, 1, 1]) * tf.ones([1, 2, 2, 3]),
        tf.zeros([count, 1, 4]),
        tf.zeros([count, 1], tf.int32),
        tf.zeros([count, 1]),
        tf.ones([count]),
    )
    shares = mixing.mix(parts, 0, count, tf.constant([0, 0], tf.int64))[0].images[:, 0, 0, 0].numpy()
    shares = np.where(np.arange(count) % 2, shares, 1 - shares)
    assert shares.min() >= 0
    assert shares.max() <= 1
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)), here 1/16.
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / 16, abs=0.004)


@pytest.mark.parametrize(
    ("which", "labelled", "expected"),
    [
        ("unlabelled", False, (8, 4)),
        ("unlabelled", True, (0, 0)),
        ("labelled", True, (8, 4)),
        ("labelled", False, (0, 0)),
        ("all", True, (8, 4)),
        ("all", False, (8, 4)),
    ],
)
def test_which_images_are_mixed(which, labelled, expected):
    config = AugmentationConfig(mosaic=0.5, mixup=0.25, mixed_images=which)
    assert mixing.mixed_counts(config, labelled, 16) == expected
    assert mixing.mixed_counts(AugmentationConfig(mixed_images=which), labelled, 16) == (0, 0)


def test_halves_of_an_odd_batch_fit():
    config = AugmentationConfig(mosaic=0.5, mixup=0.5, mixed_images="all")
    for count in range(4, 20):
        mosaics, mixups = mixing.mixed_counts(config, True, count)
        assert mosaics + mixups <= count
        assert abs(mosaics - count / 2) <= 0.5


def test_too_few_to_join_is_told():
    config = AugmentationConfig(mosaic=1.0, mixed_images="all")
    with pytest.raises(MkdError, match="mosaic: expected at least 4 images .*, got 3 labelled ones"):
        mixing.mixed_counts(config, True, 3)
    config = dataclasses.replace(config, mosaic=0.0, mixup=1.0)
    assert mixing.mixed_counts(config, True, 2) == (0, 2)
    with pytest.raises(MkdError, match="mixup: expected at least 2 images .*, got 1 unlabelled ones"):
        mixing.mixed_counts(config, False, 1)


def test_mixing_that_changes_nothing_is_told():
    config = AugmentationConfig(mosaic=0.2)
    mixing.check_mixing(config, [(True, 16), (False, 12)])
    mixing.check_mixing(AugmentationConfig(), [(True, 1)])
    for parts in ([(True, 16)], [(True, 14), (False, 2)]):
        with pytest.raises(MkdError, match="mixed_images: expected images to mix, got unlabelled, of which"):
            mixing.check_mixing(config, parts)
    with pytest.raises(MkdError, match="mosaic: expected at least 4 images"):
        mixing.check_mixing(config, [(True, 16), (False, 3)])
