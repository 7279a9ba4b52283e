"""What networks doubt: each kind by hand, shared doubts, and the file for annotation tools."""

import json

import numpy as np
import pytest
from PIL import Image

from mkd_tf.data.sources.coco_json import CocoJson
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth
from mkd_tf.inspection.review import as_record, doubts_of, median_ious, merged
from mkd_tf.inspection.review_files import coco_review
from tests.inspection.made import Made, image

NAMES = ("cat", "dog")
SIZE = (100, 100)
USUAL, RECALL = np.array([0.9, 0.8]), np.array([0.9, 0.5])
CAT, DOG = (0, 10, 10, 50, 50), (1, 60, 60, 90, 90)


def truth(*objects, **details):
    return Truth.of(image("a", *objects, size=SIZE, **details))


def seen(*rows):
    """Returns detections of (label, score, y0, x0, y1, x1) in pixels."""
    boxes = np.array([row[2:] for row in rows], "float32").reshape(-1, 4) / 100
    return Detections(boxes, np.array([r[1] for r in rows], "float32"), np.array([r[0] for r in rows], int))


def doubts(objects, *rows, threshold=0.4):
    return doubts_of(objects, seen(*rows), threshold, USUAL, RECALL)


def test_agreement_is_no_doubt():
    assert not doubts(truth(CAT, DOG), (0, 0.8, 10, 10, 50, 50), (1, 0.7, 60, 60, 90, 90))


def test_an_object_without_a_label_is_missing():
    (one,) = doubts(truth(CAT), (0, 0.8, 10, 10, 50, 50), (1, 0.7, 60, 60, 90, 90), (0, 0.5, 61, 61, 90, 90))
    assert (one["kind"], one["suggested_label"]) == ("missing", 1)
    assert one["suspicion"] == pytest.approx(0.7)
    # Below the operating point nothing is shown; in an unknown area nothing is missing.
    assert not doubts(truth(CAT), (0, 0.8, 10, 10, 50, 50), (1, 0.3, 60, 60, 90, 90))
    area = truth(CAT, unknown=[[0.5, 0.5, 1, 1]])
    assert not doubts(area, (0, 0.8, 10, 10, 50, 50), (1, 0.7, 60, 60, 90, 90))


def test_another_class_is_found_in_place_of_the_label():
    (one,) = doubts(truth(CAT), (1, 0.8, 10, 10, 50, 50), (0, 0.25, 10, 10, 50, 50))
    assert (one["kind"], one["label"], one["suggested_label"]) == ("wrong class", 0, 1)
    assert one["suspicion"] == pytest.approx(0.8 * 0.75)
    # A dog lies on the cat, and the cat is found as well as it is: no doubt.
    both = truth(CAT, (1, 12, 12, 50, 50))
    assert not doubts(both, (1, 0.9, 12, 12, 50, 50), (0, 0.6, 10, 10, 50, 50))


def test_a_loose_box_is_one_that_its_class_seldom_has():
    # 40 x 40 against 40 x 24 in it: IoU 0.6, where cats usually have 0.9.
    (one,) = doubts(truth(CAT), (0, 0.8, 10, 10, 50, 34))
    assert one["kind"] == "loose box" and one["iou"] == pytest.approx(0.6, abs=1e-5)
    assert one["suspicion"] == pytest.approx(0.8 * (1 - 0.6 / 0.9), abs=1e-5)


def test_nothing_is_found_where_a_label_is():
    (one,) = doubts(truth(CAT), (0, 0.1, 10, 10, 50, 50))
    assert one["kind"] == "nothing there" and one["suspicion"] == pytest.approx(0.9 * 0.75, abs=1e-5)
    assert not doubts(truth(CAT, is_difficult=np.array([True])))


def test_how_well_a_class_is_found():
    images = [truth(CAT, DOG), truth(CAT)]
    found = [seen((0, 0.9, 10, 10, 50, 50), (1, 0.9, 60, 60, 90, 78)), seen((0, 0.1, 10, 10, 50, 50))]
    usual, recall = median_ious(images, found, 0.4, 2)
    np.testing.assert_allclose(usual, [1.0, 0.6], atol=1e-5)
    np.testing.assert_allclose(recall, [0.5, 1.0])


def test_shared_doubts_weigh_more():
    objects = truth(CAT)
    teacher = doubts(objects, (0, 0.8, 10, 10, 50, 50), (1, 0.7, 60, 60, 90, 90))
    student = doubts(objects, (0, 0.8, 10, 10, 50, 50), (1, 0.5, 60, 62, 90, 90), (0, 0.6, 5, 70, 20, 90))
    both = merged({"teacher": teacher, "student": student})
    assert [(d["networks"], round(d["suspicion"], 3)) for d in both] == [
        (["teacher", "student"], 0.6),
        (["student"], 0.3),
    ]


def test_a_review_can_be_read_as_coco(tmp_path):
    names = [f"{i}.png" for i in range(8)]
    for name in names:
        Image.new("RGB", SIZE, (7 * int(name[0]), 0, 90)).save(tmp_path / name)
    dataset = Made(NAMES, train=[image(name, CAT, DOG, size=SIZE) for name in names])
    objects = truth(CAT, DOG)
    found = merged(
        {
            "teacher": doubts(
                objects, (1, 0.8, 10, 10, 50, 50), (1, 0.7, 60, 60, 90, 90), (0, 0.6, 5, 70, 20, 90)
            )
        }
    )
    records = [as_record(doubt, "train", name, NAMES) for name in names for doubt in found]
    review = {
        "dataset": "x",
        "networks": {"teacher": "t"},
        "images": 8,
        "labels": 16,
        "counts": {},
        "doubts": records,
    }
    content = coco_review(review, dataset)
    (tmp_path / "review.json").write_text(json.dumps(content))
    wrong = next(a for a in content["annotations"] if a.get("attributes", {}).get("annotation"))
    labels = {a["id"]: a for a in content["annotations"]}
    assert (
        labels[wrong["attributes"]["annotation"]]["category_id"] == 1
        and wrong["attributes"]["suggested"] == "dog"
    )
    read = CocoJson(tmp_path, tmp_path / "review.json", fractions=(0.5, 0.25, 0.25))
    assert read.class_names[:2] == NAMES and "review: missing" in read.class_names
    element = read.split("train")[0]
    np.testing.assert_allclose(element["objects"]["bbox"][0] * 100, CAT[1:], atol=0.01)
    assert len(element["objects"]["label"]) == 4
