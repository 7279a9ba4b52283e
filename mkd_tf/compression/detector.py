"""A student under compression, as a detector like any other.

tfmot's models are tf_keras's; teacher, guide, strategies, distiller, evaluation and files are
Keras 3's. `TwinLayer` runs a tf_keras model inside a Keras 3 model: its variables *are* those
of the tf_keras model, so Keras 3 differentiates, optimises, averages, backs up and saves them
as its own, and the objective with all its terms is unchanged.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from mkd_tf.compression.methods import METHODS, Method, Qat
from mkd_tf.compression.preserving import hand_over
from mkd_tf.compression.twin import keras_twin, learning
from mkd_tf.detectors.base import Detector, tap_names


class TwinLayer(keras.layers.Layer):
    """Runs a tf_keras model as one layer of a Keras 3 model.

    Args:
      model: a built tf_keras model from one tensor to a dict.
      outputs: KerasTensors of the same names and shapes.
    """

    def __init__(self, model: tf_keras.Model, outputs: dict[str, keras.KerasTensor], **kwargs: Any):
        super().__init__(**kwargs)
        self.model, self._specs = model, {k: (t.shape, t.dtype) for k, t in outputs.items()}
        learn = {id(v) for v in learning(model)}
        for i, variable in enumerate(model.variables):
            self._share(variable, i, id(variable) in learn)
        self.built = True

    def _share(self, variable: tf.Variable, number: int, trainable: bool) -> None:
        def existing(_: Any, **__: Any) -> tf.Variable:
            return variable

        # The optimiser selects weight decay by name: kernels decay, biases do not.
        name = f"{number:04d}_{variable.name.split(':')[0].replace('/', '_')}"
        with tf.variable_creator_scope(existing):
            self.add_weight(
                shape=variable.shape,
                dtype=variable.dtype.name,
                initializer="zeros",
                trainable=trainable,
                autocast=False,
                name=name,
            )

    def call(self, images: Any, training: bool = False) -> dict[str, Any]:
        return self.model(images, training=training)

    def compute_output_spec(self, images: Any, training: bool = False) -> dict[str, keras.KerasTensor]:
        return {k: keras.KerasTensor(shape, dtype) for k, (shape, dtype) in self._specs.items()}


@keras.saving.register_keras_serializable("mkd_tf")
class CompressedDetector(Detector):
    """A detector whose core is trained in a compressed form.

    Args:
      base: the trained student; it is not changed. A file holds its configuration without
        its weights, since the compressed core has them.
      method: a spec of `METHODS`, as in `qat`, `prune(sparsity=0.5)`.
      steps: length of the training, for a method that has a schedule.

    Example:
      >>> import mkd_tf
      >>> student = mkd_tf.Tiny(image_size=32, class_names=("cat", "dog"), size="fast")
      >>> pruned = mkd_tf.CompressedDetector(student, method="prune(sparsity=0.5)", steps=100)
      >>> pruned.name, pruned.method.sparsity
      ('tiny_prune', 0.5)
    """

    def __init__(
        self, base: Detector | dict[str, Any], method: str = "qat", steps: int = 0, name: str | None = None
    ):
        start: Detector = keras.saving.deserialize_keras_object(base) if isinstance(base, dict) else base
        way: Method = METHODS.build(method)
        scaling = way.scaled(start.scaling)
        model = way.wrap(keras_twin(start.core), steps, scaling)
        inputs = keras.Input(start.core.input_shape[1:], name="scaled_images")
        outputs = TwinLayer(model, start.core.output, name="twin")(inputs)
        config = {"base": keras.saving.serialize_keras_object(start), "method": method, "steps": steps}
        config |= {"name": name or f"{start.name}_{way.name}"}
        core, taps = keras.Model(inputs, outputs, name="core"), tap_names(start.core.output)
        super().__init__(core, start.anchors, start.class_names, config, scaling=scaling, taps=taps)
        self.method = way
        self.is_quantized = not way.ships_plain

    @property
    def twin(self) -> tf_keras.Model:
        """The tf_keras model that is compressed."""
        return self.core.get_layer("twin").model

    def plain(self) -> Detector:
        """Returns a plain detector with the weights that were trained here."""
        base = keras.saving.deserialize_keras_object(self.get_config()["base"])
        self.method.take_back(self.twin, base.core)
        # Its configuration says that of the network before the compression.
        base.operating_point = self.operating_point
        return base

    def deployable(self) -> Detector:
        """Returns the form that is converted to integers, whose kernels hold their final values."""
        if self.method.preserve == "nothing":
            return self
        found = CompressedDetector(self.get_config()["base"], Qat.name, name=self.name)
        hand_over(self.twin, found.twin)
        return found

    def shipped(self) -> Detector:
        """Returns the detector to measure and save: itself if quantised, else the plain one."""
        return self if self.is_quantized else self.plain()

    def prepare(self, images: np.ndarray) -> None:
        """Measures what the method needs before its first step, such as ranges.

        Args:
          images: `[K, S, S, 3]` in 0..255.
        """
        factor, offset = self.scaling
        self.method.prepare(self.twin, images.astype("float32") * factor + offset)
