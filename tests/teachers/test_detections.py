"""Files of predictions: which image, which class, which unit; and what is refused."""

import json
import tracemalloc

import numpy as np
import pytest

from mkd_tf import schemas
from mkd_tf.checks import MkdError
from mkd_tf.schemas.training import DetectionsFile
from mkd_tf.teachers import TEACHERS, TeacherImage
from mkd_tf.teachers.coco_rows import read_rows

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]


def image(name, size=(50, 100), file_name=None):
    return TeacherImage(name, name if file_name is None else file_name, size, lambda: 1 / 0)


def row(image_id=1, category_id=3, bbox=(10, 5, 20, 30), score=0.9):
    return {"image_id": image_id, "category_id": category_id, "bbox": list(bbox), "score": score}


def listing(*names, size=(50, 100)):
    sizes = {"height": size[0], "width": size[1]}
    images = [{"id": i + 1, "file_name": name, **sizes} for i, name in enumerate(names)]
    return {"images": images, "categories": CATEGORIES, "annotations": [{"bbox": [1, 2, 3, 4]}]}


@pytest.fixture
def teacher(tmp_path):
    """Makes a teacher of rows, and of a list of images if there is one."""

    def make(rows, images=None, **arguments):
        path = tmp_path / "predictions.json"
        path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
        if images is not None:
            (tmp_path / "instances.json").write_text(json.dumps(images))
            arguments["images"] = str(tmp_path / "instances.json")
        return TEACHERS["detections"](str(path), **arguments)

    return make


def test_boxes_scores_and_labels(teacher):
    made = teacher([row(score=0.5), row(category_id=7, bbox=(0, 0, 100, 50), score=1)], listing("a.jpg"))
    assert made.class_names == ("cat", "dog") and not made.needs_pixels and made.name == "predictions"
    (found,) = made.detect([image("a.jpg")])
    np.testing.assert_allclose(found.boxes, [[0, 0, 1, 1], [0.1, 0.1, 0.7, 0.3]], rtol=1e-6)
    assert found.scores.tolist() == [1, 0.5] and found.labels.tolist() == [1, 0]
    assert made.notes() == ["2 detections in 1 images, 2 classes"]


def test_a_missing_image_is_not_an_image_without_objects(teacher):
    images = [image("a.jpg"), image("b.jpg"), image("c.jpg")]
    known = listing("a.jpg", "b.jpg")
    assert [x is not None for x in teacher([row()], known).detect(images)] == [True, False, False]
    found = teacher([row()], known, empty=True).detect(images)
    assert [x if x is None else len(x) for x in found] == [1, 0, None]


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        ("a.jpg", ("a.jpg", "a.jpg")),
        ("train/a.jpg", ("a.jpg", "a.jpg")),
        ("a.jpg", ("train/a.jpg", "train/a.jpg")),
        ("a.jpg", ("a", "")),
        ("img.v2.jpg", ("img.v2", "")),
        (".\\x\\a.jpg", ("x/a.jpg", "x/a.jpg")),
        ("a.jpg", ("1", "")),
    ],
)
def test_images_go_by_file_names(teacher, listed, asked):
    (found,) = teacher([row()], listing(listed)).detect([image(asked[0], file_name=asked[1])])
    assert found is not None and len(found) == 1


def test_an_id_does_not_decide_where_a_file_name_does(teacher):
    made = teacher([row(1), row(2, bbox=(1, 1, 9, 9))], listing("2.jpg", "1.jpg"))
    (found,) = made.detect([image("1", file_name="1.jpg")])
    np.testing.assert_allclose(found.boxes[0], [0.02, 0.01, 0.2, 0.1], rtol=1e-5)
    assert made.detect([image("1", file_name="3.jpg")]) == [None]


@pytest.mark.parametrize(
    ("key", "asked"), [("a.jpg", "a.jpg"), ("a", "a.jpg"), (397133, "000000397133.jpg"), (7, "7")]
)
def test_without_a_list_ids_are_names(teacher, key, asked):
    made = teacher([row(key)], classes={3: "cat"})
    assert made.detect([image(asked)])[0] is not None and made.detect([image("b8.jpg")]) == [None]


def test_ambiguous_names_are_refused(teacher):
    made = teacher([row(1), row(2)], listing("x/a.jpg", "y/a.jpg"))
    assert made.detect([image("x/a.jpg"), image("y/a.jpg")])[0] is not None
    with pytest.raises(MkdError, match=r"images 1 and 2 for a.jpg"):
        made.detect([image("a.jpg")])
    made = teacher([row(1)], listing("a.jpg"))
    with pytest.raises(MkdError, match=r"image 1 for x/a.jpg and y/a.jpg"):
        made.detect([image("x/a.jpg"), image("y/a.jpg")])


def test_sizes_of_another_data_set_are_refused(teacher):
    made = teacher([row()], listing("a.jpg", size=(50, 100)))
    assert len(made.detect([image("a.jpg", (500, 1000))])[0]) == 1  # A scaled copy.
    with pytest.raises(MkdError, match=r"got 100x50 in the list of images, 50x100.*EXIF orientation"):
        teacher([row()], listing("a.jpg")).detect([image("a.jpg", (100, 50))])
    with pytest.raises(MkdError, match="Give the predictions of this data set"):
        teacher([row()], listing("a.jpg")).detect([image("a.jpg", (60, 100))])


