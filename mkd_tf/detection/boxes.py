"""Geometry of boxes. All boxes are `[..., 4]` yxyx in one common unit.

Box encodings are (ty, tx, th, tw) with the scales 10, 10, 5, 5 that the
`TFLite_Detection_PostProcess` op divides by (Ren et al., Faster R-CNN, 2015;
the scales are those of the TensorFlow Object Detection API's box coder).
"""

from keras import ops

from mkd_tf.detection.types import Array, Boxes, Float

SCALE_CENTER = 10.0
SCALE_SIZE = 5.0
# exp(th / 5) stays within 1/55..55 anchors: an untrained net cannot reach infinity.
MAX_LOG_SIZE = 4.0


def _split(boxes: Array) -> tuple[Array, Array, Array, Array]:
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def area(boxes: Float[Array, "*shape 4"]) -> Float[Array, "*shape"]:
    """Returns each box's area in squared units, zero for an inverted box."""
    y0, x0, y1, x1 = _split(boxes)
    return ops.maximum(y1 - y0, 0.0) * ops.maximum(x1 - x0, 0.0)


def _overlap(a: Array, b: Array) -> tuple[Array, Array]:
    ay0, ax0, ay1, ax1 = _split(a)
    by0, bx0, by1, bx1 = _split(b)
    height = ops.maximum(ops.minimum(ay1, by1) - ops.maximum(ay0, by0), 0.0)
    width = ops.maximum(ops.minimum(ax1, bx1) - ops.maximum(ax0, bx0), 0.0)
    intersection = height * width
    return intersection, area(a) + area(b) - intersection


def iou(a: Float[Array, "... 4"], b: Float[Array, "... 4"]) -> Float[Array, "..."]:
    """Returns the intersection over union, in 0..1, of boxes that broadcast together."""
    intersection, union = _overlap(a, b)
    return intersection / ops.maximum(union, 1e-7)


def giou(a: Float[Array, "... 4"], b: Float[Array, "... 4"]) -> Float[Array, "..."]:
    """Returns the generalised IoU, in -1..1, of boxes that broadcast together.

    Reference: Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, Alg. 1.
    """
    intersection, union = _overlap(a, b)
    ay0, ax0, ay1, ax1 = _split(a)
    by0, bx0, by1, bx1 = _split(b)
    height = ops.maximum(ay1, by1) - ops.minimum(ay0, by0)
    width = ops.maximum(ax1, bx1) - ops.minimum(ax0, bx0)
    hull = ops.maximum(height * width, 1e-7)
    return intersection / ops.maximum(union, 1e-7) - (hull - union) / hull


def pairwise_iou(a: Float[Array, "... m 4"], b: Float[Array, "... n 4"]) -> Float[Array, "... m n"]:
    """Returns the IoU of every box of `a` with every box of `b`."""
    return iou(ops.expand_dims(a, -2), ops.expand_dims(b, -3))


def decode(encodings: Boxes, anchors: Float[Array, "anchors 4"]) -> Boxes:
    """Turns box encodings into boxes.

    Args:
      encodings: (ty, tx, th, tw).
      anchors: (ycenter, xcenter, height, width).

    Returns:
      Boxes yxyx in the anchors' unit.
    """
    ty, tx, th, tw = _split(encodings)
    ya, xa, ha, wa = _split(ops.convert_to_tensor(anchors))
    y, x = ty / SCALE_CENTER * ha + ya, tx / SCALE_CENTER * wa + xa
    half_h = ops.exp(ops.clip(th / SCALE_SIZE, -MAX_LOG_SIZE, MAX_LOG_SIZE)) * ha / 2
    half_w = ops.exp(ops.clip(tw / SCALE_SIZE, -MAX_LOG_SIZE, MAX_LOG_SIZE)) * wa / 2
    return ops.stack([y - half_h, x - half_w, y + half_h, x + half_w], axis=-1)


def encode(
    boxes: Float[Array, "*batch anchors 4"], anchors: Float[Array, "anchors 4"]
) -> Float[Array, "*batch anchors 4"]:
    """Returns box encodings: the inverse of `decode` for boxes of positive size."""
    y0, x0, y1, x1 = _split(boxes)
    ya, xa, ha, wa = _split(ops.convert_to_tensor(anchors))
    ty = SCALE_CENTER * ((y0 + y1) / 2 - ya) / ha
    tx = SCALE_CENTER * ((x0 + x1) / 2 - xa) / wa
    th = SCALE_SIZE * ops.log((y1 - y0) / ha)
    tw = SCALE_SIZE * ops.log((x1 - x0) / wa)
    return ops.stack([ty, tx, th, tw], axis=-1)
