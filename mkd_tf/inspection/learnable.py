"""Which objects a network can learn: those that get a location of its output for themselves."""

import numpy as np

from mkd_tf.data.pipeline.image_store import pad_boxes
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.targets import assign
from mkd_tf.inspection.contents import Contents

MOST_IMAGES = 2000
"""Images of a split that are assigned by default, at equal distances: time grows with their number."""
_BATCH = 16


def learnable(contents: Contents, anchors: Anchors, most: int = MOST_IMAGES) -> np.ndarray:
    """Returns which objects get at least one location in the assignment of targets.

    The assignment is that of training (`detection.targets.assign`) without augmentation. An object
    gets none where another one has a better claim to its best location: where objects are
    smaller than the distance of two locations, or lie on top of each other.

    Args:
      contents: of a split, fitted to the input of `anchors`.
      anchors: of the network that learns.
      most: images that are assigned, at most.

    Returns:
      `[M]` float: 1 for yes, 0 for no, NaN in images that were not looked at. Crowds are 0.
    """
    found = np.where(contents.is_crowd, 0.0, np.nan)
    with_objects = np.unique(contents.image[contents.is_object])
    if len(with_objects) > most:
        chosen = np.linspace(0, len(with_objects) - 1, most).round().astype(int)
        with_objects = with_objects[np.unique(chosen)]
    starts = np.searchsorted(contents.image, np.arange(len(contents.ids) + 1))
    # Images with about as many objects go together: the longest of a batch sets its cost.
    order = with_objects[np.argsort(np.diff(starts)[with_objects], kind="stable")]
    for first in range(0, len(order), _BATCH):
        batch = order[first : first + _BATCH]
        places = [np.arange(starts[i], starts[i + 1]) for i in batch.tolist()]
        places = [p[contents.is_object[p]] for p in places]
        # The label of an object is its place in its image, so that the answer says who owns what.
        rows = [(contents.fitted[p], np.arange(len(p)), np.ones(len(p))) for p in places]
        padded = pad_boxes(rows, np.ones(len(rows)))
        longest = padded.labels.shape[1]
        targets = assign(anchors, padded.boxes, padded.labels, padded.weights, longest)
        assigned = np.asarray(targets["labels"])
        for owners, own in zip(assigned, places, strict=True):
            found[own] = np.isin(np.arange(len(own)), owners)
    return found
