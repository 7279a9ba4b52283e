"""What Coral's documented Python client makes of our int8 file, and what `export/coral/detect.py` does.

The rules are those of pycoral's documentation of `get_objects` and `set_resized_input`:
one signature with `output_0` count, `output_1` scores, `output_2` classes and
`output_3` boxes as fractions of the input; a client before signatures reads boxes,
classes, scores and count by position. They are written anew here.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from mkd_tf.conversion.tflite.runner import TFLiteRunner
from mkd_tf.data.image_files import fit_image, read_image
from mkd_tf.evaluation.runners import on_original
from tests.conversion import made

DETECT = Path(__file__).resolve().parents[3] / "export/coral/detect.py"
IMAGES = 6


class Found(NamedTuple):
    id: int
    score: float
    box: tuple  # xmin, ymin, xmax, ymax in whole pixels


@pytest.fixture(scope="module")
def interpreter():
    opened = Interpreter(model_content=made.file("int8"))
    opened.allocate_tensors()
    return opened


def tensors_by_signature(interpreter):
    """Count, scores, classes and boxes where there is one signature; else Coral's client raises."""
    (signature,) = interpreter._get_full_signature_list().values()
    return [interpreter.get_tensor(signature["outputs"][f"output_{i}"]) for i in range(4)]


def tensors_by_position(interpreter):
    boxes, classes, scores, count = (
        interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()
    )
    assert count.size == 1, "by this a client tells the order"
    return [count, scores, classes, boxes]


def get_objects(interpreter, tensors, threshold, image_scale=(1.0, 1.0)):
    """What `get_objects` is documented to return, boxes in pixels of the image that was resized."""
    count, scores, classes, boxes = tensors(interpreter)
    _, height, width, _ = interpreter.get_input_details()[0]["shape"]
    across, down = width / image_scale[0], height / image_scale[1]
    found = []
    for i in range(int(count[0])):
        ymin, xmin, ymax, xmax = (float(x) for x in boxes[0][i])
        box = int(xmin * across), int(ymin * down), int(xmax * across), int(ymax * down)
        if scores[0][i] >= threshold:
            found.append(Found(int(classes[0][i]), float(scores[0][i]), box))
    return found


def set_resized_input(interpreter, image):
    """Documented: scaled to fit, top left, the rest zero; returns the scale."""
    entry = interpreter.get_input_details()[0]
    _, height, width, _ = entry["shape"]
    scale = min(width / image.width, height / image.height)
    size = int(image.width * scale), int(image.height * scale)
    pixels = np.zeros(entry["shape"], np.uint8)
    pixels[0, : size[1], : size[0]] = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    interpreter.set_tensor(entry["index"], pixels)
    return scale, scale


def as_found(detections, height, width):
    """Our detections in the form of Coral's client."""
    pixels = (detections.boxes.astype("float64") * [height, width, height, width]).astype(int).tolist()
    labels, scores = detections.labels.tolist(), detections.scores.tolist()
    rows = zip(labels, scores, pixels, strict=True)
    return [Found(label, score, (xmin, ymin, xmax, ymax)) for label, score, (ymin, xmin, ymax, xmax) in rows]


def assert_same(theirs, ours, tolerance):
    """Same objects in the same order, corners within `tolerance` pixels."""
    assert [f.id for f in theirs] == [f.id for f in ours]
    np.testing.assert_allclose([f.score for f in theirs], [f.score for f in ours], atol=1e-6)
    boxes = [np.array([f.box for f in found]).reshape(-1, 4) for found in (theirs, ours)]
    np.testing.assert_allclose(*boxes, atol=tolerance)


def test_the_form_of_the_file(interpreter):
    (entry,) = interpreter.get_input_details()
    assert entry["dtype"] == np.uint8 and entry["shape"].tolist() == [1, made.SIDE, made.SIDE, 3]
    signatures = interpreter._get_full_signature_list()
    assert len(signatures) == 1, "with two, Coral's client raises"
    (signature,) = signatures.values()
    assert sorted(signature["outputs"]) == ["output_0", "output_1", "output_2", "output_3"]
    details = {d["index"]: d for d in interpreter.get_output_details()}
    shapes = [details[signature["outputs"][f"output_{i}"]]["shape"].tolist() for i in range(4)]
    assert shapes == [[1], [1, 100], [1, 100], [1, 100, 4]]
    assert {d["dtype"] for d in details.values()} == {np.float32}


