"""Augmentation of a whole batch at once: one affine map and one colour change per image.

Stateless: the caller draws `DRAWS` uniform numbers per image from a key of
(seed, epoch, example), and the result is a function of them alone. Flip, zoom, aspect,
shift and the change of size are one resampling, so that an image is blurred once; its
boxes are moved by the same map.

The two passes over all pixels are compiled (`jit_compile`): each is one loop then, where every
TensorFlow operator would write its result to memory and read that of the one before.
"""

import tensorflow as tf

from mkd_tf.config import AugmentationConfig

DRAWS = 10
# An object that is cut keeps its box if at least this share of it is in view.
MIN_VISIBLE = 0.3
MIN_SIDE_PX = 2.0
FILL = 127.5  # Zero after normalisation.


def draw(keys: tf.Tensor) -> tf.Tensor:
    """Returns `[B, DRAWS]` uniform numbers in 0..1 from integer keys `[B, 2]`."""
    return tf.map_fn(
        lambda key: tf.random.stateless_uniform([DRAWS], seed=key), keys, fn_output_signature=tf.float32
    )


def placement(draws: tf.Tensor, config: AugmentationConfig) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns where each image lies in its output: `scale`, `shift`, `flip`, each `[B, 2]` (y, x).

    A point p of the image (0..1, after the flip) lands at `shift + scale * p`.
    """
    log_low, log_high = tf.math.log(config.scale_min), tf.math.log(config.scale_max)
    zoom = log_low + (log_high - log_low) * draws[:, 0]
    aspect = config.aspect * (2 * draws[:, 1] - 1) / 2
    scale = tf.exp(tf.stack([zoom + aspect, zoom - aspect], axis=1))
    shift = draws[:, 2:4] * (1 - scale)
    coin = tf.cast(draws[:, 4:6] < 0.5, tf.float32)
    zero = tf.zeros_like(coin[:, 0])
    flip = {
        "none": tf.zeros_like(coin),
        "horizontal": tf.stack([zero, coin[:, 1]], axis=1),
        "both": coin,
        "half_turn": tf.stack([coin[:, 0], coin[:, 0]], axis=1),
    }[config.flips]
    return scale, shift, flip


def warp(images: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor, flip: tf.Tensor, size: int) -> tf.Tensor:
    """Resamples images `[B, H, W, 3]` of any type to `[B, size, size, 3]` float32, bilinear, `FILL` outside.

    What `tf.image.crop_and_resize` computes; images are mirrored by swapping the corners.
    """
    extent = tf.cast(tf.shape(images)[1:3], tf.float32)[None]
    # Pixel i has its centre at (i + 0.5) / size of the output.
    first = extent * ((0.5 / size - shift) / scale)
    last = extent * (((size - 0.5) / size - shift) / scale)
    first, last = tf.where(flip > 0, extent - first, first), tf.where(flip > 0, extent - last, last)
    return _sampled(images, first - 0.5, last - 0.5, size)


@tf.function(jit_compile=True, autograph=False)
def _sampled(images: tf.Tensor, first: tf.Tensor, last: tf.Tensor, size: int) -> tf.Tensor:
    """Returns images at `size` x `size` points, evenly from `first` to `last` (`[B, 2]`, in pixels)."""
    extent = tf.shape(images)[1:3]
    steps = tf.range(size, dtype=tf.float32)[None, :, None]
    points = first[:, None] + steps * ((last - first)[:, None] / max(1, size - 1))
    low = tf.floor(points)
    share = points - low
    is_seen = tf.logical_and(points >= 0, points <= tf.cast(extent - 1, tf.float32))
    before = tf.clip_by_value(tf.cast(low, tf.int32), 0, extent - 1)
    after = tf.clip_by_value(tf.cast(tf.math.ceil(points), tf.int32), 0, extent - 1)

    def between(x: tf.Tensor, axis: int, weight: tf.Tensor) -> tf.Tensor:
        one, other = (
            tf.cast(tf.gather(x, at[..., axis - 1], axis=axis, batch_dims=1), tf.float32)
            for at in (before, after)
        )
        return one + (other - one) * weight

    found = between(images, 2, share[:, None, :, 1, None])
    found = between(found, 1, share[:, :, None, :1])
    is_seen = tf.logical_and(is_seen[:, :, None, :1], is_seen[:, None, :, 1:])
    return tf.where(is_seen, found, FILL)


def move_boxes(boxes: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor, flip: tf.Tensor, size: int) -> tf.Tensor:
    """Returns boxes `[B, M, 4]` (0..1 of the image) in pixels of the output, not clipped."""
    low, high = boxes[..., :2], boxes[..., 2:]
    flipped = flip[:, None, :] > 0
    low, high = tf.where(flipped, 1 - high, low), tf.where(flipped, 1 - low, high)
    low = (shift[:, None] + scale[:, None] * low) * size
    high = (shift[:, None] + scale[:, None] * high) * size
    return tf.concat([low, high], axis=-1)


def crop_boxes(
    boxes: tf.Tensor,
    weights: tf.Tensor,
    window_low: tf.Tensor | int,
    window_high: tf.Tensor | int,
    cut_weight: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Clips boxes to a window.

    A box of which less than `MIN_VISIBLE` remains gets the weight `cut_weight`, one with a side
    under `MIN_SIDE_PX` weight 0. An ignored area keeps its weight, however small the rest of it.

    Args:
      boxes: `[..., M, 4]` float32 yxyx in pixels, not clipped.
      weights: `[..., M]` float32, negative for ignored areas.
      window_low: first corner of the window (y, x) in pixels, `[..., 1, 2]` or one number.
      window_high: last corner, likewise.
      cut_weight: 0 makes what is left of an object background, a negative one an ignored area.

    Returns:
      The clipped boxes and their weights, of the same shapes.
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    seen_low = tf.clip_by_value(low, window_low, window_high)
    seen_high = tf.clip_by_value(high, window_low, window_high)
    visible = tf.reduce_prod((seen_high - seen_low) / tf.maximum(high - low, 1e-6), axis=-1)
    big = tf.reduce_min(seen_high - seen_low, axis=-1) >= MIN_SIDE_PX
    enough = tf.logical_or(visible >= MIN_VISIBLE, weights < 0)
    rest = tf.where(weights > 0, cut_weight, 0.0)
    kept = tf.where(big, tf.where(enough, weights, rest), 0.0)
    return tf.concat([seen_low, seen_high], axis=-1), kept


def recolor(images: tf.Tensor, draws: tf.Tensor, config: AugmentationConfig) -> tf.Tensor:
    """Changes brightness, contrast (about mid-grey) and saturation of float images in 0..255.

    All three are linear in the colour: a share of itself, one of the sum of its channels, and an offset.
    """

    def factor(i: int, most: float) -> tf.Tensor:
        return (1 + most * (2 * draws[:, i] - 1))[:, None, None, None]

    saturation, contrast = factor(6, config.saturation), factor(8, config.contrast)
    offset = FILL * (factor(7, config.brightness) - contrast)
    return _colored(images, contrast * saturation, contrast * (1 - saturation) / 3, offset)


@tf.function(jit_compile=True, autograph=False)
def _colored(images: tf.Tensor, own: tf.Tensor, grey: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Returns `own` times the images plus `grey` times their channels' sum plus `offset` (`[B, 1, 1, 1]`)."""
    total = images[..., :1] + images[..., 1:2] + images[..., 2:]
    return tf.clip_by_value(images * own + (total * grey + offset), 0.0, 255.0)


def augment(
    images: tf.Tensor, boxes: tf.Tensor, draws: tf.Tensor, config: AugmentationConfig, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Augments a batch.

    Args:
      images: `[B, H, W, 3]` uint8.
      boxes: `[B, M, 4]` float32 yxyx, 0..1 of the image.
      draws: `[B, DRAWS]` from `draw`.
      config: the ranges of the changes.
      size: side of the output in pixels.

    Returns:
      Images `[B, size, size, 3]` float32 in 0..255, and the boxes in output pixels, not
      clipped: `crop_boxes` finds those that are in view.
    """
    where = placement(draws, config)
    colored = recolor(warp(images, *where, size), draws, config)
    return colored, move_boxes(boxes, *where, size)
