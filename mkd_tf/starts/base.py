"""The contract of a start: a small detector takes its first weights from a larger one."""

import abc
import dataclasses

import numpy as np
import tensorflow as tf

from mkd_tf.detectors.base import Detector


@dataclasses.dataclass(frozen=True)
class Inherited:
    """What a start did.

    Attributes:
      layers: names of the layers of the small network that have inherited weights.
      fresh: names of those that kept their random ones.
      drawn: names of those of which a share of the channels was drawn anew.
    """

    layers: tuple[str, ...]
    fresh: tuple[str, ...]
    drawn: tuple[str, ...] = ()


class Start(abc.ABC):
    """Sets the weights of `small` from those of `large`, which is not changed.

    Attributes:
      images: how many images it looks at, at most.
      run_seed: of the run; what a start draws at random depends on it.
    """

    images: int = 64
    run_seed: int = 0

    @abc.abstractmethod
    def __call__(self, small: Detector, large: Detector, images: np.ndarray) -> Inherited:
        """Sets the weights.

        Args:
          small: the network that is about to be trained.
          large: the trained network it inherits from.
          images: `[K, S, S, 3]` in 0..255, of any size; a start that needs no images ignores them.

        Returns:
          Which layers inherited and which did not.
        """


def inputs_of(network: Detector, images: np.ndarray) -> np.ndarray:
    """Returns images `[K, S, S, 3]` in 0..255 resized and scaled for the core of `network`, float32."""
    size = (network.image_size, network.image_size)
    if images.shape[1:3] == size:
        resized = images.astype("float32")
    else:
        resized = tf.image.resize(images, size, antialias=True).numpy()
    return resized * network.scaling[0] + network.scaling[1]
