"""Weight quantizers that keep the zeros of a pruned kernel, or the clusters of a clustered one.

They replace tfmot's `collab_opts`, which do not work with the way a stage trains here:

    the mask       is a constant taken from the weights when the model is built; a model that is
                   built first and gets its weights later, from a backup or a file, has none.
    the centroids  are as many as the weights had different values at that time, so that such a
                   model cannot even be filled; where a layer's channels have about equally many,
                   it clusters every channel for itself and the kernel has many more values.
    the kernel     is overwritten with its clusters in training steps only: the kernel of an
                   averaged model, evaluated, has no clusters at all.
    gradients      of centroids are sparse, see `clustering`.

Here masks and centroids are variables of a known shape, and used in every call.
"""

from typing import Any

import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_registry,
    default_8bit_quantize_scheme,
    default_8bit_quantizers,
)

from mkd_tf.compression.clustering import add_centroids, clustered
from mkd_tf.compression.kernels import is_trained_convolution


class PreservingQuantizer(default_8bit_quantizers.Default8BitConvWeightsQuantizer):
    """tfmot's quantizer of convolution kernels (int8, one scale per channel) for a computed kernel."""

    def build(self, tensor_shape: Any, name: str, layer: tf_keras.layers.Wrapper) -> dict[str, Any]:
        return super().build(tensor_shape, name, layer) | self.state(name, layer)

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **kwargs: Any) -> tf.Tensor:
        return super().__call__(self.computed_kernel(inputs, weights), training, weights, **kwargs)

    def state(self, name: str, layer: tf_keras.layers.Wrapper) -> dict[str, Any]:
        """Creates in `layer` the variables that the kernel is computed with, and returns them."""
        raise NotImplementedError

    def computed_kernel(self, kernel: Any, weights: dict[str, Any]) -> tf.Tensor:
        """Returns the kernel to quantise; `weights` are those of `build`."""
        raise NotImplementedError


class SparsityQuantizer(PreservingQuantizer):
    """Keeps the zeros of a kernel."""

    def state(self, name: str, layer: tf_keras.layers.Wrapper) -> dict[str, Any]:
        kept = tf.cast(getattr(layer.layer, name) != 0, "uint8")
        start = tf_keras.initializers.Constant(kept.numpy())
        mask = layer.add_weight(f"{name}_mask", kept.shape, "uint8", initializer=start, trainable=False)
        return {"mask": mask}

    def computed_kernel(self, kernel: Any, weights: dict[str, Any]) -> tf.Tensor:
        return kernel * tf.cast(weights["mask"], kernel.dtype)


class ClustersQuantizer(PreservingQuantizer):
    """Keeps at most `clusters` different values in a kernel; the values are trained."""

    def __init__(self, clusters: int):
        super().__init__()
        self.clusters = clusters

    def state(self, name: str, layer: tf_keras.layers.Wrapper) -> dict[str, Any]:
        kernel = getattr(layer.layer, name)
        if kernel.shape.num_elements() <= self.clusters:
            return {}
        return {"centroids": add_centroids(layer, f"{name}_centroids", kernel, self.clusters)}

    def computed_kernel(self, kernel: Any, weights: dict[str, Any]) -> tf.Tensor:
        return clustered(kernel, weights["centroids"]) if "centroids" in weights else kernel


class _Registry(default_8bit_quantize_registry.Default8BitQuantizeRegistry):
    def __init__(self, quantizer: PreservingQuantizer):
        super().__init__(disable_per_axis=False)
        self._quantizer = quantizer

    def get_quantize_config(self, layer: tf_keras.layers.Layer) -> Any:
        if not is_trained_convolution(layer):
            return super().get_quantize_config(layer)
        # A new one: tfmot's is a single object for all convolutions, the untrained ones too.
        config = default_8bit_quantize_registry.Default8BitConvQuantizeConfig(
            ["kernel"], ["activation"], False
        )
        config.weight_quantizer = self._quantizer
        return config


class PreservingScheme(default_8bit_quantize_scheme.Default8BitQuantizeScheme):
    """tfmot's int8 scheme with another quantizer for the kernels of trained convolutions."""

    def __init__(self, quantizer: PreservingQuantizer):
        super().__init__()
        self._quantizer = quantizer

    def get_quantize_registry(self) -> _Registry:
        return _Registry(self._quantizer)


def computed_kernel(wrapper: tf_keras.layers.Layer) -> tf.Tensor | None:
    """Returns the float kernel that a QuantizeWrapper quantises; None if it preserves nothing."""
    for kernel, quantizer, weights in getattr(wrapper, "_weight_vars", ()):
        if isinstance(quantizer, PreservingQuantizer):
            return quantizer.computed_kernel(kernel, weights)
    return None


def hand_over(model: tf_keras.Model, plain: tf_keras.Model) -> None:
    """Gives `plain`, which is converted to integers, the weights that `model` computes with.

    The converter needs a kernel's values as a variable under the quantisation; computed
    values it leaves in floats, or refuses.

    Args:
      model: `quantization_aware` with a `PreservingScheme`.
      plain: `quantization_aware` of the same twin, of any batch, that preserves nothing.
    """
    # By order: tfmot numbers the layer that quantises the input through the whole process.
    for layer, trained in zip(plain.layers, model.layers, strict=True):
        kernel, source = computed_kernel(trained), list(trained.weights)
        if kernel is not None:
            own = {last_name(w): w for w in source} | {"kernel": kernel}
            source = [own[last_name(w)] for w in layer.weights]
        for weight, value in zip(layer.weights, source, strict=True):
            weight.assign(value)


def last_name(weight: tf.Variable) -> str:
    """Returns a variable's name in its layer, as in `kernel`."""
    return weight.name.split(":")[0].split("/")[-1]
