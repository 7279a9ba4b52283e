"""A teacher that runs on an image and on its mirror image and averages both results.

The predictions for the mirror image are first mapped back to the image: each anchor takes
the prediction of the anchor it is mirrored to, tx (and ty, in a half turn) changes its
sign, feature maps are mirrored. Predictions are averaged as in `ensemble`, maps by their
mean. The result for a mirrored image is the mirrored result, for any network.

Reference: test-time augmentation as in Krizhevsky et al., NeurIPS 2012, Sec. 4.1;
for a teacher, Radosavovic et al., "Data Distillation", CVPR 2018, Sec. 3.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from mkd_tf.checks import check_one_of, fail
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detectors.base import PREDICTIONS
from mkd_tf.detectors.ensemble import DISTRIBUTIONS, Combined, mean_predictions

# Axes of an image `[B, y, x, 3]` that the second view reverses.
VIEWS = {"flip": (2,), "half_turn": (1, 2)}
# Anchors are compared in steps of 1/16 px.
_STEPS_PER_PX = 16


def mirrored_anchors(anchors: Anchors, axes: tuple[int, ...]) -> np.ndarray:
    """Returns the index of the anchor that each anchor becomes in the mirror image.

    Args:
      anchors: N of them.
      axes: 1 where y is reversed, 2 where x is.

    Returns:
      `[N]` int32, its own inverse but for anchors that coincide, which keep their order.

    Raises:
      MkdError: if the grid is not symmetric.
    """
    mirrored = anchors.boxes.copy()
    for axis in axes:
        low, high = axis - 1, axis + 1
        mirrored[:, [low, high]] = anchors.image_size - anchors.boxes[:, [high, low]]
    # Whole numbers, so that rounding cannot change the order of equal coordinates.
    here, there = (np.rint(boxes * _STEPS_PER_PX).astype("int64") for boxes in (anchors.boxes, mirrored))
    order, partners = np.lexsort(there.T), np.lexsort(here.T)
    if not (here[partners] == there[order]).all():
        do = "Use teacher_views=none with this network."
        fail("anchors", expected="a grid that is its own mirror image", got="one that is not", do=do)
    found = np.empty(len(anchors), "int32")
    found[order] = partners
    return found


@keras.saving.register_keras_serializable("mkd_tf")
class Flipped(Combined):
    """A detector that averages its network's predictions for an image and for its mirror image.

    It costs twice what the network costs: the network runs once, on a batch of both views.

    Args:
      network: the detector.
      views: `flip` for left and right, `half_turn` for 180 degrees.
      name: of the model; that of the network and the view by default.

    Raises:
      MkdError: if the anchors are not symmetric.

    Example:
      >>> import mkd_tf
      >>> network = mkd_tf.Tiny(image_size=64, class_names=("cat", "dog"), size="fast")
      >>> mkd_tf.Flipped(network, views="half_turn").name
      'tiny_half_turn'
    """

    def __init__(self, network: keras.Model, views: str = "flip", name: str | None = None):
        check_one_of("views", views, tuple(VIEWS))
        both = _BothViews(network, VIEWS[views], name="views")
        super().__init__(both, network, name or f"{network.name}_{views}")
        self.network, self.views = network, views

    def arguments(self) -> dict[str, Any]:
        network = keras.saving.serialize_keras_object(self.network)
        return {"network": network, "views": self.views, "name": self.name}


class _BothViews(keras.layers.Layer):
    """Runs a network on images and their mirror images and averages the outputs."""

    def __init__(self, network: keras.Model, axes: tuple[int, ...], **kwargs: Any):
        super().__init__(**kwargs)
        self.network, self._axes = network, axes
        self._partners = mirrored_anchors(network.anchors, axes)
        self._signs = np.array([-1 if 1 in axes else 1, -1 if 2 in axes else 1, 1, 1], "float32")
        self.built = True

    def call(self, images: Any) -> dict[str, Any]:
        both = ops.concatenate([images, ops.flip(images, axis=self._axes)], axis=0)
        outputs = self.network(both, training=False)
        views = {name: ops.reshape(x, (2, -1, *x.shape[1:])) for name, x in outputs.items()}
        dense = [name for name in (*PREDICTIONS, DISTRIBUTIONS) if name in views]
        found = mean_predictions({k: ops.stack([views[k][0], self._back(k, views[k][1])]) for k in dense})
        for name in views:
            if name not in dense:
                found[name] = (views[name][0] + ops.flip(views[name][1], axis=self._axes)) / 2
        return found

    def _back(self, name: str, x: Any) -> Any:
        """Maps a prediction `[B, N, ...]` for the mirror image back to the anchors of the image."""
        x = ops.take(x, self._partners, axis=1)
        if name == "box_encodings":
            return x * self._signs
        if name == DISTRIBUTIONS:
            # The bins lie evenly about 0: the distribution of -t is the reversed one.
            return ops.where(self._signs[:, None] < 0, ops.flip(x, axis=-1), x)
        return x
