"""The TFLite runner and the table of runners: damaged, foreign and mismatched files are told."""

import io
import zipfile

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.conversion.model_files import load_runner
from mkd_tf.conversion.tflite import runner as runner_file
from mkd_tf.conversion.tflite.metadata_writer import Description, pack
from mkd_tf.conversion.tflite.model_file import to_content, unpack
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from mkd_tf.detection.postprocess import PostprocessConfig
from mkd_tf.detectors.files import save_detector
from mkd_tf.evaluation.runners import KerasRunner
from tests.conversion import made


def without_files(content):
    """The model alone: what stands before the archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return content[: min(i.header_offset for i in archive.infolist())]


def repacked(content, labels, anchors, **changes):
    """A file described anew, or with fields of its model changed."""
    model = unpack(content)
    model.metadata = [m for m in model.metadata if m.name != b"TFLITE_METADATA"]
    for name, value in changes.items():
        setattr(model, name, value)
    is_raw = any(o.name == b"class_logits" for o in unpack(content).signatureDefs[0].outputs)
    about = Description("m", labels, "raw" if is_raw else "detection", 127.5, 127.5, anchors)
    return pack(to_content(model), about)


def test_what_it_says_of_itself():
    runner = TFLiteRunner(made.file("int8"))
    assert runner.image_size == made.SIDE and runner.class_names == made.detector().class_names
    assert not runner.is_raw and TFLiteRunner(made.file("int8", "raw")).is_raw


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_bytes_and_floats_are_the_same(quantization):
    runner, images = TFLiteRunner(made.file(quantization)), made.images(2)
    for a, b in zip(runner(images), runner(images.astype("float32")), strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)
        np.testing.assert_array_equal(a.boxes, b.boxes)


def test_a_result_outlives_the_next_call():
    runner, images = TFLiteRunner(made.file("int8")), made.images(2)
    first = runner(images[:1])[0]
    scores, boxes = first.scores.copy(), first.boxes.copy()
    runner(images[1:])
    np.testing.assert_array_equal(first.scores, scores)
    np.testing.assert_array_equal(first.boxes, boxes)


@pytest.mark.parametrize("heads", ["detection", "raw"])
def test_images_shared_out_among_processors_are_found_as_alone(heads, monkeypatch):
    monkeypatch.setattr(runner_file.os, "cpu_count", lambda: 3)
    runner, images = TFLiteRunner(made.file("int8", heads)), made.images(8)
    alone = [runner(image[None])[0] for image in images]
    opened = []
    monkeypatch.setattr(runner_file, "open_interpreter", _counted(opened))
    for count in (8, 7, 2, 8):  # 3 interpreters, of which two are new; one for two images
        found = runner(images[:count])
        assert len(found) == count
        for a, b in zip(found, alone, strict=False):
            for name in ("boxes", "scores", "labels"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert len(opened) == 2


def _counted(opened):
    plain = runner_file.open_interpreter

    def count(*args, **options):
        opened.append(options)
        return plain(*args, **options)

    return count


def test_raw_heads_take_the_callers_thresholds():
    config = PostprocessConfig(score_threshold=0.4, max_detections=3)
    images = made.images(2, seed=9)
    for found in TFLiteRunner(made.file("float32", "raw"), config)(images):
        assert 0 < len(found) <= 3 and found.scores.min() >= 0.4


def test_normalisation_of_a_float_input_is_that_of_the_metadata():
    runner = TFLiteRunner(
        repacked(made.file("float32"), made.detector().class_names, made.detector().anchors)
    )
    image = np.full((made.SIDE, made.SIDE, 3), 255, "uint8")
    assert runner.prepare(image).dtype == np.float32
    np.testing.assert_allclose(runner.prepare(image), 1)
    np.testing.assert_allclose(TFLiteRunner(made.file("float32")).prepare(image), 255)


def test_suffix_decides(tmp_path):
    save_detector(made.detector(), tmp_path / "a.keras")
    (tmp_path / "a.int8.TFLITE").write_bytes(made.file("int8"))
    assert isinstance(load_runner(tmp_path / "a.keras"), KerasRunner)
    assert isinstance(load_runner(tmp_path / "a.int8.TFLITE"), TFLiteRunner)
    with pytest.raises(MkdError, match=r"a file that ends in .keras, .tflite.*, got .rejected"):
        load_runner(tmp_path / "a.tflite.rejected")


def test_damaged_files(tmp_path):
    whole = made.file("int8")
    for name, content in {
        "empty": b"",
        "text": b"no model" * 100,
        "cut": whole[: len(whole) // 3],
        "overwritten": whole[:200] + bytes(5000) + whole[5200:],
    }.items():
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        with pytest.raises(MkdError, match=rf"{name}.tflite: .*(readable|damaged)"):
            TFLiteRunner(path)
    with pytest.raises(MkdError, match="no such file"):
        TFLiteRunner(tmp_path / "none.tflite")


def test_files_of_another_kind():
    names, anchors = made.detector().class_names, made.detector().anchors
    bare = unpack(made.file("int8"))
    bare.metadata = []
    cases = [
        (to_content(bare), "metadata: expected those of TFLite, got none"),
        (without_files(made.file("int8")), "expected labels inside, got none"),
        (without_files(made.file("int8", "raw")), "expected labels inside, got none"),
        (repacked(made.file("int8", "raw"), names[:2], anchors), "expected 3 labels inside, got 2"),
    ]
    for content, told in cases:
        with pytest.raises(MkdError, match=told):
            TFLiteRunner(content)


def test_too_few_labels_are_told_when_a_class_has_none():
    content = repacked(made.file("int8"), ("only",), made.detector().anchors)
    with pytest.raises(MkdError, match=r"expected a label for class [12], got 1 labels"):
        TFLiteRunner(content)(made.images(2, seed=9))


def test_images_of_another_size_are_told():
    with pytest.raises(MkdError, match=r"images: expected shape \[None, 64, 64, 3\]"):
        TFLiteRunner(made.file("int8"))(np.zeros((1, 32, 32, 3), "uint8"))
