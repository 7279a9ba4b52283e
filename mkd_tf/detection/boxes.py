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


def _corners(boxes: Array) -> tuple[Array, Array]:
    """Returns the lower and the upper corners; also centres and sizes.

    In pairs: the gradient of four slices is four arrays of zeros with a column in each.
    """
    low, high = ops.split(ops.convert_to_tensor(boxes), 2, axis=-1)
    return low, high


def _product(sides: Float[Array, "*shape 2"]) -> Float[Array, "*shape"]:
    height, width = ops.unstack(sides, 2, axis=-1)
    return height * width


def _area(low: Array, high: Array) -> Array:
    return _product(ops.relu(high - low))


def area(boxes: Float[Array, "*shape 4"]) -> Float[Array, "*shape"]:
    """Returns each box's area in squared units, zero for an inverted box."""
    return _area(*_corners(boxes))


def _overlap(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array, Array]:
    """Returns intersection, union, and sides of the intersection, negative ones where they are apart."""
    shared = ops.minimum(a[1], b[1]) - ops.maximum(a[0], b[0])
    intersection = _product(ops.relu(shared))
    return intersection, _area(*a) + _area(*b) - intersection, shared


def iou(a: Float[Array, "... 4"], b: Float[Array, "... 4"]) -> Float[Array, "..."]:
    """Returns the intersection over union, in 0..1, of boxes that broadcast together."""
    intersection, union, _ = _overlap(_corners(a), _corners(b))
    return intersection / ops.maximum(union, 1e-7)


def giou(a: Float[Array, "... 4"], b: Float[Array, "... 4"]) -> Float[Array, "..."]:
    """Returns the generalised IoU, in -1..1, of boxes that broadcast together.

    Reference: Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, Alg. 1.
    """
    a, b = _corners(a), _corners(b)
    intersection, union, shared = _overlap(a, b)
    # The larger and the smaller of two numbers are together their sum: no more of them is needed.
    hull = ops.maximum(_product((a[1] - a[0]) + (b[1] - b[0]) - shared), 1e-7)
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
    offsets, logs = _corners(encodings)
    centers, sizes = _corners(anchors)
    centers = offsets / SCALE_CENTER * sizes + centers
    halves = ops.exp(ops.clip(logs / SCALE_SIZE, -MAX_LOG_SIZE, MAX_LOG_SIZE)) * sizes / 2
    return ops.concatenate([centers - halves, centers + halves], axis=-1)


def encode(
    boxes: Float[Array, "*batch anchors 4"], anchors: Float[Array, "anchors 4"]
) -> Float[Array, "*batch anchors 4"]:
    """Returns box encodings: the inverse of `decode` for boxes of positive size."""
    low, high = _corners(boxes)
    centers, sizes = _corners(anchors)
    offsets = SCALE_CENTER * ((low + high) / 2 - centers) / sizes
    logs = SCALE_SIZE * ops.log((high - low) / sizes)
    return ops.concatenate([offsets, logs], axis=-1)
