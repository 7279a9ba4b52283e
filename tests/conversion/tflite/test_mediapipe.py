"""MediaPipe's own ObjectDetector reads our files and finds what we find.

It cannot share an environment with tfmot: its Python is that of MKD_MEDIAPIPE_PYTHON,
or `.venv-mediapipe/bin/python` in the checkout, as `.ci/run` makes it.
"""

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mkd_tf.conversion import to_tflite
from mkd_tf.conversion.facts import FileFacts
from mkd_tf.conversion.tflite.finishing import finish
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from tests.conversion import made, trained

ROOT = Path(__file__).resolve().parents[3]
IMAGES = 20
_DETECT = """
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


@pytest.fixture(scope="module")
def python():
    named = os.environ.get("MKD_MEDIAPIPE_PYTHON")
    path = Path(named or ROOT / ".venv-mediapipe/bin/python")
    if not path.is_file():
        assert not named, f"MKD_MEDIAPIPE_PYTHON: no such file as {path}"
        pytest.skip(f"no Python with mediapipe at {path}: `make mediapipe`, or set MKD_MEDIAPIPE_PYTHON")
    return path


def detect(python, tmp_path, images, files):
    """What MediaPipe finds: for each file and image, rows of label, score and box in pixels."""
    np.save(tmp_path / "images.npy", images)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    child = subprocess.run(
        [python, "-c", _DETECT, tmp_path / "images.npy", *(tmp_path / name for name in files)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    lines = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("[")]
    count = len(images)
    return {name: lines[i * count : (i + 1) * count] for i, name in enumerate(files)}


def iou(a, b):
    """IoU of two boxes (ymin, xmin, ymax, xmax)."""
    inside = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = np.prod(np.maximum(inside, 0))
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def unmatched(rows, others, tolerance):
    """Those of `rows` that none of `others` equals: label, score within `tolerance`, IoU of 0.9."""

    def same(a, b):
        near = a[0] == b[0] and abs(a[1] - b[1]) <= tolerance
        return near and iou(np.array(a[2:], float), np.array(b[2:], float)) >= 0.9

    return [a for a in rows if not any(same(a, b) for b in others)]


def as_mediapipe_tells(runner, image, least):
    """Our detections from `least` up in its form: corner and size cut to whole pixels, each clipped."""
    outputs, side, rows = runner.invoke(image), runner.image_size, []
    for box, label, score in zip(*(outputs[f"output_{i}"][0] for i in (3, 2, 1)), strict=True):
        if score >= least:
            corner, size = np.clip(np.trunc(np.array([box[:2], box[2:] - box[:2]]) * side), 0, side)
            rows.append([runner.class_names[int(label)], float(score), *corner, *(corner + size)])
    return rows


def assert_same(answers, content, images, tolerance):
    """What scores 0.3 and more is found by both; returns how many detections that are.

    What scores about 0.3 may be shown by one and not by the other.
    """
    runner, total = TFLiteRunner(content), 0
    for found, image in zip(answers, images, strict=True):
        theirs = [[n, score, y, x, y + height, x + width] for n, score, y, x, height, width in found]
        ours = as_mediapipe_tells(runner, image, 0.3 - tolerance)
        assert unmatched(theirs, ours, tolerance) == []
        sure = [row for row in ours if row[1] >= 0.3 + tolerance]
        assert unmatched(sure, theirs, tolerance) == []
        total += len(theirs)
    return total


def test_mediapipe_finds_what_we_find(python, tmp_path):
    images = made.images(IMAGES, seed=9)
    formats = [("int8", "detection"), ("float32", "detection"), ("int8", "raw")]
    files = {f"{q}_{p}.tflite": made.file(q, p) for q, p in formats}
    # As a run ships them, with what they say of themselves inside.
    facts = FileFacts("0.1", "ab", "stretch", made.detector().class_names, image_size=made.SIDE)
    shipped = dataclasses.replace(facts, score_threshold=0.1, max_detections=25)
    files["int8_detection.tflite"] = finish(files["int8_detection.tflite"], shipped)
    files["int8_raw.tflite"] = finish(files["int8_raw.tflite"], facts)
    answers = detect(python, tmp_path, images, files)
    # Its interpreter is of another version, whose integer kernels round otherwise here and
    # there: one step of a logit is up to 0.03 of a score.
    for name, tolerance in (("int8_detection.tflite", 0.04), ("float32_detection.tflite", 1e-3)):
        total = assert_same(answers[name], files[name], images, tolerance)
        assert total > 5 * IMAGES, "next to nothing was compared"
    # MediaPipe suppresses raw heads itself, at a threshold of its own: the best of each image is there.
    raw = "int8_raw.tflite"
    for theirs, ours in zip(answers[raw], TFLiteRunner(files[raw])(images), strict=True):
        assert theirs[0][1] == pytest.approx(ours.scores[0], abs=0.04)
        assert theirs[0][0] == made.detector().class_names[ours.labels[0]]


@pytest.mark.slow
def test_mediapipe_finds_what_a_trained_student_finds(python, tmp_path):
    scenes = trained.rectangles(IMAGES, seed=2)
    images = trained.images(scenes)
    content = to_tflite(trained.detector(), "int8", trained.images(trained.rectangles(32, seed=1)))
    answers = detect(python, tmp_path, images, {"trained.tflite": content})["trained.tflite"]
    assert assert_same(answers, content, images, 0.04) >= IMAGES
    shown = [{trained.CLASSES[i] for i in scene["objects"]["label"]} for scene in scenes]
    best = [found[0][0] if found else None for found in answers]
    right = sum(label in there for label, there in zip(best, shown, strict=True))
    assert right > 0.8 * IMAGES, "the student has learned nothing"
