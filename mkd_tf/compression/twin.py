"""The tf_keras twin of a Keras 3 model, which tfmot can prune, cluster and quantise.

tfmot speaks tf_keras and cannot read a Keras 3 configuration, so the graph is
replayed: every call of every layer is repeated on a layer of the same class and
configuration in tf_keras, with the same weights. A layer called twice stays one
layer.

The replay uses `Functional._run_through_graph` and `_outputs_struct`, which are
private: a new version of Keras must first pass the parity test of this file.
"""

import inspect
from typing import Any

import keras
import tensorflow as tf
import tf_keras

from mkd_tf.checks import fail
from mkd_tf.detection.layers import NearestUpsample

# What every tf_keras layer takes through **kwargs.
_COMMON_ARGUMENTS = ("name", "trainable")


@tf_keras.saving.register_keras_serializable("mkd_tf")
class NearestUpsampleTwin(tf_keras.layers.Layer):
    """`NearestUpsample` in tf_keras: `[B, h, w, c]` to `[B, 2h, 2w, c]`, the same raw op."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        height, width = inputs.shape[1], inputs.shape[2]
        return tf.raw_ops.ResizeNearestNeighbor(
            images=inputs, size=[2 * height, 2 * width], align_corners=False, half_pixel_centers=False
        )


@tf_keras.saving.register_keras_serializable("mkd_tf")
def hard_sigmoid_of_keras_3(x: tf.Tensor) -> tf.Tensor:
    """Returns relu6(x + 3) / 6; what tf_keras calls `hard_sigmoid` has a slope of 0.2."""
    return tf.nn.relu6(x + 3.0) / 6.0


TWINS: dict[type, type] = {NearestUpsample: NearestUpsampleTwin}
# Arguments that tf_keras calls by another name, by the class of the layer.
_RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}


def _twin_class(layer: keras.layers.Layer) -> type:
    if type(layer) in TWINS:
        return TWINS[type(layer)]
    # By name only for Keras's own: a user's layer could share a name with one of them.
    if isinstance(layer, keras.layers.Layer) and type(layer).__module__.startswith("keras."):
        found = getattr(tf_keras.layers, type(layer).__name__, None)
        if found is not None:
            return found
    expected = "a layer of Keras that tf_keras has too, or one of " + ", ".join(t.__name__ for t in TWINS)
    do = "Build the model of plain Keras layers, or add the layer's twin to TWINS."
    fail(f"layer {layer.name}", expected=expected, got=type(layer).__name__, do=do)


def _parameters(cls: type) -> dict[str, Any]:
    """Returns the names and defaults of a constructor's own arguments."""
    parameters = inspect.signature(cls).parameters.items()
    return {name: p.default for name, p in parameters if p.kind != p.VAR_KEYWORD}


def _activation(name: Any) -> Any:
    """Returns an activation of a layer's configuration as tf_keras takes it.

    A name that only Keras 3 has becomes its function, under the same name in tf_keras, whose layers are
    copied by name.
    """
    if not isinstance(name, str):
        return name
    if name == "hard_sigmoid":
        return hard_sigmoid_of_keras_3
    try:
        tf_keras.activations.get(name)
    except ValueError:
        tf_keras.saving.get_custom_objects().setdefault(name, keras.activations.get(name))
        return keras.activations.get(name)
    return name


def _arguments(layer: keras.layers.Layer, twin_class: type) -> dict[str, Any]:
    """Returns those arguments of the layer's configuration that its twin has.

    Raises:
      MkdError: if an argument that the twin lacks is not at its default.
    """
    config, takes = layer.get_config(), _parameters(twin_class)
    defaults = _parameters(type(layer))
    kept = {"dtype": layer.dtype_policy.name}
    for key, value in config.items():
        if key == "dtype" or key.endswith("_initializer"):
            continue  # The weights are copied; tf_keras cannot read the Keras 3 form of either.
        key_there = _RENAMED.get((type(layer).__name__, key), key)
        if key_there in takes or key_there in _COMMON_ARGUMENTS:
            kept[key_there] = _activation(value) if key == "activation" else value
        elif key in defaults and value != defaults[key]:
            expected = f"{key}={defaults[key]!r}, the only form tf_keras has"
            do = f"Leave {key} at its default."
            fail(f"layer {layer.name}", expected=expected, got=f"{key}={value!r}", do=do)
    return kept


@tf.autograph.experimental.do_not_convert
def keras_twin(model: keras.Model, batch_size: int | None = None) -> tf_keras.Model:
    """Returns a tf_keras model that computes what `model` computes, with copied weights.

    Args:
      model: a functional Keras 3 model with one input and no nested models.
      batch_size: the static batch; None for any. Integer conversion needs 1.

    Raises:
      MkdError: for a layer or an argument that tf_keras does not have.
    """
    twins: dict[int, tf_keras.layers.Layer] = {}

    def twin_of(layer: keras.layers.Layer) -> tf_keras.layers.Layer:
        if id(layer) not in twins:
            twin_class = _twin_class(layer)
            twins[id(layer)] = twin_class(**_arguments(layer, twin_class))
        return twins[id(layer)]

    inputs = tf_keras.Input(model.input_shape[1:], batch_size, name=model.input.name)
    outputs = model._run_through_graph([inputs], operation_fn=twin_of)
    for layer in model.layers:
        if layer.weights:
            twins[id(layer)].set_weights(layer.get_weights())
    return tf_keras.Model(inputs, outputs, name=model.name)


def learning(model: tf_keras.Model) -> list[tf.Variable]:
    """Returns the variables of the layers that are trainable.

    Not `model.trainable_variables`: tfmot's wrappers list those of a frozen layer as well.
    """
    return [v for layer in model.layers if layer.trainable for v in layer.trainable_weights]


def take_back(twin: tf_keras.Model, model: keras.Model) -> None:
    """Copies the weights of a trained twin back into `model`, or one of the same layers.

    Raises:
      MkdError: if a layer with weights is missing in the twin, or differs in shape.
    """
    found = {layer.name: layer for layer in twin.layers}
    for layer in (layer for layer in model.layers if layer.weights):
        values = found[layer.name].get_weights() if layer.name in found else []
        shapes = [tuple(w.shape) for w in layer.weights]
        if [v.shape for v in values] != shapes:
            got, do = str([v.shape for v in values]), "Take back the weights of this very model's twin."
            fail(f"layer {layer.name}", expected=f"weights of the shapes {shapes}", got=got, do=do)
        layer.set_weights(values)
