"""What networks say of a batch: each gets the same images at its own size."""

import functools
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from mkd_tf.detection.precision import in_float32
from mkd_tf.detection.types import Array, Arrays, Float
from mkd_tf.detectors.heads import head_of
from mkd_tf.distillation.answers import Answers
from mkd_tf.strategies.base import Port


def port_of(network: keras.layers.Layer | Answers) -> Port:
    """Returns the static shapes of a detector's outputs, its anchors and how its head is made."""
    if isinstance(network, Answers):
        return network.port()
    shapes = {name: tuple(t.shape[1:]) for name, t in network.output.items()}
    return Port(shapes, network.anchors, functools.partial(head_of, network))


def outputs_of(
    networks: Mapping[str, keras.layers.Layer], images: Float[Array, "batch side side 3"], training: bool
) -> dict[str, Arrays]:
    """Returns what networks return for the same images, by role, in float32."""
    return {role: in_float32(own) for role, own in returned_by(networks, images, training).items()}


def no_outputs_of(
    networks: Mapping[str, keras.layers.Layer], images: Float[Array, "batch side side 3"]
) -> dict[str, Arrays]:
    """Returns zeros in the place of what `outputs_of` returns for images."""
    count = ops.shape(images)[:1]
    return {
        role: {name: ops.zeros((*count, *shape)) for name, shape in port_of(network).shapes.items()}
        for role, network in networks.items()
    }


def returned_by(
    networks: Mapping[str, keras.layers.Layer], images: Float[Array, "batch side side 3"], training: bool
) -> dict[str, Arrays]:
    """Returns what networks return for the same images, by role, in the precision they compute in."""
    return {role: own(resized(images, own), training=training) for role, own in networks.items()}


def resized(
    images: Float[Array, "batch side side 3"], network: keras.layers.Layer
) -> Float[Array, "batch _ _ 3"]:
    """Returns images at the network's input size, antialiased; the same ones at equal size."""
    size = network.image_size
    if images.shape[1] == size:
        return images
    # The same values as `image.resize`, by matrix products: that has no kernel under XLA.
    scale = np.full(2, size / images.shape[1], "float32")
    shape = (images.shape[0], size, size, images.shape[-1])
    return ops.image.scale_and_translate(images, shape, scale, np.zeros(2, "float32"), (1, 2), "bilinear")