def test_two_corners_are_not_taken_for_a_size(teacher):
    rows = [row(f"{i}.jpg", bbox=(60, 10, 95, 45)) for i in range(12)]
    made = teacher(rows, classes={3: "cat"})
    with pytest.raises(MkdError, match=r"got 10 of 10 boxes that leave.*not two corners"):
        for i in range(12):
            made.detect([image(f"{i}.jpg")])
    # Sizes in a list say it at once.
    with pytest.raises(MkdError, match=r"got 1 of 1 boxes that leave"):
        teacher([row(bbox=(60, 10, 95, 45))], listing("a.jpg"))
    # A box or two may reach out of an image.
    rows = [row("0.jpg", bbox=(60, 10, 55, 45)), *(row("0.jpg", bbox=(1, 1, 9, 9)) for _ in range(5))]
    (found,) = teacher(rows, classes={3: "cat"}).detect([image("0.jpg")])
    assert len(found) == 6 and found.boxes.max() == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(bbox=(0.1, 0.1, 0.3, 0.2))], "boxes in pixels.*reach 0.4, so fractions. Multiply"),
        ([row(score=float("nan"))], "1 times its score is not a finite number"),
        ([row(score=93)], r"not within 0..1\):\n  row 0: .*'score': 93"),
        ([{k: v for k, v in row().items() if k != "score"}], "it has no score"),
        ([row(bbox=(1, 2, 3))], "its bbox is not four finite numbers"),
        ([row(bbox=(1, 2, float("inf"), 3))], "its bbox is not four finite numbers"),
        ([row(bbox=(1, 2, -3, 3))], "negative width or height"),
        ([row(image_id=None)], "image_id is neither"),
        ([row(category_id="cat")], "its category_id is not an integer"),
        ([[1, 2]], "it is no object"),
        ([row(9), row(8)], "ids of images that .* lists, as 1, got 9, 8"),
        ([row(category_id=5)], "category ids among 3, 7, got 5"),
        ([], "expected detections, got none"),
        ("", "got an empty file"),
        ("[" + json.dumps(row()) + ", " + json.dumps(row())[:40], "truncated file: 1 whole rows, then"),
        ("[" + json.dumps(row()), "truncated file: 1 whole rows"),
        ("[" + json.dumps(row()) + ", {oops}]", "damaged file: 1 whole rows"),
        (
            {"annotations": [], "images": [], "categories": []},
            r"images=., got another JSON object|got another",
        ),
    ],
)
def test_bad_files_are_refused_with_what_is_wrong(teacher, rows, message):
    with pytest.raises(MkdError, match=message):
        teacher(rows, listing("a.jpg"))


def test_bad_rows_can_be_left_out_and_are_counted(teacher):
    rows = [row(), row(score=float("nan")), row(score=float("nan")), row(bbox=(1, 2, -1, 3)), row(66)]
    made = teacher(rows, listing("a.jpg"), on_bad_rows="skip")
    assert made.notes()[0] == "2 detections in 2 images, 2 classes"
    assert (
        "3 rows are left out: 2 times its score is not a finite number, 1 times its bbox" in made.notes()[1]
    )
    assert "1 image ids are not in instances.json: 66" in made.notes()[2]
    assert len(made.detect([image("a.jpg")])[0]) == 1


def test_names_of_categories_must_come_from_somewhere(teacher):
    with pytest.raises(MkdError, match=r"names of the categories, got category ids alone \(3\)"):
        teacher([row()])
    assert teacher([row(category_id=18)], classes="coco").class_names[16] == "dog"


def test_missing_files(teacher, tmp_path):
    with pytest.raises(MkdError, match="expected a file, got No such file"):
        TEACHERS["detections"](str(tmp_path / "none.json"), classes="coco")
    with pytest.raises(MkdError, match="images .*none.json: expected a file"):
        TEACHERS["detections"](str(tmp_path / "none.json"), images=str(tmp_path / "none.json"))


def test_the_fingerprint_follows_files_and_settings(teacher):
    first = teacher([row()], listing("a.jpg")).fingerprint()
    assert teacher([row()], listing("a.jpg")).fingerprint() == first
    assert teacher([row(score=0.8)], listing("a.jpg")).fingerprint() != first
    assert teacher([row()], listing("b.jpg")).fingerprint() != first
    assert teacher([row()], listing("a.jpg"), empty=True).fingerprint() != first


def test_rows_are_read_in_bounded_memory(tmp_path):
    path, count = tmp_path / "many.json", 8_000
    one = json.dumps(row() | {"segmentation": {"counts": "x" * 2500, "size": [1, 2]}})
    path.write_text("[" + ",\n".join([one] * count) + "]")
    tracemalloc.start()
    rows = read_rows(path, "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows.scores) == count and rows.keys == (1,)
    # 32 bytes a row, and pieces of text: less than half of the file.
    assert peak < 8 * 2**20 < path.stat().st_size / 2


def test_detections_of_predict_are_read_as_they_are(tmp_path):
    found = {"label": "dog", "score": 0.75, "box": [5.0, 10.0, 25.0, 50.0]}
    shown = {"file": "a.jpg", "drawn": "a.png", "height": 50, "width": 100, "detections": [found]}
    content = {"class_names": ["cat", "dog"], "score_threshold": 0.3, "images": [shown], "failed": []}
    content["images"].append(shown | {"file": "b.jpg", "detections": []})
    schemas.write(tmp_path / "detections.json", content, DetectionsFile)
    teacher = TEACHERS["detections"](str(tmp_path / "detections.json"))
    assert teacher.class_names == ("cat", "dog")
    assert teacher.notes() == [
        "1 detections in 2 images, 2 classes",
        "nothing below a score of 0.3 is in the file",
    ]
    first, second, none = teacher.detect([image("a.jpg"), image("b.jpg"), image("c.jpg")])
    np.testing.assert_allclose(first.boxes, [[0.1, 0.1, 0.5, 0.5]], rtol=1e-6)
    assert (first.labels.tolist(), len(second), none) == ([1], 0, None)
