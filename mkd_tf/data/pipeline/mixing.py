"""Mosaic and mixup: strong augmentation that joins several images of a batch in one.

Both take images that are already augmented, so that each part has its own flip, zoom and
colour, and from the same batch, so that no further image is decoded or resampled.

Mosaic cuts four images at a common seam (Bochkovskiy et al., "YOLOv4", 2020, Sec. 3.3;
as in its Darknet code, parts are cut and not shrunk, and the seam keeps a fifth of the
side away from the border). Mixup blends two, `lambda * a + (1 - lambda) * b` with lambda from
Beta(ALPHA, ALPHA) (Zhang et al., "mixup", ICLR 2018, Sec. 2). In detection the boxes of both
stay, weighted with lambda and 1 - lambda (Zhang et al., "Bag of Freebies for Training
Object Detection Neural Networks", 2019, Sec. 3.1, whose ALPHA it is).
Departure: partners are the images that follow in the batch, whose order is random.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import tensorflow as tf

from mkd_tf.checks import fail
from mkd_tf.config import AugmentationConfig
from mkd_tf.data.pipeline.augmentation import crop_boxes

MIN_SEAM = 0.2
ALPHA = 1.5
PARTS = 4
MOSAIC_DRAWS = 6


class Examples(NamedTuple):
    """Augmented images of one size S.

    Attributes:
      images: `[B, S, S, 3]` float32 in 0..255.
      boxes: `[B, M, 4]` float32 yxyx in pixels.
      labels: `[B, M]` int32.
      weights: `[B, M]` float32, 0 for padding, negative for ignored areas.
      known: `[B]` float32, 0 for images without labels.
    """

    images: tf.Tensor
    boxes: tf.Tensor
    labels: tf.Tensor
    weights: tf.Tensor
    known: tf.Tensor


def mixed_counts(config: AugmentationConfig, labelled: bool, per_batch: int) -> tuple[int, int]:
    """Returns how many of a stream's `per_batch` images become mosaics and mixups.

    Raises:
      MkdError: if a batch has too few images for a mosaic or mixup.
    """
    if config.mixed_images not in ("all", "labelled" if labelled else "unlabelled"):
        return 0, 0
    mosaics = round(config.mosaic * per_batch)
    mixups = min(round(config.mixup * per_batch), per_batch - mosaics)
    for name, count, needed in (("mosaic", mosaics, PARTS), ("mixup", mixups, 2)):
        if count and per_batch < needed:
            expected = f"at least {needed} images to join in each batch"
            got = f"{per_batch} {'labelled' if labelled else 'unlabelled'} ones"
            do = "Raise batch_size, or change mixed_images or unlabelled_share."
            fail(name, expected=expected, got=got, do=do)
    return mosaics, mixups


def check_mixing(config: AugmentationConfig, parts: Iterable[tuple[bool, int]]) -> None:
    """Raises `MkdError` if the configured mixing is impossible or would change no image.

    `parts` are those of every batch: whether their images are labelled, how many they are.
    """
    counts = [mixed_counts(config, labelled, per_batch) for labelled, per_batch in parts]
    if (config.mosaic or config.mixup) and not any(map(any, counts)):
        got = f"{config.mixed_images}, of which no batch has enough for mosaic or mixup"
        do = "Choose labelled or all, or set mosaic and mixup to 0."
        fail("mixed_images", expected="images to mix", got=got, do=do)


def in_view(examples: Examples, cut_weight: float = 0.0) -> Examples:
    """Returns the examples with their boxes clipped to the images; `cut_weight` as in `crop_boxes`."""
    boxes, weights = crop_boxes(examples.boxes, examples.weights, 0, examples.images.shape[1], cut_weight)
    return examples._replace(boxes=boxes, weights=weights)


def mosaic(examples: Examples, count: int, draws: tf.Tensor, cut_weight: float = 0.0) -> Examples:
    """Makes `count` mosaics: the i-th of images i to i + 3 (modulo B), row by row.

    Args:
      examples: with boxes that are not clipped, as `augmentation.augment` returns them.
      count: K, at most B.
      draws: `[K, MOSAIC_DRAWS]` uniform in 0..1: the seam's y and x, then the beginning
        of the upper, lower, left and right parts in their images.
      cut_weight: as in `crop_boxes`.

    Returns:
      K examples of `4 * M` boxes, clipped to their parts; known if all four images are.
    """
    total, size = examples.images.shape[:2]
    parts = (tf.range(count)[:, None] + tf.range(PARTS)) % total
    seam = tf.cast(size * (MIN_SEAM + (1 - 2 * MIN_SEAM) * draws[:, :2]), tf.int32)
    # Both halves of each axis, `[K, axis, half]`: their place in the mosaic and in their images.
    start = tf.stack([tf.zeros_like(seam), seam], axis=2)
    extent = tf.stack([seam, size - seam], axis=2)
    room = size - extent
    source = tf.cast(tf.reshape(draws[:, 2:], [count, 2, 2]) * tf.cast(room + 1, tf.float32), tf.int32)
    move = start - tf.minimum(source, room)

    # Row and column in its image of each pixel of the mosaic, `[K, axis, S]`.
    pixel = tf.range(size)[None, None]
    second = pixel >= seam[:, :, None]
    taken = pixel - tf.where(second, move[:, :, 1:], move[:, :, :1])
    is_lower, is_right = second[:, 0, :, None], second[:, 1, None, :]
    upper_left, upper_right, lower_left, lower_right = tf.unstack(parts[:, :, None, None], axis=1)
    upper = tf.where(is_right, upper_right, upper_left)
    image = tf.where(is_lower, tf.where(is_right, lower_right, lower_left), upper)
    flat = (image * size + taken[:, 0, :, None]) * size + taken[:, 1, None, :]
    images = tf.gather(tf.reshape(examples.images, [-1, 3]), flat)

    def of_quarters(halves: tf.Tensor) -> tf.Tensor:
        """Returns `[K, axis, half]` as `[K, 4, 1, (y, x)]` float32."""
        y, x = tf.gather(halves[:, 0], [0, 0, 1, 1], axis=1), tf.gather(halves[:, 1], [0, 1, 0, 1], axis=1)
        return tf.cast(tf.stack([y, x], axis=-1)[:, :, None], tf.float32)

    low, high = of_quarters(start), of_quarters(start + extent)
    boxes = tf.gather(examples.boxes, parts) + tf.tile(of_quarters(move), [1, 1, 1, 2])
    boxes, weights = crop_boxes(boxes, tf.gather(examples.weights, parts), low, high, cut_weight)
    return Examples(
        images,
        tf.reshape(boxes, [count, -1, 4]),
        tf.reshape(tf.gather(examples.labels, parts), [count, -1]),
        tf.reshape(weights, [count, -1]),
        tf.reduce_min(tf.gather(examples.known, parts), axis=1),
    )


def mixup(examples: Examples, count: int, share: tf.Tensor, cut_weight: float = 0.0) -> Examples:
    """Blends each of the last `count` images with the one after it (modulo B).

    Args:
      examples: with boxes that are not clipped.
      count: K, at most B.
      share: lambda, `[K]` in 0..1, the weight of the first image of each pair.
      cut_weight: as in `crop_boxes`.

    Returns:
      K examples of `2 * M` boxes; known if both images are.
    """
    total = examples.images.shape[0]
    own = tf.range(total - count, total)
    shown = in_view(examples, cut_weight)
    a, b = (Examples(*(tf.gather(x, which) for x in shown)) for which in (own, (own + 1) % total))
    blend = share[:, None, None, None]
    return Examples(
        blend * a.images + (1 - blend) * b.images,
        tf.concat([a.boxes, b.boxes], axis=1),
        tf.concat([a.labels, b.labels], axis=1),
        tf.concat([share[:, None] * a.weights, (1 - share[:, None]) * b.weights], axis=1),
        tf.minimum(a.known, b.known),
    )


def join(groups: list[Examples]) -> Examples:
    """Returns groups of examples as one, padded to the largest number of boxes with weight."""
    longest = max(g.boxes.shape[1] for g in groups)

    def of_boxes(g: Examples, change: Callable[[tf.Tensor], tf.Tensor]) -> Examples:
        return g._replace(boxes=change(g.boxes), labels=change(g.labels), weights=change(g.weights))

    def pad(x: tf.Tensor) -> tf.Tensor:
        return tf.pad(x, [[0, 0], [0, longest - x.shape[1]], [0, 0]][: len(x.shape)])

    padded = [of_boxes(g, pad) for g in groups]
    joined = Examples(*(tf.concat(columns, axis=0) for columns in zip(*padded, strict=True)))
    # Boxes without weight are removed, since the cost of assignment grows with their number.
    present = joined.weights != 0
    most = tf.maximum(tf.reduce_max(tf.math.count_nonzero(present, axis=1, dtype=tf.int32)), 1)
    place = tf.range(longest)[None] + tf.where(present, 0, longest)
    order = tf.argsort(place, axis=1)[:, :most]
    return of_boxes(joined, lambda x: tf.gather(x, order, batch_dims=1))


def mix(
    examples: Examples, mosaics: int, mixups: int, seed: tf.Tensor, cut_weight: float = 0.0
) -> list[Examples]:
    """Makes mosaics of the first and mixups of the last images of one stream's part of a batch.

    Args:
      examples: with boxes that are not clipped.
      mosaics, mixups: how many.
      seed: `[2]` int64, which all draws depend on.
      cut_weight: as in `augmentation.crop_boxes`.

    Returns:
      Groups of examples in the order of the images, boxes clipped.
    """
    total = examples.images.shape[0]
    groups = []
    if mosaics:
        draws = tf.random.stateless_uniform([mosaics, MOSAIC_DRAWS], seed)
        groups.append(mosaic(examples, mosaics, draws, cut_weight))
    if mosaics + mixups < total:
        rest = Examples(*(x[mosaics : total - mixups] for x in examples))
        groups.append(in_view(rest, cut_weight))
    if mixups:
        pair = tf.random.stateless_gamma([2, mixups], seed + tf.constant([1, 0], tf.int64), ALPHA)
        groups.append(mixup(examples, mixups, pair[0] / (pair[0] + pair[1]), cut_weight))
    return groups
