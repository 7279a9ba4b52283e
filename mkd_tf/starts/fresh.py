"""Fresh channels: the exploring share of every pyramid level starts from random weights.

It follows a start that inherits, as in `--start=uniform+fresh(share=0.5)`. The strategy
`exploration` splits the channels of a pyramid level in the same way: the first of them
inherit, the others explore. If all of them came from the teacher, those that explore
would begin where they must not stay.

Reference: Huang et al., "Revisiting Knowledge Distillation: An Inheritance and
Exploration Framework", CVPR 2021 (the two parts of a layer's channels).
"""

from typing import Any

import keras
import numpy as np

from mkd_tf.checks import check_fraction, fail
from mkd_tf.detectors.base import Detector
from mkd_tf.starts.base import Inherited, Start


class Fresh(Start):
    """See the module.

    Args:
      share: of each level's channels, at the end of their order, as `exploration(fraction=1 - share)`.
    """

    def __init__(self, share: float = 0.5):
        check_fraction("fresh share", share)
        self.share = share

    def __call__(self, small: Detector, large: Detector, images: np.ndarray | None = None) -> Inherited:
        del large, images
        drawn: list[str] = []
        generator = np.random.default_rng(self.run_seed)
        for name in sorted(n for n in small.core.output if n.startswith("P")):
            convolution, norms = _source(small.core.output[name])
            if convolution is None:
                fail(
                    "start fresh",
                    expected=f"a convolution before {name}",
                    got="none",
                    do="Use another start.",
                )
            kernel, *bias = convolution.get_weights()
            begin = kernel.shape[-1] - round(self.share * kernel.shape[-1])
            # He et al., ICCV 2015: the variance that a ReLU keeps.
            deviation = np.sqrt(2.0 / np.prod(kernel.shape[:-1]))
            kernel[..., begin:] = generator.normal(0.0, deviation, kernel[..., begin:].shape)
            convolution.set_weights([kernel, *bias])
            for norm in norms:
                arrays = norm.get_weights()
                for array, value in zip(arrays, (1.0, 0.0, 0.0, 1.0), strict=True):
                    array[begin:] = value
                norm.set_weights(arrays)
            drawn += [convolution.name, *(norm.name for norm in norms)]
        return Inherited((), (), tuple(drawn))


def _source(tensor: Any) -> tuple[keras.layers.Conv2D | None, list[keras.layers.BatchNormalization]]:
    """Returns the convolution that a map comes from, and the batch norms on the way."""
    norms: list[keras.layers.BatchNormalization] = []
    while True:
        layer = tensor._keras_history.operation
        if type(layer) is keras.layers.Conv2D:
            return layer, norms
        if isinstance(layer, keras.layers.BatchNormalization):
            norms.append(layer)
        inputs = tensor._keras_history.operation._inbound_nodes[0].input_tensors
        if len(inputs) != 1:
            return None, norms
        tensor = inputs[0]
