"""What the tests of pruning and clustering share: a small model with every kind of layer, and steps."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from mkd_tf.compression.detector import TwinLayer
from mkd_tf.compression.twin import keras_twin
from mkd_tf.detection.layers import NearestUpsample, conv_bn

SIDE = 16


def small_model(seed: int = 0) -> keras.Model:
    """Convolutions with batch norms, a depthwise, a shared and an untrained one, upsampling."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((SIDE, SIDE, 3), name="images")
    fine = conv_bn(images, 8, "fine", stride=2)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(fine)
    x = keras.layers.ReLU(6.0, name="depthwise_relu")(keras.layers.BatchNormalization(name="depthwise_bn")(x))
    coarse = conv_bn(x, 8, "coarse", stride=2)
    up = NearestUpsample(name="up")(coarse)
    merged = keras.layers.Add(name="merged")([fine, up])
    predict = keras.layers.Conv2D(4, 3, padding="same", bias_initializer="normal", name="predict")
    fixed = keras.layers.Conv2D(1, 1, trainable=False, name="fixed")
    outputs = {"fine": predict(merged), "coarse": predict(coarse)}
    return keras.Model(images, {**outputs, "fixed": fixed(outputs["coarse"])}, name="small")


def small_twin(seed: int = 0) -> tf_keras.Model:
    return keras_twin(small_model(seed))


def images(count: int = 4, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """Returns `[count, side, side, 3]` float32 in -1..1."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, side, side, 3)).astype("float32")


def train(
    model: tf_keras.Model,
    batch: np.ndarray,
    steps: int,
    before: Callable[[tf_keras.Model, tf.Tensor], None] | None = None,
    after: Callable[[], None] | None = None,
    is_compiled: bool = True,
) -> None:
    """Trains as a stage does: Keras 3's AdamW with weight decay.

    Args:
      model: of compression.
      batch: what it takes.
      steps: how many.
      before: called inside each step with the model and the step's number.
      after: called outside after each step.
      is_compiled: whether in a tf.function, as a stage does; for two steps of a large network, tracing
        takes most of the time.
    """
    outputs = {k: keras.KerasTensor(x.shape, "float32") for k, x in model.output.items()}
    layer = TwinLayer(model, outputs)
    optimizer = keras.optimizers.AdamW(1e-2, weight_decay=2e-2, global_clipnorm=10.0)
    optimizer.build(layer.trainable_variables)

    def step(batch):
        if before is not None:
            before(model, optimizer.iterations.value)
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_mean((x - 0.3) ** 2) for x in layer(batch, training=True).values()])
        gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
        # Keras 3 squares the entries of a sparse gradient one by one, those of one centroid too.
        assert not any(isinstance(g, tf.IndexedSlices) for g in gradients)
        assert all(g is not None for g in gradients)
        optimizer.apply(gradients, layer.trainable_variables)
        return loss

    step, losses = tf.function(step) if is_compiled else step, []
    for _ in range(steps):
        losses.append(float(step(tf.constant(batch))))
        if after is not None:
            after()
    assert losses[-1] < losses[0]


def average(copy: tf_keras.Model, model: tf_keras.Model, keep: float) -> None:
    """What `training.callbacks.WeightAveraging` does to the variables of a second model."""
    for mean, value in zip(copy.variables, model.variables, strict=True):
        mean.assign(keep * mean + (1 - keep) * value if value.dtype.is_floating else value)


def kernels(model: tf_keras.Model) -> dict[str, np.ndarray]:
    """Returns the kernels of the plain model's Conv2D layers by name."""
    return {x.name: x.kernel.numpy() for x in model.layers if type(x) is tf_keras.layers.Conv2D}
