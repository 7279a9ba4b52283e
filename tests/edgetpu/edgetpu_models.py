"""Small models for the tests of the Edge TPU check: real TFLite files, and graphs made by hand."""

import functools
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mkd_tf.edgetpu.operators import Graph, Operator, Tensor
from mkd_tf.edgetpu.rules import POSTPROCESS
from tests import harness, int8

SIDE = 16
_DETECTION = (
    f'name: "{POSTPROCESS}"'
    ' attr { key: "max_detections" value { i: 5 } } attr { key: "max_classes_per_detection" value { i: 1 } }'
    ' attr { key: "use_regular_nms" value { b: true } } attr { key: "nms_score_threshold" value { f: 0.1 } }'
    ' attr { key: "nms_iou_threshold" value { f: 0.5 } } attr { key: "num_classes" value { i: 3 } }'
    ' attr { key: "y_scale" value { f: 10.0 } } attr { key: "x_scale" value { f: 10.0 } }'
    ' attr { key: "h_scale" value { f: 5.0 } } attr { key: "w_scale" value { f: 5.0 } }'
)


def scenes() -> np.ndarray:
    """Returns `[4, 16, 16, 3]` in -1..1 for calibration."""
    return harness.random_images(4, SIDE) / 127.5 - 1


def _between_convolutions(layer: Any, batch: int | None = 1) -> bytes:
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    x = keras.layers.Conv2D(4, 3, padding="same", name="last")(layer(x))
    return int8.int8_file(keras.Model(inputs, {"y": x}), (batch, SIDE, SIDE, 3), scenes())


def _float_core() -> bytes:
    inputs = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 3)(inputs))
    function = tf.function(model).get_concrete_function(tf.TensorSpec((1, SIDE, SIDE, 3)))
    return tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()


def _nine_megabytes() -> bytes:
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(3000, 1, kernel_initializer="ones")(inputs)
    x = keras.layers.Conv2D(3000, 1, kernel_initializer="ones", name="huge")(x)
    return int8.int8_file(
        keras.Model(inputs, {"y": x}), (1, 4, 4, 3), harness.random_images(2, 8)[:, :4, :4] / 255
    )


def _detection(in_the_middle: bool) -> bytes:
    """Returns a detector in the form for clients: uint8 input, int8 core, the post-process in float."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(inputs)
    boxes = keras.layers.Reshape((-1, 4))(keras.layers.Conv2D(4, 1)(x))
    logits = keras.layers.Reshape((-1, 3))(keras.layers.Conv2D(3, 1)(x))
    core = keras.Model(inputs, {"boxes": boxes, "logits": logits})
    anchors = np.full((SIDE * SIDE, 4), 0.5, "float32")

    @tf.function(experimental_implements=_DETECTION)
    def postprocess(box_encodings, scores, anchors):
        del box_encodings, scores, anchors
        return tf.zeros([1, 5, 4]), tf.zeros([1, 5]), tf.zeros([1, 5]), tf.zeros([1])

    module = tf.Module()
    module.tracked = [v.value for v in core.variables]

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, name="images")])
    def serve(images):
        outputs = core(images, training=False)
        background = tf.zeros([1, SIDE * SIDE, 1])
        scores = tf.concat([background, tf.sigmoid(outputs["logits"])], axis=-1)
        found, classes, best, count = postprocess(outputs["boxes"], scores, tf.constant(anchors))
        found = found * float(SIDE) if in_the_middle else found
        return {"output_0": count, "output_1": best, "output_2": classes, "output_3": found}

    module.serve = serve
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([scene[None]] for scene in scenes())
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
        converter.allow_custom_ops = True
        converter.inference_input_type = tf.uint8
        return converter.convert()


_MAKERS = {
    "tile": lambda: _between_convolutions(keras.layers.UpSampling2D()),
    "groups": lambda: _between_convolutions(keras.layers.Conv2D(6, 3, groups=2, padding="same")),
    "gelu": lambda: _between_convolutions(keras.layers.Activation("gelu")),
    "hard-swish": lambda: _between_convolutions(keras.layers.Activation("hard_silu")),
    "dynamic batch": lambda: _between_convolutions(keras.layers.ReLU(), batch=None),
    "float core": _float_core,
    "post-process in the middle": lambda: _detection(in_the_middle=True),
    "9 MB": _nine_megabytes,
    "plain": lambda: _between_convolutions(keras.layers.Activation("silu")),
    "detection": lambda: _detection(in_the_middle=False),
}


@functools.cache
def model(name: str) -> bytes:
    """Returns one of the TFLite files above; each is converted once per process."""
    return _MAKERS[name]()


def tensor(
    index: int, shape: tuple[int, ...], kind: str = "INT8", value: Any = None, **changes: Any
) -> Tensor:
    """Returns a tensor; with a value it is a constant."""
    data = None if value is None else np.asarray(value).reshape(-1).view("uint8")
    fields: dict[str, Any] = {
        "index": index,
        "name": f"tensor{index}",
        "type": kind,
        "shape": shape,
        "dynamic": False,
        "buffer": index + 1,
        "size": 0 if data is None else len(data),
        "zero_point": 0,
        "data": data,
    }
    return Tensor(**(fields | changes))


def operator(
    name: str, inputs: list[Tensor], outputs: list[Tensor], version: int = 1, **changes: Any
) -> Operator:
    """Returns an operator; its code is one that the compiler's parser knows."""
    fields: dict[str, Any] = {
        "index": 0,
        "name": name,
        "version": version,
        "code": 0,
        "custom": name == POSTPROCESS,
        "inputs": tuple(inputs),
        "outputs": tuple(outputs),
        "options": {},
    }
    return Operator(**(fields | changes))


def graph(*operators: Operator) -> Graph:
    """Returns a graph of one subgraph that an old parser reads."""
    return Graph(operators, 1, (1, 14, 0))
