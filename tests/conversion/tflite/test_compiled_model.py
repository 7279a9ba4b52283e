"""Files of raw heads in LiteRT's CompiledModel, as the Android kit runs them: outputs by position."""

import numpy as np
import pytest
from ai_edge_litert.compiled_model import CompiledModel

from mkd_tf.conversion.tflite.runner import TFLiteRunner
from tests.conversion import made


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_outputs_by_position_are_boxes_and_logits(quantization):
    content, (image,) = made.file(quantization, "raw"), made.images(1)
    wanted = TFLiteRunner(content).invoke(image)
    with CompiledModel.from_buffer(content) as model:
        inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
        inputs[0].write(image[None] if quantization == "int8" else image[None].astype("float32"))
        model.run_by_index(0, inputs, outputs)
        for buffer, name in zip(outputs, ("box_encodings", "class_logits"), strict=True):
            found = buffer.read(wanted[name].size, np.float32).reshape(wanted[name].shape)
            # Both are XNNPACK's kernels.
            step = 1e-4 if quantization == "float32" else np.diff(np.unique(wanted[name])).min() * 1.01
            np.testing.assert_allclose(found, wanted[name], atol=step)
