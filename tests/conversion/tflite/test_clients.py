"""MediaPipe, the TFLite Task Library and TensorFlow 2.5 read the same files and find what we find.

TensorFlow 2.5 is as old as the parser of the Edge TPU's compiler. Each has an
environment of its own, see `clients.py`, without which its tests are skipped.
"""

import dataclasses

import numpy as np
import pytest

from mkd_tf.conversion import to_tflite
from mkd_tf.conversion.facts import FileFacts
from mkd_tf.conversion.parity import keras_heads
from mkd_tf.conversion.tflite.finishing import finish
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from mkd_tf.detection.postprocess import probabilities
from tests.conversion import made, trained
from tests.conversion.tflite.clients import assert_same, detect, python_of

IMAGES = 20
_MEDIAPIPE = """
import json, sys
import numpy as np
import mediapipe as mp
from mediapipe.tasks.python import BaseOptions, vision

images, *models = sys.argv[1:]
images = np.load(images)
for model in models:
    options = vision.ObjectDetectorOptions(
        base_options=BaseOptions(model_asset_path=model), score_threshold=0.3, max_results=100)
    with vision.ObjectDetector.create_from_options(options) as detector:
        for image in images:
            image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(image))
            # One detection tells every class that has the same box, once it is in pixels.
            print(json.dumps([[c.category_name, c.score, d.bounding_box.origin_y, d.bounding_box.origin_x,
                               d.bounding_box.height, d.bounding_box.width]
                              for d in detector.detect(image).detections for c in d.categories]))
"""
# The library opens libusb for Coral's devices, which not every system has: a package brings one.
_TASK_LIBRARY = """
import ctypes, json, sys
import libusb_package
import numpy as np
ctypes.CDLL(str(libusb_package.get_library_path()))
from tflite_support.task import core, processor, vision

images, *models = sys.argv[1:]
images = np.load(images)
for model in models:
    detector = vision.ObjectDetector.create_from_options(vision.ObjectDetectorOptions(
        base_options=core.BaseOptions(file_name=model, num_threads=1),
        detection_options=processor.DetectionOptions(score_threshold=0.3, max_results=100)))
    for image in images:
        found = detector.detect(vision.TensorImage.create_from_array(np.ascontiguousarray(image)))
        print(json.dumps([[c.category_name, c.score, d.bounding_box.origin_y, d.bounding_box.origin_x,
                           d.bounding_box.height, d.bounding_box.width]
                          for d in found.detections for c in d.categories]))
"""
# Outputs by position, as clients of that age read them.
_TENSORFLOW = """
import json, sys
import numpy as np
import tensorflow as tf

images, *models = sys.argv[1:]
images = np.load(images)
assert tf.__version__.startswith("2.5."), tf.__version__
for model in models:
    interpreter = tf.lite.Interpreter(model)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    outputs = [found["index"] for found in interpreter.get_output_details()]
    for image in images:
        interpreter.set_tensor(entry["index"], image[None].astype(entry["dtype"]))
        interpreter.invoke()
        print(json.dumps([interpreter.get_tensor(index).tolist() for index in outputs]))
"""


@pytest.fixture(scope="module")
def mediapipe():
    return python_of("MKD_MEDIAPIPE_PYTHON", ".venv-mediapipe", "mediapipe")


@pytest.fixture(scope="module")
def task_library():
    return python_of("MKD_TASK_LIBRARY_PYTHON", ".venv-task-library", "task_library")


@pytest.fixture(scope="module")
def tensorflow25():
    return python_of("MKD_TENSORFLOW25_PYTHON", ".venv-tensorflow25", "tensorflow25")


@pytest.fixture(scope="module")
def images():
    return made.images(IMAGES, seed=9)


@pytest.fixture(scope="module")
def files():
    """Two files as a run ships them, with what they say of themselves inside; and one as it was measured."""
    facts = FileFacts("0.1", "ab", "stretch", made.detector().class_names, image_size=made.SIDE)
    shipped = dataclasses.replace(facts, score_threshold=0.1, max_detections=25)
    return {
        "int8_detection.tflite": finish(made.file("int8"), shipped),
        "float32_detection.tflite": made.file("float32"),
        "int8_raw.tflite": finish(made.file("int8", "raw"), facts),
    }


