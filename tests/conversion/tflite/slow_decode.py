"""Box decoding, one box at a time."""

import math

import numpy as np


def decode(encodings: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Returns yxyx boxes `[N, 4]` of encodings `[N, 4]` on anchors (ycenter, xcenter, height, width)."""
    boxes = []
    for (ty, tx, th, tw), (y, x, h, w) in zip(encodings.tolist(), anchors.tolist(), strict=True):
        center_y, center_x = y + ty / 10 * h, x + tx / 10 * w
        height, width = h * math.exp(th / 5), w * math.exp(tw / 5)
        boxes.append(
            [center_y - height / 2, center_x - width / 2, center_y + height / 2, center_x + width / 2]
        )
    return np.array(boxes, "float32")