@pytest.mark.parametrize("tensors", [tensors_by_signature, tensors_by_position])
def test_get_objects_gives_our_detections(interpreter, tensors):
    runner, total = TFLiteRunner(made.file("int8")), 0
    entry = interpreter.get_input_details()[0]
    for image in made.images(IMAGES, seed=5):
        interpreter.set_tensor(entry["index"], image[None])
        interpreter.invoke()
        theirs = get_objects(interpreter, tensors, 0.3)
        # Ours are clipped to the image, Coral's are not.
        theirs = [f._replace(box=tuple(np.clip(f.box, 0, made.SIDE).tolist())) for f in theirs]
        (ours,) = runner(image[None])
        assert_same(theirs, as_found(ours.above(0.3), made.SIDE, made.SIDE), 0)
        assert [f.score for f in theirs] == sorted((f.score for f in theirs), reverse=True)
        total += len(theirs)
    assert total > 5 * IMAGES, "next to nothing was compared"


def test_a_letterboxed_image_is_ours_too(interpreter):
    runner, total = TFLiteRunner(made.file("int8")), 0
    for width, height in ((96, 48), (48, 96)):
        image = Image.fromarray(made.images(1, seed=width)[0]).resize((width, height))
        scale = set_resized_input(interpreter, image)
        interpreter.invoke()
        theirs = get_objects(interpreter, tensors_by_signature, 0.3, scale)
        found = runner(fit_image(np.asarray(image), made.SIDE, "letterbox")[None])[0]
        ours = as_found(on_original(found, (height, width), "letterbox").above(0.3), height, width)
        # Coral's client keeps what lies in the padding; clipping gives it no area.
        limits = [width, height, width, height]
        theirs = [f._replace(box=tuple(np.clip(f.box, 0, limits).tolist())) for f in theirs]
        in_padding = len(theirs) - len(ours)
        theirs = [f for f in theirs if f.box[0] < f.box[2] and f.box[1] < f.box[3]]
        assert in_padding >= 0
        assert_same(theirs, ours, 1)
        total += len(theirs)
    assert total > 5, "next to nothing was compared"


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_the_boards_program_gives_our_detections(tmp_path, fit):
    (tmp_path / "model.tflite").write_bytes(made.file("int8"))
    (tmp_path / "images").mkdir()
    for number, size in enumerate([(64, 64), (150, 90), (90, 151), (64, 20)]):
        image = Image.fromarray(made.images(1, seed=20 + number)[0])
        image.resize(size).save(tmp_path / "images" / f"{number}.png")
    command = ["--model", "model.tflite", "--input", "images", "--output", "drawn", "--json"]
    child = subprocess.run(
        [sys.executable, DETECT, *command, "--fit", fit, "--threshold", "0.25"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    told = [json.loads(line) for line in child.stdout.splitlines()]
    assert [t["image"] for t in told] == ["0.png", "1.png", "2.png", "3.png"]
    runner = TFLiteRunner(made.file("int8"))
    for entry in told:
        image = read_image(tmp_path / "images" / entry["image"])
        height, width = image.shape[:2]
        assert (entry["height"], entry["width"]) == (height, width)
        fitted = runner(fit_image(image, runner.image_size, fit)[None])[0]
        ours = on_original(fitted, (height, width), fit).above(0.25)
        assert [d["class"] for d in entry["detections"]] == ours.labels.tolist()
        assert [d["label"] for d in entry["detections"]] == [runner.class_names[i] for i in ours.labels]
        np.testing.assert_allclose([d["score"] for d in entry["detections"]], ours.scores, atol=6e-5)
        pixels = ours.boxes.astype("float64") * [height, width, height, width]
        np.testing.assert_allclose([d["box"] for d in entry["detections"]], pixels, atol=0.006)
    assert sum(len(t["detections"]) for t in told) > 20, "next to nothing was compared"
