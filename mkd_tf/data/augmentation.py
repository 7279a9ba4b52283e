"""Augmentation of a whole batch at once: one affine map and one colour change per picture.

Stateless: the caller draws `DRAWS` uniform numbers per picture from a key of
(seed, epoch, example), and the result is a function of them alone. Flip, zoom,
aspect, shift and the change of size are one resampling, so a picture is blurred
once, and its boxes follow the same map exactly.
"""

import tensorflow as tf

from mkd_tf.config import AugmentationConfig

DRAWS = 10
# A cut object stays while this share of it is in view; less is not recognisable.
MIN_VISIBLE = 0.3
MIN_SIDE_PX = 2.0
FILL = 127.5  # Zero after normalisation.


def draw(keys: tf.Tensor) -> tf.Tensor:
    """Returns `[B, DRAWS]` uniform numbers in 0..1 from integer keys `[B, 2]`."""
    return tf.map_fn(
        lambda key: tf.random.stateless_uniform([DRAWS], seed=key), keys, fn_output_signature=tf.float32
    )


def placement(draws: tf.Tensor, config: AugmentationConfig) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where each picture lies in its output: `scale`, `shift`, `flip`, each `[B, 2]` (y, x).

    A point p of the picture (0..1, after the flip) lands at `shift + scale * p`.
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
    """Resamples float pictures `[B, H, W, 3]` to `[B, size, size, 3]`, bilinear."""
    extent = tf.cast(tf.shape(images)[1:3], tf.float32)[None]
    # Pixel i has its centre at (i + 0.5) / size of the output.
    slope = extent / (size * scale)
    start = extent * (0.5 / size - shift) / scale
    slope, start = tf.where(flip > 0, -slope, slope), tf.where(flip > 0, extent - start, start) - 0.5
    zero = tf.zeros_like(slope[:, 0])
    transforms = tf.stack(
        [slope[:, 1], zero, start[:, 1], zero, slope[:, 0], start[:, 0], zero, zero], axis=1
    )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=[size, size],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=FILL,
    )


def warp_boxes(
    boxes: tf.Tensor, weights: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor, flip: tf.Tensor, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Carries boxes `[B, M, 4]` (0..1 of the picture) along: pixels of the output, and weights.

    A box of which less than `MIN_VISIBLE` remains, or a side under `MIN_SIDE_PX`,
    gets weight 0; the others are clipped to the output.
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    flipped = flip[:, None, :] > 0
    low, high = tf.where(flipped, 1 - high, low), tf.where(flipped, 1 - low, high)
    low = (shift[:, None] + scale[:, None] * low) * size
    high = (shift[:, None] + scale[:, None] * high) * size
    seen_low, seen_high = tf.clip_by_value(low, 0, size), tf.clip_by_value(high, 0, size)
    visible = tf.reduce_prod((seen_high - seen_low) / tf.maximum(high - low, 1e-6), axis=-1)
    big = tf.reduce_min(seen_high - seen_low, axis=-1) >= MIN_SIDE_PX
    kept = tf.where(tf.logical_and(visible >= MIN_VISIBLE, big), weights, 0.0)
    return tf.concat([seen_low, seen_high], axis=-1), kept


def recolor(images: tf.Tensor, draws: tf.Tensor, config: AugmentationConfig) -> tf.Tensor:
    """Changes brightness, contrast and saturation of float pictures in 0..255."""

    def factor(i: int, most: float) -> tf.Tensor:
        return (1 + most * (2 * draws[:, i] - 1))[:, None, None, None]

    grey = tf.reduce_mean(images, axis=-1, keepdims=True)
    images = grey + (images - grey) * factor(6, config.saturation)
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    images = mean * factor(7, config.brightness) + (images - mean) * factor(8, config.contrast)
    return tf.clip_by_value(images, 0.0, 255.0)


def augment(
    images: tf.Tensor,
    boxes: tf.Tensor,
    weights: tf.Tensor,
    draws: tf.Tensor,
    config: AugmentationConfig,
    size: int,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Augments a batch.

    Args:
      images: `[B, H, W, 3]` uint8.
      boxes: `[B, M, 4]` float32 yxyx, 0..1 of the picture.
      weights: `[B, M]` float32, 0 for padding.
      draws: `[B, DRAWS]` from `draw`.
      config: how far to go.
      size: side of the output in pixels.

    Returns:
      Pictures `[B, size, size, 3]` float32 in 0..255, boxes in output pixels, weights.
    """
    colored = recolor(tf.cast(images, tf.float32), draws, config)
    where = placement(draws, config)
    return warp(colored, *where, size), *warp_boxes(boxes, weights, *where, size)
