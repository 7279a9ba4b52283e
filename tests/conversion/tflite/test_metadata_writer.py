"""TFLite metadata: what was packed comes back, and the model is otherwise unchanged."""

import io
import zipfile

import numpy as np
import pytest
from flatbuffers import number_types

from mkd_tf.conversion import to_tflite
from mkd_tf.conversion.tflite.metadata_reader import Record, metadata_buffer, packed_files, read_metadata
from mkd_tf.conversion.tflite.metadata_writer import LABELS_FILE, Description, anchors_csv, metadata
from mkd_tf.conversion.tflite.model_file import unpack
from mkd_tf.detection.anchors import grid_anchors
from tests.conversion import made

NAMES = {
    "detection": ("location", "category", "score", "number of detections"),
    "raw": ("location", "score"),
}


@pytest.mark.parametrize(
    ("quantization", "postprocess", "mean", "std"),
    [("int8", "detection", 127.5, 127.5), ("int8", "raw", 127.5, 127.5), ("float32", "detection", 0, 1)],
)
def test_a_file_describes_itself(quantization, postprocess, mean, std):
    content = made.file(quantization, postprocess)
    found = read_metadata(content)
    assert (found.mean.tolist(), found.std.tolist()) == ([mean], [std])
    assert found.outputs == NAMES[postprocess]
    assert found.labels == ("class0", "class1", "class2")
    anchors = made.detector().anchors.centers_and_sizes() / np.float32(made.SIDE)
    if postprocess == "raw":
        np.testing.assert_array_equal(found.anchors, anchors)
    else:
        assert found.anchors is None
    assert metadata_buffer(content)[4:8] == b"M001"
    assert content[4:8] == b"TFL3"
    runtime = [m.name for m in unpack(content).metadata]
    assert b"min_runtime_version" in runtime, "other metadata were lost"


def graph_of(postprocess):
    about = Description("m", ("a", "b"), postprocess, 127.5, 127.5, grid_anchors(32))
    root = Record.root(metadata(about))
    (graph,) = root.records(3)
    return root, graph


@pytest.mark.parametrize("postprocess", ["detection", "raw"])
def test_fields_by_their_numbers_in_the_schema(postprocess):
    """Numbers as in metadata_schema.fbs, not those of the writer."""
    root, graph = graph_of(postprocess)
    assert root.text(0) == "m"
    assert root.text(7) == {"raw": "1.5.0", "detection": "1.2.0"}[postprocess]
    (image,) = graph.records(2)
    content = image.record(3)
    assert content.number(0, number_types.Uint8Flags) == 2, "ImageProperties"
    assert content.record(1).number(0, number_types.Int8Flags) == 1, "RGB"
    assert content.record(1).record(1).number(0, number_types.Uint32Flags) == 32
    (unit,) = image.records(4)
    assert unit.number(0, number_types.Uint8Flags) == 1, "NormalizationOptions"
    tensors = {t.text(0): t for t in graph.records(3)}
    assert tuple(tensors) == NAMES[postprocess]
    box = tensors["location"].record(3)
    assert box.number(0, number_types.Uint8Flags) == 3, "BoundingBoxProperties"
    # [ymin, xmin, ymax, xmax]: left is its element 1, top 0, right 3, bottom 2.
    assert box.record(1).array(0, "<u4").tolist() == [1, 0, 3, 2]
    assert box.record(1).number(1, number_types.Int8Flags) == 1, "BOUNDARIES"
    assert box.record(1).number(2, number_types.Int8Flags, default=9) == 0, "RATIO"
    carrier, kind = ("score", 2) if postprocess == "raw" else ("category", 3)
    for name, tensor in tensors.items():
        files = list(tensor.records(6))
        assert len(files) == (name == carrier)
        for file in files:
            assert (file.text(0), file.number(2, number_types.Int8Flags)) == ("labels.txt", kind)


def test_raw_heads_carry_their_anchors_and_decoding_for_mediapipe():
    """Numbers as in object_detector_metadata_schema.fbs."""
    _, graph = graph_of("raw")
    (custom,) = graph.records(9)
    assert custom.text(0) == "DETECTOR_METADATA"
    buffer = custom.array(1, "u1").tobytes()
    assert buffer[4:8] == b"V001"
    options = Record.root(buffer)
    anchors = list(options.record(1).record(0).records(0))
    assert len(anchors) == 16 + 4 + 1
    # The second anchor of 32 px: cell (0, 1) of stride 8, side 32: x 12, y 4.
    numbers = [anchors[1].number(i, number_types.Float32Flags) for i in range(4)]
    assert numbers == [12 / 32, 4 / 32, 1, 1]
    decoding = options.record(2)
    integers = [decoding.number(i, number_types.Int32Flags, default=-1) for i in range(6)]
    assert integers == [2, 21, 4, 0, 0, 2]
    assert [decoding.number(i, number_types.Float32Flags) for i in range(6, 10)] == [10, 10, 5, 5]
    assert [decoding.number(i, number_types.BoolFlags) for i in (10, 11)] == [True, True]


def test_the_archive_opens_with_any_zip_reader():
    files = packed_files(made.file("int8", "raw"))
    assert files["labels.txt"] == b"class0\nclass1\nclass2\n"
    assert files["anchors.csv"].decode() == anchors_csv(made.detector().anchors)
    with zipfile.ZipFile(io.BytesIO(made.file("int8"))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt"]


NON_LATIN = ("猫", "кот", "قطة\u200d👩‍🚒")


def test_class_names_of_any_script_come_back():
    content = to_tflite(made.detector(), "float32", postprocess="raw", labels=NON_LATIN)
    assert read_metadata(content).labels == NON_LATIN
    assert packed_files(content)[LABELS_FILE].decode("utf-8").splitlines() == list(NON_LATIN)
