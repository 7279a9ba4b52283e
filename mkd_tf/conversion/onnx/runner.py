"""Runs an ONNX file through onnxruntime, with the metadata in it.

`conversion.onnx.convert` writes into the model's `metadata_props`:

    mkd_tf.schema        "1"
    class_names          JSON list, in the order of the scores
    image_size           side of the square input in pixels
    fit                  how the model was trained to see images: stretch or letterbox
    anchors              of raw heads alone: JSON, N rows of (ycenter, xcenter, height,
                         width) as fractions of the input
    box_encoding_scales  of raw heads alone: what divides (ty, tx, th, tw)
    mkd_tf.facts         of a file that a run exported: `conversion.facts`
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mkd_tf.checks import MkdError, check_shape, fail
from mkd_tf.conversion.base import import_extra, read_model
from mkd_tf.conversion.facts import FACTS_KEY, FileFacts
from mkd_tf.detection.postprocess import Detections, PostprocessConfig, batch_detections, select
from mkd_tf.options import FITS

SCHEMA_KEY, SCHEMA = "mkd_tf.schema", "1"
INPUT = "images"
DECODED = ("boxes", "scores")
RAW = ("box_encodings", "class_logits")
SUPPRESSED = ("detection_boxes", "detection_classes", "detection_scores")
_FORMS = (DECODED, RAW, SUPPRESSED)
_DTYPES: dict[str, np.dtype[Any]] = {"tensor(float)": np.dtype("float32"), "tensor(uint8)": np.dtype("uint8")}


def _session(where: str, content: bytes, threads: int) -> Any:
    onnxruntime = import_extra("onnxruntime", "running an ONNX file", "onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    # Its errors have no common class of their own.
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise MkdError(f"{where}: not a readable ONNX file ({reason}). Export it again.") from None


class OnnxRunner:
    """Runs an exported file; see `base.FileRunner`.

    Where suppression is not in the file it is done here, with the same parameters as for a Keras
    model; raw heads are decoded here too.

    Args:
      source: path or content of the file.
      postprocess: thresholds; the defaults when None.
      threads: that onnxruntime may use.

    Attributes:
      facts: what the file says of itself; None for one that was not exported by a run.
      operating_point: the score from which on detections are shown; None where it is not known.
      is_raw: whether the outputs are `class_logits` and `box_encodings`, not `scores` and `boxes`.

    Raises:
      MkdError: if onnxruntime is missing, or the file damaged or not one of ours.
    """

    def __init__(
        self, source: str | Path | bytes, postprocess: PostprocessConfig | None = None, threads: int = 1
    ):
        self._where, content = read_model(source, "an .onnx file")
        self._session = _session(self._where, content, threads)
        self._postprocess = postprocess
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        names = [i.name for i in inputs]
        self._expect(f"one input, {INPUT}", names == [INPUT], ", ".join(names))
        (entry,) = inputs
        shape = list(entry.shape)
        square = len(shape) == 4 and shape[1] == shape[2] and shape[3] == 3
        self._expect("an input of shape [batch, S, S, 3]", square, str(shape))
        self._expect("uint8 or float32 input", entry.type in _DTYPES, entry.type)
        self._dtype = _DTYPES[entry.type]
        # A free batch has a name for its size.
        self._one_by_one = shape[0] == 1
        shapes = {o.name: o.shape for o in outputs}
        self._names = tuple(sorted(shapes))
        self.is_raw, self.is_suppressed = self._names == RAW, self._names == SUPPRESSED
        listed = " or ".join(", ".join(form) for form in _FORMS)
        self._expect(f"outputs {listed}", self._names in _FORMS, ", ".join(self._names))
        self.image_size = int(shape[1])
        self._read_metadata([] if self.is_suppressed else shapes["class_logits" if self.is_raw else "scores"])

    def _expect(self, expected: str, holds: bool, got: str) -> None:
        if not holds:
            fail(self._where, expected=expected, got=got, do="Export it again with mkd_tf.")

    def _read_metadata(self, scores: list[int]) -> None:
        stored = self._session.get_modelmeta().custom_metadata_map
        schema = stored.get(SCHEMA_KEY, "none")
        self._expect(f"metadata of schema {SCHEMA}", schema == SCHEMA, schema)
        try:
            self.class_names: tuple[str, ...] = tuple(str(n) for n in json.loads(stored["class_names"]))
            size = int(stored["image_size"])
            self.fit: str = stored["fit"]
            self._anchors = np.array(json.loads(stored["anchors"]) if self.is_raw else [], "float32")
        except (KeyError, ValueError, TypeError) as error:
            raise MkdError(
                f"{self._where}: metadata damaged ({type(error).__name__}: {error}). Export it again."
            ) from None
        told = stored.get(FACTS_KEY)
        try:
            self.facts = FileFacts.from_json(told) if told else None
        except MkdError as error:
            raise MkdError(f"{self._where}: {error}") from None
        self.operating_point = self.facts.operating_point if self.facts else None
        self._expect(f"image_size {self.image_size} in the metadata", size == self.image_size, str(size))
        self._expect(f"a fit of {' or '.join(FITS)}", self.fit in FITS, self.fit)
        if self.is_suppressed:
            return
        count, classes = scores[1:]
        labels = len(self.class_names)
        self._expect(f"{classes} class names inside", labels == classes, str(labels))
        if self.is_raw:
            there = list(self._anchors.shape)
            self._expect(f"anchors [{count}, 4] inside", there == [count, 4], str(there))

    def invoke(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the outputs by name for one image `[S, S, 3]` or several `[B, S, S, 3]`, in 0..255."""
        batch = images.reshape(-1, *images.shape[-3:])
        if self._dtype == np.uint8 and batch.dtype != np.uint8:
            batch = np.clip(np.rint(batch), 0, 255)
        batch = np.ascontiguousarray(batch, self._dtype)
        names = self._names
        groups = np.split(batch, len(batch)) if self._one_by_one else [batch]
        rows = [self._session.run(names, {INPUT: group}) for group in groups]
        return {
            name: np.concatenate(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
        }

    def __call__(self, images: np.ndarray) -> list[Detections]:
        """Returns what is in each of `images` `[B, S, S, 3]`, uint8 or float in 0..255.

        Raises:
          MkdError: if the images do not have the model's size.
        """
        check_shape("images", images.shape, (None, self.image_size, self.image_size, 3))
        if not len(images):
            return []
        if self.is_raw:
            outputs = self.invoke(images)
            logits, encodings = outputs["class_logits"], outputs["box_encodings"]
            return batch_detections(logits, encodings, self._anchors, self._postprocess)
        if self.is_suppressed:
            return [self._suppressed(self.invoke(image)) for image in images]
        outputs = self.invoke(images)
        pairs = zip(outputs["scores"], outputs["boxes"], strict=True)
        return [select(scores, boxes, self._postprocess) for scores, boxes in pairs]

    def _suppressed(self, outputs: dict[str, np.ndarray]) -> Detections:
        boxes, labels, scores = (outputs[name] for name in SUPPRESSED)
        last = int(labels.max(initial=0))
        labels_there = len(self.class_names)
        self._expect(f"a label for class {last}", last < labels_there, f"{labels_there} labels")
        return Detections(np.clip(boxes, 0, 1), scores, labels.astype("int32"))
