"""TFLite and SavedModel files, and files of our own: the teacher finds what the network finds."""

import io
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from mkd_tf import save_detector
from mkd_tf.checks import MkdError
from mkd_tf.conversion.onnx.convert import to_onnx
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.teachers import TEACHERS, TeacherImage, build_teacher, save_saved_model
from mkd_tf.teachers.own import RunnerTeacher
from mkd_tf.teachers.tflite_session import _ultralytics_names
from tests.conversion import made
from tests.teachers import stubs

SIZES = ((64, 64), (50, 100), (90, 70))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    shown = [rng.integers(0, 255, (h // 5, w // 5, 3), "uint8") for h, w in SIZES]
    pixels = [x.repeat(5, axis=0).repeat(5, axis=1) for x in shown]
    return [TeacherImage(f"{i}", "", x.shape[:2], lambda x=x: x) for i, x in enumerate(pixels)]


@pytest.fixture(scope="module")
def expected(images):
    return RunnerTeacher(KerasRunner(made.detector()), "own", "stretch", "").detect(images)


def check_same(teacher, images, expected, tolerance):
    assert teacher.class_names == made.detector().class_names
    for found, wanted in zip(teacher.detect(images), expected, strict=True):
        # The weakest may fall below the threshold, or lose a place among the last.
        found, wanted = found.above(0.05), wanted.above(0.05)
        assert len(found) == len(wanted) > 3
        np.testing.assert_allclose(found.scores, wanted.scores, atol=tolerance)
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=tolerance)
        np.testing.assert_array_equal(found.labels, wanted.labels)


def test_own_files_find_what_the_network_finds(tmp_path, images, expected):
    detector = made.detector()
    save_detector(detector, tmp_path / "t.keras")
    (tmp_path / "t.onnx").write_bytes(to_onnx(detector))
    (tmp_path / "t.tflite").write_bytes(made.file("float32"))
    save_saved_model(detector, tmp_path / "saved")
    specs = {"t.keras": "keras", "t.onnx": "onnx", "t.tflite": "tflite"}
    for name, kind in (specs | {"saved": "saved_model"}).items():
        teacher = build_teacher(f"{kind}(path={str(tmp_path / name)!r})")
        check_same(teacher, images, expected, 2e-4)
        assert len(teacher.fingerprint()) == 32
    with pytest.raises(MkdError, match="classes: expected nothing for a file of mkd_tf, got 'a'"):
        build_teacher(f"onnx(path={str(tmp_path / 't.onnx')!r}, classes='a')")
    (tmp_path / "saved" / "assets.extra" / "mkd_tf.json").write_text('{"fit": "stretch"}')
    with pytest.raises(MkdError, match=r"mkd_tf.json: damaged \(KeyError"):
        build_teacher(f"saved_model(path={str(tmp_path / 'saved')!r})")


@pytest.mark.parametrize("preset", ["ssd", "efficientdet_lite"])
def test_postprocess_is_known_by_its_operator(tmp_path, images, expected, preset):
    (tmp_path / "t.tflite").write_bytes(made.file("float32"))
    teacher = TEACHERS["tflite"](str(tmp_path / "t.tflite"), outputs=preset)
    # Classes and normalisation come from the metadata in the file.
    check_same(teacher, images, expected, 2e-4)
    coco = TEACHERS["tflite"](str(tmp_path / "t.tflite"), outputs=preset, classes="coco")
    assert {coco.class_names[i] for d in coco.detect(images) for i in d.labels} == {
        "person",
        "bicycle",
        "car",
    }
    two = TEACHERS["tflite"](str(tmp_path / "t.tflite"), outputs=preset, classes="a, b")
    with pytest.raises(MkdError, match="classes from 0 to 1, got class 2"):
        two.detect(images)


def test_yolov8_in_tflite_has_fractions_and_may_be_quantised(tmp_path):
    boxes = tf.constant([[[0.5], [0.5], [0.25], [0.125]]])

    @tf.function(input_signature=[tf.TensorSpec([1, 64, 64, 3], tf.float32)])
    def network(images):
        return tf.concat([boxes, tf.reduce_mean(images, axis=[1, 2])[..., None]], axis=1)

    module = tf.Module()
    module.network = network
    convert = tf.lite.TFLiteConverter.from_concrete_functions
    converter = convert([network.get_concrete_function()], module)
    (tmp_path / "y.tflite").write_bytes(converter.convert())
    converter = convert([network.get_concrete_function()], module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([np.full((1, 64, 64, 3), v, "float32")] for v in (0, 1))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (tmp_path / "int8.tflite").write_bytes(converter.convert())
    for name in ("y.tflite", "int8.tflite"):
        teacher = TEACHERS["tflite"](str(tmp_path / name), outputs="yolov8", classes="r, g, b")
        (found,) = teacher.detect([stubs.image()])
        np.testing.assert_allclose(found.scores, stubs.letterboxed((0.8, 0.4, 0.2)), atol=0.01)
        np.testing.assert_allclose(found.boxes[0], [0.375, 0.375, 0.625, 0.625], atol=0.01)
    with pytest.raises(MkdError, match="no such file"):
        TEACHERS["tflite"](str(tmp_path / "none.tflite"), outputs="yolov8")


def test_a_saved_model_of_the_detection_api(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, name="input_tensor")])
    def serve(input_tensor):
        red = tf.reduce_mean(tf.cast(input_tensor[..., 0], tf.float32)) / 255
        return {
            "detection_boxes": tf.constant([[[0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0]]]),
            "detection_classes": tf.constant([[18.0, 1.0]]),
            "detection_scores": tf.stack([red, 0.0])[None],
            "num_detections": tf.constant([1.0]),
            "raw_detection_boxes": tf.zeros([1, 9, 4]),
        }

    module = tf.Module()
    module.serve = serve
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": serve})
    teacher = TEACHERS["saved_model"](str(tmp_path), outputs="tf_detection_api", classes="coco")
    (found,) = teacher.detect([stubs.image()])
    assert [teacher.class_names[i] for i in found.labels] == ["dog"]
    np.testing.assert_allclose(found.scores, [0.8], atol=0.005)
    np.testing.assert_allclose(found.boxes, [[0.1, 0.2, 0.3, 0.4]], atol=1e-6)
    with pytest.raises(MkdError, match="outputs= one of yolov8"):
        TEACHERS["saved_model"](str(tmp_path))
    with pytest.raises(MkdError, match="the folder of a SavedModel, got no such folder"):
        TEACHERS["saved_model"](str(tmp_path / "none"))


def test_a_fit_is_one_of_two(tmp_path):
    with pytest.raises(MkdError, match="fit: expected one of stretch, letterbox"):
        save_saved_model(made.detector(), tmp_path, fit="crop")


def test_names_of_ultralytics_are_in_the_archive_of_the_file(tmp_path):
    for name, text in (
        ("metadata.json", '{"names": {"0": "r", "1": "g"}}'),
        ("temp_meta.txt", "{'names': {0: 'r', 1: 'g'}}"),
    ):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr(name, text)
        assert _ultralytics_names(b"model" + stream.getvalue()) == {0: "r", 1: "g"}
    assert _ultralytics_names(b"model") is None
