"""How far the teacher's boxes agree with human labels, where there are both.

The teacher's boxes become labels of the images that have none. On labelled images the same
boxes, through the same limits and the same assignment, are compared with the truth: of the
weight that they give to locations of true objects, the share that has the right class.

The teacher was trained on these images, so that its labels of others are no better: the
figure finds labels that contradict each other, not a teacher that has learned by heart.
"""

from collections.abc import Sequence

import numpy as np
from keras import ops

from mkd_tf.data.pipeline.image_store import Row, pad_boxes
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.targets import assign
from mkd_tf.schemas.training import TeacherLabels

MOST_IMAGES = 200
"""Labelled images that are looked at, at most."""
_BATCH = 32


def label_quality(
    anchors: Anchors, truth: Sequence[Row], labels: Sequence[Row], num_classes: int
) -> TeacherLabels:
    """Compares labels made by a teacher with the truth.

    Args:
      anchors: of the network that learns.
      truth: of each image, boxes `[D, 4]` as fractions of it, labels `[D]`, weights `[D]`.
      labels: the teacher's, in the same order; their weight is the score.
      num_classes: number of classes.

    Returns:
      Numbers of images and of boxes per image, and two shares in 0..1, None where there is
      nothing to divide by: `class_right`, of the weight at true objects' locations, and
      `covered`, of these locations, those to which a box of the teacher is assigned.
    """
    right = given = covered = places = 0.0
    for start in range(0, len(truth), _BATCH):
        ours, theirs = (
            _assigned(anchors, rows[start : start + _BATCH], num_classes) for rows in (truth, labels)
        )
        is_object = ours["labels"] < num_classes
        weights = theirs["weights"] * is_object
        right += float((weights * (theirs["labels"] == ours["labels"])).sum())
        given += float(weights.sum())
        covered += float((weights > 0).sum())
        places += float(is_object.sum())
    return {
        "images": len(truth),
        "boxes_per_image": sum(len(row[1]) for row in labels) / max(1, len(labels)),
        "class_right": right / given if given else None,
        "covered": covered / places if places else None,
    }


def _assigned(anchors: Anchors, rows: Sequence[Row], num_classes: int) -> dict[str, np.ndarray]:
    padded = pad_boxes(rows, np.ones(len(rows)))
    found = assign(anchors, padded.boxes * anchors.image_size, padded.labels, padded.weights, num_classes)
    return {name: ops.convert_to_numpy(value) for name, value in found.items()}
