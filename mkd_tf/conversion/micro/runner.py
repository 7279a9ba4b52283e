"""Runs the model in a C++ source, as a board would, with LiteRT's kernels."""

from pathlib import Path

import numpy as np

from mkd_tf.checks import check_shape
from mkd_tf.conversion.base import read_model
from mkd_tf.conversion.micro.source import from_source
from mkd_tf.conversion.tflite.runner import open_interpreter
from mkd_tf.detection.postprocess import Detections, batch_detections


class MicroRunner:
    """Runs the raw heads in a `.cc` file; see `base.FileRunner`.

    Args:
      source: path or content of the file.
      threads: that the interpreter may use.

    Attributes:
      found: what the file holds.
      facts: what it says of itself.
      operating_point: the score from which on detections are shown; None where it is not known.
    """

    def __init__(self, source: str | Path | bytes, threads: int = 1):
        where, content = read_model(source, "a .cc file of mkd_tf")
        self.found = from_source(content, where)
        self._interpreter = open_interpreter(where, self.found.model, num_threads=threads)
        (self._input,) = self._interpreter.get_input_details()
        self._outputs = [entry["index"] for entry in self._interpreter.get_output_details()]
        self.image_size = int(self._input["shape"][1])
        self.facts = self.found.facts
        self.class_names = self.facts.labels
        self.fit = self.facts.fit
        self.operating_point = self.facts.operating_point

    def invoke(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Returns `box_encodings` `[1, N, 4]` and `class_logits` `[1, N, C]` for one image `[S, S, 3]`."""
        pixels = image if image.dtype == np.uint8 else np.clip(np.rint(image), 0, 255).astype("uint8")
        self._interpreter.set_tensor(self._input["index"], pixels[None])
        self._interpreter.invoke()
        # By position, as on a board.
        encodings, logits = (self._interpreter.get_tensor(index) for index in self._outputs)
        return {"box_encodings": encodings, "class_logits": logits}

    def __call__(self, images: np.ndarray) -> list[Detections]:
        """Returns what is in each of `images` `[B, S, S, 3]`, uint8 or float in 0..255.

        Raises:
          MkdError: if the images do not have the model's size.
        """
        check_shape("images", images.shape, (None, self.image_size, self.image_size, 3))
        rows = [self.invoke(image) for image in images]
        return [
            batch_detections(row["class_logits"], row["box_encodings"], self.found.anchors)[0] for row in rows
        ]
