"""Geometry of boxes. All boxes are `[..., 4]` yxyx in one common unit.

Box encodings are (ty, tx, th, tw) with the scales 10, 10, 5, 5 that the
`TFLite_Detection_PostProcess` op divides by (Ren et al., Faster R-CNN, 2015;
the scales are those of the TensorFlow Object Detection API's box coder).
"""

from keras import ops

SCALE_CENTER = 10.0
SCALE_SIZE = 5.0
# exp(th / 5) stays within 1/55..55 anchors: an untrained net cannot reach infinity.
_MAX_LOG_SIZE = 4.0


def _split(boxes):
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def area(boxes):
    """Returns the area `[...]`, zero for an inverted box."""
    y0, x0, y1, x1 = _split(boxes)
    return ops.maximum(y1 - y0, 0.0) * ops.maximum(x1 - x0, 0.0)


def _overlap(a, b):
    ay0, ax0, ay1, ax1 = _split(a)
    by0, bx0, by1, bx1 = _split(b)
    height = ops.maximum(ops.minimum(ay1, by1) - ops.maximum(ay0, by0), 0.0)
    width = ops.maximum(ops.minimum(ax1, bx1) - ops.maximum(ax0, bx0), 0.0)
    intersection = height * width
    return intersection, area(a) + area(b) - intersection


def iou(a, b):
    """Intersection over union of boxes that broadcast together; `[...]` in 0..1."""
    intersection, union = _overlap(a, b)
    return intersection / ops.maximum(union, 1e-7)


def giou(a, b):
    """Generalised IoU in -1..1 (Rezatofighi et al., CVPR 2019, Alg. 1); same unit for both."""
    intersection, union = _overlap(a, b)
    ay0, ax0, ay1, ax1 = _split(a)
    by0, bx0, by1, bx1 = _split(b)
    height = ops.maximum(ay1, by1) - ops.minimum(ay0, by0)
    width = ops.maximum(ax1, bx1) - ops.minimum(ax0, bx0)
    hull = ops.maximum(height * width, 1e-7)
    return intersection / ops.maximum(union, 1e-7) - (hull - union) / hull


def pairwise_iou(a, b):
    """IoU of every box of `a` `[..., M, 4]` with every box of `b` `[..., N, 4]`: `[..., M, N]`."""
    return iou(ops.expand_dims(a, -2), ops.expand_dims(b, -3))


def decode(encodings, anchors):
    """Turns encodings `[B, N, 4]` into yxyx boxes in the anchors' unit.

    Args:
      encodings: `[B, N, 4]` float (ty, tx, th, tw).
      anchors: `[N, 4]` float (ycenter, xcenter, height, width).

    Returns:
      `[B, N, 4]` float yxyx.
    """
    ty, tx, th, tw = _split(encodings)
    ya, xa, ha, wa = _split(ops.convert_to_tensor(anchors))
    y, x = ty / SCALE_CENTER * ha + ya, tx / SCALE_CENTER * wa + xa
    half_h = ops.exp(ops.clip(th / SCALE_SIZE, -_MAX_LOG_SIZE, _MAX_LOG_SIZE)) * ha / 2
    half_w = ops.exp(ops.clip(tw / SCALE_SIZE, -_MAX_LOG_SIZE, _MAX_LOG_SIZE)) * wa / 2
    return ops.stack([y - half_h, x - half_w, y + half_h, x + half_w], axis=-1)


def encode(boxes, anchors):
    """The inverse of `decode` for boxes of positive size."""
    y0, x0, y1, x1 = _split(boxes)
    ya, xa, ha, wa = _split(ops.convert_to_tensor(anchors))
    ty = SCALE_CENTER * ((y0 + y1) / 2 - ya) / ha
    tx = SCALE_CENTER * ((x0 + x1) / 2 - xa) / wa
    th = SCALE_SIZE * ops.log((y1 - y0) / ha)
    tw = SCALE_SIZE * ops.log((x1 - x0) / wa)
    return ops.stack([ty, tx, th, tw], axis=-1)
