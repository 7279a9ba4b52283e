"""Each preset on a stub of its documented contract, with traps: right, or refused."""

from pathlib import Path

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.teachers import TEACHERS
from mkd_tf.teachers.class_names import COCO_IDS
from mkd_tf.teachers.presets import PRESETS
from tests.teachers import stubs

RGB = (0.8, 0.4, 0.2)
NAMES = ("person", "car", "dog")


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, "float64")))


def found_by(spec, path, **arguments):
    teacher = TEACHERS[spec](path=path, **arguments)
    (found,) = teacher.detect([stubs.image()])
    scores = {}
    for label, score in zip(found.labels, found.scores.tolist(), strict=True):
        scores.setdefault(teacher.class_names[label], score)  # The best of each class.
    return scores, found


def refused(match, spec, path, **arguments):
    with pytest.raises(MkdError, match=match):
        found_by(spec, path, **arguments)


BOXES = np.array([[32, 32, 16, 8], [33, 32, 16, 8], [8, 40, 4, 4]], "float32")


def test_yolov8_is_letterboxed_and_suppressed(tmp_path):
    path = stubs.yolo(tmp_path / "y.onnx", NAMES, BOXES)
    scores, found = found_by("onnx", path, outputs="yolov8")
    expected = stubs.letterboxed(RGB)
    assert scores == pytest.approx(dict(zip(NAMES, expected, strict=True)), abs=0.005)
    # 100 x 50 becomes 64 x 32 in rows 16 to 48: centre (32, 32) is that of the image; 16 x 8
    # pixels of the input are a quarter of its width and of its height.
    np.testing.assert_allclose(found.boxes[0], [0.375, 0.375, 0.625, 0.625], atol=1e-6)
    assert (np.diff(found.scores) <= 0).all()


def test_yolov8_keeps_the_better_of_two_boxes_of_a_place(tmp_path):
    boxes = np.repeat(BOXES[:1], 2, axis=0)
    constants, nodes = stubs.joined(boxes, 0, axis=1)
    constants["rest"] = np.full((1, 1, 3), 0.9, "float32")
    path = stubs.network(tmp_path / "y.onnx", constants, nodes, {"output0": [1, 7, 2]})
    scores, found = found_by("onnx", path, outputs="yolov8", classes="person, car, dog", size=64)
    assert len(found) == 3
    assert scores == pytest.approx(dict.fromkeys(NAMES, 0.9))


def test_yolov8_takes_permuted_names_from_the_file(tmp_path):
    path = stubs.yolo(tmp_path / "y.onnx", ("dog", "person", "car"), BOXES)
    scores, _ = found_by("onnx", path, outputs="yolov8")
    assert list(scores) == ["dog", "person", "car"]


def test_four_classes_are_not_taken_for_four_coordinates(tmp_path):
    eight = np.concatenate([BOXES, BOXES + 4, BOXES[:2] + 8])
    path = stubs.yolo(tmp_path / "y.onnx", (*NAMES, "cat"), eight)  # [1, 8, 8]
    scores, found = found_by("onnx", path, outputs="yolov8")
    assert set(scores) == set(NAMES)
    np.testing.assert_allclose(found.boxes[0], [0.375, 0.375, 0.625, 0.625], atol=1e-6)


def test_yolov8_of_another_layout_is_refused(tmp_path):
    constants, nodes = stubs.joined(BOXES, 2, axis=2)  # [1, N, 4 + C]
    metadata = {"names": str(dict(enumerate("abcde")))}
    path = stubs.network(tmp_path / "y.onnx", constants, nodes, {"output0": [1, 3, 9]}, metadata=metadata)
    refused(
        r"rows: expected \[9, N\]: 4 coordinates and 5 scores of each box, got \[3, 9\]",
        "onnx",
        path,
        outputs="yolov8",
    )
    refused(
        "Correct classes=",
        "onnx",
        stubs.yolo(tmp_path / "z.onnx", NAMES, BOXES),
        outputs="yolov8",
        classes="coco",
    )


