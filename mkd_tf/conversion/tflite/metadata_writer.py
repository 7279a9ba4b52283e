"""Writes TFLite metadata, which MediaPipe and Android's Task Library require.

They hold tensor names, normalisation, the order of box corners and labels; for raw heads
also the anchors and how to decode them. The tables follow metadata_schema.fbs 1.5.0 (M001)
and MediaPipe's object_detector_metadata_schema.fbs 1.0.0 (V001); the numbers in
a `Table` are the fields of these schemas.
"""

import dataclasses
import io
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mkd_tf.conversion.tflite import metadata_reader as read
from mkd_tf.conversion.tflite.flatbuffer import Table, to_bytes
from mkd_tf.conversion.tflite.model_file import add_buffer, to_content, unpack
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.boxes import SCALE_CENTER, SCALE_SIZE

LABELS_FILE = "labels.txt"
_IMAGE, _BOUNDING_BOX, _FEATURE = 2, 3, 1  # of the union ContentProperties
_RGB, _BOUNDARIES, _RATIO = 1, 1, 0
# Where left, top, right and bottom stand in [ymin, xmin, ymax, xmax].
_CORNERS = np.array([1, 0, 3, 2], "uint32")
# Of each post-process, names of the tensors by their names in the signature, in the order that
# old clients expect: these identify tensors by position.
_NAMES = {
    "detection": {
        "output_3": "location",
        "output_2": "category",
        "output_1": "score",
        "output_0": "number of detections",
    },
    "raw": {"box_encodings": "location", "class_logits": "score"},
}


@dataclasses.dataclass(frozen=True, eq=False)
class Description:
    """The content of a model's metadata.

    Attributes:
      name: of the model.
      labels: one per class, without a background class.
      postprocess: `detection` or `raw`.
      mean: subtracted from pixels in 0..255 by clients that feed float32.
      std: by which these clients divide the difference.
      anchors: of the detector.
    """

    name: str
    labels: tuple[str, ...]
    postprocess: str
    mean: float
    std: float
    anchors: Anchors


def anchors_csv(anchors: Anchors) -> str:
    """Returns the anchors as text, exact to the float32, one line per anchor below a header."""
    rows = (anchors.centers_and_sizes() / anchors.image_size).astype("float32")
    lines = [",".join(f"{x:.9g}" for x in row) for row in rows.tolist()]
    return "\n".join([read.ANCHORS_HEADER, *lines, ""])


def labels_text(labels: Sequence[str]) -> str:
    """Returns one label per line."""
    return "".join(f"{label}\n" for label in labels)


def _content(kind: int, properties: Table, per_object: bool) -> Table:
    # Dimension 2 is the last: every element of the second dimension is an object of its own.
    value_range = {0: np.int32(2), 1: np.int32(2)} if per_object else None
    return {0: np.uint8(kind), 1: properties, 2: value_range}


def _input(about: Description) -> Table:
    side = np.uint32(about.anchors.image_size)
    image = {0: np.int8(_RGB), 1: {0: side, 1: side}}
    options = {0: np.array([about.mean], "float32"), 1: np.array([about.std], "float32")}
    unit = {read.UNIT_TYPE: np.uint8(read.UNIT_IS_NORMALIZATION), read.UNIT_OPTIONS: options}
    # The words are part of the file's bytes, which stay the same from version to version.
    return {0: "image", 1: "The picture, RGB.", 3: _content(_IMAGE, image, False), 4: [unit]}


def _output(name: str, labels_type: int) -> Table:
    carries_labels = "category" if labels_type == read.FILE_VALUE_LABELS else "score"
    files = [{0: LABELS_FILE, 1: "One label per class.", 2: np.int8(labels_type)}]
    if name == "location":
        box = {0: _CORNERS, 1: np.int8(_BOUNDARIES), 2: np.int8(_RATIO)}
        content = _content(_BOUNDING_BOX, box, True)
    else:
        content = _content(_FEATURE, {}, name != "number of detections")
    return {0: name, 3: content, 6: files if name == carries_labels else None}


def _decoding(about: Description) -> bytes:
    """Returns MediaPipe's instructions for raw heads: the anchors and the scales of the encodings."""
    rows = (about.anchors.centers_and_sizes() / about.anchors.image_size).astype("float32")
    # The table's order is x_center, y_center, width, height.
    anchors = [dict(enumerate(row[[1, 0, 3, 2]])) for row in rows]
    counts = np.array([len(about.labels), len(rows), 4, 0, 0, 2], "int32")
    scales = np.array([SCALE_CENTER, SCALE_CENTER, SCALE_SIZE, SCALE_SIZE], "float32")
    # Sizes are logarithms, scores are logits.
    options = dict(enumerate([*counts, *scales, np.bool_(True), np.bool_(True)]))
    return to_bytes({0: "1.0.0", 1: {0: {0: anchors}}, 2: options}, b"V001")


def metadata(about: Description) -> bytes:
    """Returns the metadata's flatbuffer, for outputs in the order of `pack`."""
    is_raw = about.postprocess == "raw"
    labels_type = read.FILE_AXIS_LABELS if is_raw else read.FILE_VALUE_LABELS
    graph = {
        read.SUBGRAPH_INPUTS: [_input(about)],
        read.SUBGRAPH_OUTPUTS: [_output(name, labels_type) for name in _NAMES[about.postprocess].values()],
        8: None if is_raw else [{0: "detection result", 1: ["location", "category", "score"]}],
        9: [{0: "DETECTOR_METADATA", 1: _decoding(about)}] if is_raw else None,
    }
    described = "Object detector; pictures are fitted to the input by stretching or letterboxing."
    # The parser version is that of the newest field used: groups 1.2.0, custom metadata 1.5.0.
    fields = {0: about.name, 1: described, read.MODEL_SUBGRAPHS: [graph], 7: "1.5.0" if is_raw else "1.2.0"}
    return to_bytes(fields, b"M001")


def append_files(content: bytes, files: Mapping[str, str]) -> bytes:
    """Returns a TFLite file with texts by file name in an archive at its end."""
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        for name, text in files.items():
            # A fixed date: the same model makes the same bytes.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text.encode("utf-8"))
    return stream.getvalue()


def pack(content: bytes, about: Description) -> bytes:
    """Returns the TFLite file with metadata, labels and, for raw heads, anchors packed in."""
    model = unpack(content)
    (signature,) = model.signatureDefs
    by_name = {entry.name.decode(): entry.tensorIndex for entry in signature.outputs}
    # The converter's order is that of its own tensor names.
    model.subgraphs[0].outputs = [by_name[name] for name in _NAMES[about.postprocess]]
    entry = schema.MetadataT()
    entry.name, entry.buffer = read.BUFFER_NAME, add_buffer(model, metadata(about))
    model.metadata = [*(model.metadata or []), entry]
    files = {LABELS_FILE: labels_text(about.labels)}
    if about.postprocess == "raw":
        files[read.ANCHORS_FILE] = anchors_csv(about.anchors)
    return append_files(to_content(model, len(content) + 65536), files)
