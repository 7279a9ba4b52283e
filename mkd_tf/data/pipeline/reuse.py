"""Augmentations that come back, so that what a frozen network says of them can be kept."""

import dataclasses

import tensorflow as tf

TIMES = 6
"""How often each augmentation is used: the network then computes in a sixth of the steps."""


@dataclasses.dataclass(frozen=True)
class Reuse:
    """An image goes through `count` augmentations in turn, `TIMES` times; then others take their places.

    >>> import tensorflow as tf
    >>> reuse = Reuse(count=2)
    >>> [int(x) for x in reuse.variant(tf.range(14))]
    [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2, 3]

    Args:
      count: augmentations of an image that are kept at a time, 1 or more.
    """

    count: int

    def variant(self, epochs: tf.Tensor) -> tf.Tensor:
        """Returns the number of the augmentation that an image has in its stream's `epochs` (`[B]`)."""
        return self.generation(epochs) * self.count + self.slot(epochs)

    def slot(self, epochs: tf.Tensor) -> tf.Tensor:
        """Returns the place of that augmentation among those that are kept, 0 to `count` - 1."""
        return epochs % self.count

    def generation(self, epochs: tf.Tensor) -> tf.Tensor:
        """Returns how often its place has been given to another before."""
        return epochs // (self.count * TIMES)