def test_yolo26_rows(tmp_path):
    def rows(label):
        return stubs.yolo26(tmp_path / f"{label}.onnx", NAMES, label)

    scores, found = found_by("onnx", rows(2), outputs="yolo26")
    assert scores == pytest.approx({"dog": stubs.letterboxed(RGB)[0]}, abs=0.005)
    np.testing.assert_allclose(found.boxes, [[0.375, 0.375, 0.625, 0.625]], atol=1e-6)
    refused("classes from 0 to 2, got class 3", "onnx", rows(3), outputs="yolo26")
    refused(r"rows: expected \[7, N\]", "onnx", rows(2), outputs="yolov8")


def test_yolov5_multiplies_by_objectness(tmp_path):
    constants, nodes = stubs.joined(BOXES, 0, axis=2)
    path = stubs.network(tmp_path / "y.onnx", constants, nodes, {"output0": [1, 3, 7]})
    scores, _ = found_by("onnx", path, outputs="yolov5", classes="car, dog", size=64)
    red, green, blue = stubs.letterboxed(RGB)
    assert scores == pytest.approx({"car": red * green, "dog": red * blue}, abs=0.005)


def test_rf_detr_has_cocos_ids(tmp_path):
    path = stubs.detr(tmp_path / "r.onnx", 91, place=13, swapped=True)
    scores, found = found_by("onnx", path, outputs="rf_detr", classes="coco")
    logits = (np.array(RGB) - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    assert scores == pytest.approx(
        dict(zip((COCO_IDS[i] for i in (13, 14, 15)), sigmoid(logits), strict=True)), abs=0.005
    )
    assert list(scores)[0] == "stop sign"
    np.testing.assert_allclose(found.boxes[0], [0.3, 0.4, 0.7, 0.6], atol=1e-6)  # stretched


def test_rf_detr_with_three_classes_must_say_where_its_background_is(tmp_path):
    path = stubs.detr(tmp_path / "r.onnx", 4, place=0)
    names = ", ".join(NAMES)
    refused("background='first' or background='last'", "onnx", path, outputs="rf_detr", classes=names)
    scores, _ = found_by("onnx", path, outputs="rf_detr", classes=names, background="last")
    assert max(scores, key=scores.get) == "person" and len(scores) == 3
    scores, _ = found_by("onnx", path, outputs="rf_detr", classes=names, background="first")
    assert set(scores) == {"person", "car"}
    refused("names of the classes, got none in the file", "onnx", path, outputs="rf_detr")


def test_rt_detr_is_told_the_size_of_the_original(tmp_path):
    path = stubs.rt_detr(tmp_path / "d.onnx", label=17)
    for preset in ("d_fine", "rt_detr"):
        scores, found = found_by("onnx", path, outputs=preset, classes="coco")
        assert scores == pytest.approx({"horse": 0.8}, abs=0.005)  # class 17 of 0 to 79, not id 17, a cat
        np.testing.assert_allclose(found.boxes, [[0.1, 0.25, 0.9, 0.75]], atol=1e-6)


def test_names_in_place_of_a_preset(tmp_path):
    path = stubs.detr(tmp_path / "r.onnx", 4, place=1)
    arguments = {"boxes": "dets", "scores": "labels", "classes": "x, y, z", "box_format": "cxcywh"}
    four = arguments | {"classes": "x, y, z, v"}
    refused("scores in 0..1, got scores in -9", "onnx", path, **four)
    given = {"divide": 255.0, "activation": "softmax", "background": "first"}
    refused("5 scores", "onnx", path, **four | given)
    scores, _ = found_by("onnx", path, **arguments, **given)
    powers = np.exp([-9, *RGB])
    assert scores == pytest.approx(dict(zip("xyz", (powers / powers.sum())[1:], strict=True)), abs=0.005)


def test_blue_before_red(tmp_path):
    path = stubs.detr(tmp_path / "r.onnx", 3, place=0)
    arguments = {"boxes": "dets", "scores": "labels", "classes": "x, y, z", "activation": "sigmoid"}
    refused("corners in order, got 1 of 1 boxes", "onnx", path, **arguments, channels="bgr", divide=255.0)
    arguments["box_format"] = "cxcywh"
    scores, _ = found_by("onnx", path, **arguments, channels="bgr", divide=255.0)
    assert [scores[name] for name in "zyx"] == pytest.approx(sigmoid(RGB).tolist(), abs=0.005)


def test_letterbox_at_the_top_left(tmp_path):
    path = stubs.detr(tmp_path / "r.onnx", 3, place=0, box=(0.5, 0.25, 0.2, 0.1))
    arguments = {"boxes": "dets", "scores": "labels", "classes": "x, y, z", "activation": "sigmoid"}
    scores, found = found_by(
        "onnx", path, **arguments, divide=255.0, resize="letterbox", box_format="cxcywh", padding=255
    )
    assert scores["x"] == pytest.approx(sigmoid(stubs.letterboxed(RGB, padding=1.0)[0]), abs=0.005)
    np.testing.assert_allclose(found.boxes[0], [0.4, 0.4, 0.6, 0.6], atol=1e-6)


def test_units_that_contradict_the_boxes_are_refused(tmp_path):
    path = stubs.yolo(tmp_path / "y.onnx", NAMES, BOXES)
    refused("boxes as fractions, got a coordinate of 40", "onnx", path, outputs="yolov8", box_unit="fraction")
    many = np.tile(BOXES / 64, (40, 1))
    path = stubs.yolo(tmp_path / "z.onnx", NAMES, many)
    refused("boxes in pixels, got coordinates up to 0.6", "onnx", path, outputs="yolov8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"outputs= one of yolov8, .*, got ''; the file has output0 float32 \[1, 7, 3\]"),
        ({"outputs": "yolo99"}, "outputs= one of"),
        ({"outputs": "ssd"}, "outputs= one of"),
        ({"outputs": "rf_detr"}, "an output called 'dets' for boxes, got output0"),
        ({"outputs": "yolov8", "image": "input"}, "inputs input, got images float32"),
        ({"outputs": "yolov8", "size": 320}, r"size: expected \[64, 64\], got 320"),
        ({"outputs": "yolov8", "box": "xyxy"}, "settings among form, image"),
        ({"outputs": "yolov8", "box_format": "corners"}, "one of yxyx"),
        ({"boxes": "output0", "scores": "output0"}, "boxes: expected"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_there_is(tmp_path, arguments, message):
    path = stubs.yolo(tmp_path / "y.onnx", NAMES, BOXES)
    refused(message, "onnx", path, **arguments)


def test_an_input_of_two_layouts_is_refused(tmp_path):
    path = stubs.yolo(tmp_path / "y.onnx", NAMES, BOXES, shape=(1, 3, 64, 3))
    refused("an input .1, 3, height, width. or", "onnx", path, outputs="yolov8")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    refused("not a readable ONNX file", "onnx", str(tmp_path / "broken.onnx"), outputs="yolov8")
    refused("no such file", "onnx", str(tmp_path / "none.onnx"), outputs="yolov8")


def test_a_free_size_must_be_given(tmp_path):
    constants, nodes = stubs.joined(BOXES, 0, axis=1)
    shape = (1, 3, "height", "width")
    path = stubs.network(tmp_path / "y.onnx", constants, nodes, {"output0": [1, 7, 3]}, shape=shape)
    refused("the size of the input", "onnx", path, outputs="yolov8", classes=NAMES)
    scores, _ = found_by("onnx", path, outputs="yolov8", classes=NAMES, size=64)
    assert scores == pytest.approx(dict(zip(NAMES, stubs.letterboxed(RGB), strict=True)), abs=0.005)


def test_not_a_number_is_refused(tmp_path):
    broken = np.full_like(BOXES, np.nan)
    refused(
        "finite outputs, got NaN", "onnx", stubs.yolo(tmp_path / "y.onnx", NAMES, broken), outputs="yolov8"
    )


def test_every_preset_has_a_test():
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in PRESETS if f'"{name}"' not in text] == []
