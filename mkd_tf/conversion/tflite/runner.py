"""Runs a TFLite file as a client does: with the metadata in the file."""

import concurrent.futures
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mkd_tf.checks import MkdError, check_shape, fail
from mkd_tf.conversion.base import read_model
from mkd_tf.conversion.tflite.metadata_reader import FileMetadata, read_metadata
from mkd_tf.detection.postprocess import Detections, PostprocessConfig, batch_detections

T = TypeVar("T")
DETECTION = ("output_0", "output_1", "output_2", "output_3")  # count, scores, classes, boxes
RAW = ("box_encodings", "class_logits")


def open_interpreter(where: str, content: bytes, **options: Any) -> Interpreter:
    """Returns an interpreter with its tensors allocated.

    Raises:
      MkdError: if the content is damaged, or has an operator unknown to this interpreter.
    """
    try:
        interpreter = Interpreter(model_content=content, **options)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise MkdError(f"{where}: not a readable TFLite file ({reason}). Export it again.") from None
    return interpreter


class TFLiteRunner:
    """Runs an exported file, image by image; see `base.FileRunner`.

    Several images at once are shared out among as many interpreters as there are processors,
    since one interpreter on several threads gains little on a small network, and loses a class (see
    `threads`). Each image is computed as alone, and one image at a time uses the first interpreter only.

    Detections are those of the post-process in the file; raw heads go through the same
    post-process as a Keras model's.

    Args:
      source: path or content of the file.
      postprocess: thresholds for raw heads; a file with post-process holds its own.
      threads: that the interpreter may use. With more than one, the post-process operator of
        LiteRT 2.3 loses a class where the number of classes is no multiple of it: measure time alone.

    Attributes:
      facts: what the file says of itself; None for one that was not exported by a run.
      operating_point: the score from which on detections are shown; None where it is not known.
    """

    def __init__(
        self, source: str | Path | bytes, postprocess: PostprocessConfig | None = None, threads: int = 1
    ):
        self._where, content = read_model(source, "a .tflite file")
        # Python's binding maps the content and does not keep it alive by itself.
        self._content = content
        self._threads = threads
        self._interpreter = open_interpreter(self._where, content, num_threads=threads)
        try:
            self._metadata: FileMetadata = read_metadata(content)
        except MkdError as error:
            raise MkdError(f"{self._where}: {error}") from None
        signatures = self._interpreter.get_signature_list()
        self._expect("one signature", len(signatures) == 1, str(len(signatures)))
        run = self._interpreter.get_signature_runner()
        self._others: list[Interpreter] = []
        self._runs = [run]
        inputs, outputs = run.get_input_details(), run.get_output_details()
        self._expect("one input", len(inputs) == 1, str(len(inputs)))
        ((self._input, entry),) = inputs.items()
        shape = tuple(entry["shape"])
        square = len(shape) == 4 and shape[0] == 1 and shape[1] == shape[2] and shape[3] == 3
        self._expect("an input of shape [1, S, S, 3]", square, str(list(shape)))
        self._expect("uint8 or float32 input", entry["dtype"] in (np.uint8, np.float32), str(entry["dtype"]))
        self._is_bytes = entry["dtype"] == np.uint8
        self.is_raw = tuple(sorted(outputs)) == RAW
        known = self.is_raw or tuple(sorted(outputs)) == DETECTION
        self._expect(f"outputs {', '.join(DETECTION)} or {', '.join(RAW)}", known, ", ".join(sorted(outputs)))
        self._outputs = outputs
        self._anchors = np.zeros((0, 4), "float32")
        self._postprocess = postprocess
        self.image_size = int(shape[1])
        self.class_names = self._metadata.labels
        self.facts = facts = self._metadata.facts
        self.fit = facts.fit if facts else ""
        self.operating_point = facts.operating_point if facts else None
        self._expect("labels inside", bool(self.class_names), "none")
        if self.is_raw:
            self._check_raw(outputs)

    def _expect(self, expected: str, holds: bool, got: str) -> None:
        if not holds:
            fail(self._where, expected=expected, got=got, do="Export it again with mkd_tf.")

    def _check_raw(self, outputs: dict[str, Any]) -> None:
        _, count, classes = outputs["class_logits"]["shape"]
        if self._metadata.anchors is not None:
            self._anchors = self._metadata.anchors
        self._expect(f"{count} anchors inside", len(self._anchors) == count, str(len(self._anchors)))
        same = len(self.class_names) == classes
        self._expect(f"{classes} labels inside", same, str(len(self.class_names)))

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Returns the input tensor of one image `[S, S, 3]` in 0..255."""
        if self._is_bytes:
            if image.dtype == np.uint8:
                return image[None]  # Rounding bytes would take as long as a small network.
            return np.clip(np.rint(image), 0, 255).astype("uint8")[None]
        scaled = (image.astype("float32") - self._metadata.mean) / self._metadata.std
        return scaled.astype("float32")[None]

    def invoke(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the outputs for one image `[S, S, 3]` in 0..255, dequantised, batch 1, by name."""
        return self._invoke(self._runs[0], image)

    def _invoke(self, run: Any, image: np.ndarray) -> dict[str, np.ndarray]:
        outputs = run(**{self._input: self.prepare(image)})
        for name, x in outputs.items():
            if x.dtype != np.float32:
                scale, zero = self._outputs[name]["quantization"]
                outputs[name] = (x.astype("float32") - zero) * np.float32(scale)
        return outputs

    def __call__(self, images: np.ndarray) -> list[Detections]:
        """Returns what is in each of `images` `[B, S, S, 3]`, uint8 or float in 0..255.

        Raises:
          MkdError: if the images do not have the model's size, or the labels do not
            go as far as the classes.
        """
        check_shape("images", images.shape, (None, self.image_size, self.image_size, 3))
        return self._each(images, self._detections)

    def outputs(self, images: np.ndarray) -> list[dict[str, np.ndarray]]:
        """Returns what `invoke` does for each of `images` `[B, S, S, 3]`."""
        return self._each(images, lambda found: found)

    def _each(self, images: np.ndarray, then: Callable[[dict[str, np.ndarray]], T]) -> list[T]:
        """Returns `then` of the outputs for each image, in their order."""
        runs = self._at_once(len(images))

        def share(k: int) -> list[T]:
            return [then(self._invoke(runs[k], image)) for image in images[k :: len(runs)]]

        if len(runs) == 1:
            return share(0)
        with concurrent.futures.ThreadPoolExecutor(len(runs)) as pool:
            shares = list(pool.map(share, range(len(runs))))
        return [shares[i % len(runs)][i // len(runs)] for i in range(len(images))]

    def _at_once(self, images: int) -> list[Any]:
        """Returns what runs the file, for as many of the images as processors; made when first needed."""
        wanted = min((os.cpu_count() or 1) if self._threads == 1 else 1, max(1, images // 2))
        while len(self._runs) < wanted:
            other = open_interpreter(self._where, self._content, num_threads=1)
            self._others.append(other)  # a signature's runner does not keep its interpreter alive
            self._runs.append(other.get_signature_runner())
        return self._runs[:wanted]

    def _detections(self, outputs: dict[str, np.ndarray]) -> Detections:
        if self.is_raw:
            logits, encodings = outputs["class_logits"], outputs["box_encodings"]
            return batch_detections(logits, encodings, self._anchors, self._postprocess)[0]
        count = int(outputs["output_0"].item())
        labels = outputs["output_2"][0, :count].astype("int32")
        last = int(labels.max(initial=0))
        self._expect(
            f"a label for class {last}", last < len(self.class_names), f"{len(self.class_names)} labels"
        )
        boxes = np.clip(outputs["output_3"][0, :count], 0, 1)
        return Detections(boxes, outputs["output_1"][0, :count].copy(), labels)
