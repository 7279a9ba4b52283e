"""The program predict: every good image drawn, every bad one reported, no original touched."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mkd_tf.checks import MkdError
from mkd_tf.detection.postprocess import Detections, PostprocessConfig
from mkd_tf.detectors import Tiny
from mkd_tf.evaluation.predicting import find_images, predict_folder
from mkd_tf.evaluation.runners import KerasRunner


class Half:
    """Finds one object in the left half of every image, and one it is not sure of."""

    image_size = 32
    class_names = ("cell", "plate")

    def __init__(self):
        self.shapes = []

    def __call__(self, images):
        self.shapes.append(images.shape)
        boxes = np.array([[0, 0, 0.5, 0.25], [0, 0, 1, 1]], "float32")
        return [Detections(boxes, np.array([0.875, 0.25], "float32"), np.array([1, 0], "int32"))] * len(
            images
        )


def save(path, height=50, width=100):
    Image.fromarray(np.full((height, width, 3), 200, "uint8")).save(path)


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "in"
    images.mkdir()
    save(images / "b.png")
    save(images / "a.JPG")
    save(images / "a.png", 40, 40)
    (images / "notes.txt").write_text("no image")
    (images / ".hidden.png").write_text("no image")
    (images / "deeper").mkdir()
    return images


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def test_images_and_a_list_come_out(folder, tmp_path, console):
    runner, out = Half(), tmp_path / "out"
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    assert predict_folder(runner, folder, out, console=console) == []
    # Two images called a: neither drawing overwrites the other.
    assert sorted(p.name for p in out.iterdir()) == ["a.JPG.png", "a.png.png", "b.png", "detections.json"]
    with Image.open(out / "b.png") as drawn:
        assert drawn.size == (640, 320)
    assert runner.shapes == [(1, 32, 32, 3)] * 3
    listed = json.loads((out / "detections.json").read_text())
    assert (listed["schema"], listed["class_names"], listed["failed"]) == (1, ["cell", "plate"], [])
    assert [len(p["detections"]) for p in listed["images"]] == [1, 1, 1]
    assert listed["images"][2] == {
        "file": "b.png",
        "drawn": "b.png",
        "height": 50,
        "width": 100,
        "detections": [{"label": "plate", "score": 0.875, "box": [0, 0, 25, 25]}],
    }
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


@pytest.mark.parametrize(
    ("names", "drawn"),
    [
        (["a.jpg", "a.jpg.png", "a.png", "b.gif"], ["a.jpg.png", "a.jpg.png.png", "a.png.png", "b.png"]),
        (["A.jpg.png", "a.jpg", "a.png"], ["A.jpg.png", "a.jpg.2.png", "a.png.png"]),
        (["A.JPG", "A.jpg"], ["A.JPG.png", "A.jpg.2.png"]),
    ],
)
def test_each_drawing_has_a_name_of_its_own(tmp_path, console, names, drawn):
    """On a disk that ignores case too."""
    (tmp_path / "in").mkdir()
    for name in names:
        save(tmp_path / "in" / name)
    if len(find_images(tmp_path / "in")) < len(names):
        pytest.skip("this disk ignores case")
    predict_folder(Half(), tmp_path / "in", tmp_path / "out", console=console)
    listed = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
    assert [(p["file"], p["drawn"]) for p in listed] == list(zip(names, drawn, strict=True))
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == sorted(drawn)


def test_letterboxed_boxes_come_back(folder, tmp_path, console):
    predict_folder(Half(), folder / "b.png", tmp_path / "out", fit="letterbox", console=console)
    listed = json.loads((tmp_path / "out" / "detections.json").read_text())
    # Half the square's height is the whole of an image twice as wide as high.
    assert [p["detections"][0]["box"] for p in listed["images"]] == [[0, 0, 50, 25]]


def test_a_bad_image_is_reported_and_passed_over(folder, tmp_path, console):
    (folder / "a.png").write_bytes((folder / "b.png").read_bytes()[:60])
    failed = predict_folder(Half(), folder, tmp_path / "out", console=console)
    assert [failure["file"] for failure in failed] == ["a.png"]
    assert "skipped a.png" in console.file.getvalue()
    listed = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [p["file"] for p in listed["images"]] == ["a.JPG", "b.png"]
    assert listed["failed"][0]["file"] == "a.png" and listed["failed"][0]["reason"]


def test_only_bad_images_still_give_a_readable_list(tmp_path, console):
    (tmp_path / "x.png").write_bytes(b"no image")
    assert len(predict_folder(Half(), tmp_path / "x.png", tmp_path / "out", console=console)) == 1
    assert json.loads((tmp_path / "out" / "detections.json").read_text())["images"] == []


def test_a_detector_detects(folder, tmp_path, console):
    # Its first scores are 0.01.
    runner = KerasRunner(Tiny(32, ("a",)), PostprocessConfig(score_threshold=0.001))
    predict_folder(runner, folder / "b.png", tmp_path / "out", score_threshold=0.001, console=console)
    (image,) = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
    assert image["detections"]


def test_what_is_not_read_is_named(folder, tmp_path, console):
    for name in ("deeper/x.png", "deeper/y.jpg"):
        save(folder / name)
    (folder / "z.heic").touch()
    predict_folder(Half(), folder, folder / "out", console=console)
    for _ in range(2):  # the drawings of the first run are no input of the second
        predict_folder(Half(), folder, folder / "out", console=console)
    said = console.file.getvalue()
    assert f"{folder.name}/: images in sub-folders are not read (deeper/x.png, deeper/y.jpg)" in said
    assert f"{folder.name}/: files of .heic are not read (z.heic)" in said
    assert f"{folder.name}/: files of .txt are not read (notes.txt)" in said
    assert "out/" not in said


def test_mistakes_are_told(folder, tmp_path, console):
    with pytest.raises(MkdError, match="got nothing there"):
        find_images(tmp_path / "missing")
    with pytest.raises(MkdError, match="got an empty folder"):
        find_images(folder / "deeper")
    with pytest.raises(MkdError, match="got 1 other files"):
        find_images(folder / "notes.txt")
    for given in (folder, folder / "b.png"):
        with pytest.raises(MkdError, match="would be overwritten"):
            predict_folder(Half(), given, folder / "deeper" / "..", console=console)
    with pytest.raises(MkdError, match="score_threshold"):
        predict_folder(Half(), folder, tmp_path / "out", score_threshold=30, console=console)
    assert not (tmp_path / "out").exists()