# The interpreters are of other versions, whose integer kernels round otherwise here and there: one step
# of a logit is up to 0.03 of a score.
TOLERANCES = {"int8_detection.tflite": 0.04, "float32_detection.tflite": 1e-3}


def test_mediapipe_finds_what_we_find(mediapipe, tmp_path, images, files):
    answers = detect(mediapipe, _MEDIAPIPE, tmp_path, images, files)
    for name, tolerance in TOLERANCES.items():
        total = assert_same(answers[name], TFLiteRunner(files[name]), images, tolerance)
        assert total > 5 * IMAGES, "next to nothing was compared"
    # MediaPipe suppresses raw heads itself, at a threshold of its own: the best of each image is there.
    raw = "int8_raw.tflite"
    for theirs, ours in zip(answers[raw], TFLiteRunner(files[raw])(images), strict=True):
        assert theirs[0][1] == pytest.approx(ours.scores[0], abs=0.04)
        assert theirs[0][0] == made.detector().class_names[ours.labels[0]]


def test_the_task_library_finds_what_we_find(task_library, tmp_path, images, files):
    shown = {name: files[name] for name in TOLERANCES}
    answers = detect(task_library, _TASK_LIBRARY, tmp_path, images, shown)
    for name, tolerance in TOLERANCES.items():
        # It does not clip boxes to the image: the kit does.
        runner = TFLiteRunner(files[name])
        total = assert_same(answers[name], runner, images, tolerance, is_clipped=False)
        assert total > 5 * IMAGES, "next to nothing was compared"


def test_tensorflow_2_5_reads_and_runs_the_files(tensorflow25, tmp_path, images, files):
    images = images[:6]
    answers = detect(tensorflow25, _TENSORFLOW, tmp_path, images, files)
    for name, tolerance in TOLERANCES.items():
        runner, is_float = TFLiteRunner(files[name]), name == "float32_detection.tflite"
        for image, theirs in zip(images, answers[name], strict=True):
            outputs = runner.invoke(image)
            boxes, classes, scores, count = (outputs[f"output_{i}"][0] for i in (3, 2, 1, 0))
            assert theirs[3][0] == pytest.approx(count, abs=0 if is_float else 3) and count > 5
            np.testing.assert_allclose(theirs[2][0], scores, atol=tolerance)
            if is_float:
                np.testing.assert_array_equal(theirs[1][0], classes)
                np.testing.assert_allclose(theirs[0][0], boxes, atol=1e-4)
    # Integer kernels of that age round otherwise in every layer: they are as near to the float model.
    runner, expected = TFLiteRunner(files["int8_raw.tflite"]), keras_heads(made.detector(), images)
    for place, name in enumerate(("box_encodings", "class_logits")):
        theirs = np.array([answer[place][0] for answer in answers["int8_raw.tflite"]])
        ours = np.array([runner.invoke(image)[name][0] for image in images])
        if name == "class_logits":
            theirs, ours, name = probabilities(theirs), probabilities(ours), "scores"
        errors = [np.abs(found - expected[name]).mean() for found in (theirs, ours)]
        assert errors[0] < 1.25 * errors[1]


@pytest.mark.slow
def test_mediapipe_finds_what_a_trained_student_finds(mediapipe, tmp_path):
    scenes = trained.rectangles(IMAGES, seed=2)
    images = trained.images(scenes)
    content = to_tflite(trained.detector(), "int8", trained.images(trained.rectangles(32, seed=1)))
    answers = detect(mediapipe, _MEDIAPIPE, tmp_path, images, {"trained.tflite": content})["trained.tflite"]
    assert assert_same(answers, TFLiteRunner(content), images, 0.04) >= IMAGES
    shown = [{trained.CLASSES[i] for i in scene["objects"]["label"]} for scene in scenes]
    best = [found[0][0] if found else None for found in answers]
    right = sum(label in there for label, there in zip(best, shown, strict=True))
    assert right > 0.8 * IMAGES, "the student has learned nothing"
