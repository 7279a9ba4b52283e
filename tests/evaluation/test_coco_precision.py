"""The precision of COCO, to the bit that of faster-coco-eval, which follows the reference implementation."""

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from mkd_tf.evaluation.coco_precision import Objects, precision


def theirs(truth, found, images, num_classes):
    """What faster-coco-eval says of the same objects."""

    def rows(objects, **more):
        columns = (objects.image.tolist(), objects.label.tolist(), objects.xywh.tolist())
        made = [
            {"image_id": i + 1, "category_id": c + 1, "bbox": b} for i, c, b in zip(*columns, strict=True)
        ]
        for name, values in more.items():
            made = [one | {name: value} for one, value in zip(made, values, strict=True)]
        return made

    ids, crowd = range(1, len(truth.label) + 1), truth.is_crowd.astype(int).tolist()
    data = {
        "info": {},
        "images": [{"id": i + 1, "height": 500, "width": 500} for i in range(images)],
        "categories": [{"id": i + 1, "name": str(i)} for i in range(num_classes)],
        "annotations": rows(truth, id=ids, iscrowd=crowd, area=truth.areas.tolist()),
    }
    expected = COCO(data, print_function=lambda *_: None)
    empty = [[]] * len(found.label)
    given = expected.loadRes(rows(found, score=found.scores.tolist(), segmentation=empty))
    evaluation = COCOeval_faster(expected, given, "bbox", print_function=lambda *_: None)
    evaluation.params.maxDets = [100]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"][..., 0]


def some_objects(rng, images, num_classes, objects, detections):
    """Objects of all sizes, with crowds and ignored ones; detections beside them, with equal scores."""
    xywh = np.round(
        np.concatenate([rng.uniform(0, 400, (objects, 2)), rng.uniform(5, 200, (objects, 2))], 1), 3
    )
    xywh[1::5] = xywh[::5][: len(xywh[1::5])]  # two at one place
    image, label = rng.integers(0, images, objects), rng.integers(0, num_classes, objects)
    areas = np.where(rng.uniform(size=objects) < 0.1, -1.0, xywh[:, 2] * xywh[:, 3] * 0.8)
    truth = Objects(image, label, xywh, np.zeros(objects), areas, rng.uniform(size=objects) < 0.1)
    near = rng.integers(0, objects, detections)
    moved = xywh[near] + rng.normal(0, 8, (detections, 4)) * (rng.uniform(size=(detections, 1)) < 0.8)
    moved[:, 2:] = np.maximum(moved[:, 2:], 1)
    classes = np.where(
        rng.uniform(size=detections) < 0.7, label[near], rng.integers(0, num_classes, detections)
    )
    scores = np.round(rng.uniform(0, 1, detections), 1 if objects % 2 else 6).astype("float32")
    nothing = np.zeros(detections)
    return truth, Objects(image[near], classes, moved, scores, nothing, nothing.astype(bool))


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_faster_coco_eval(seed):
    rng = np.random.default_rng(seed)
    images, num_classes = int(rng.integers(1, 12)), int(rng.integers(1, 5))
    objects, detections = int(rng.integers(1, 80)), int(rng.integers(1, 600))
    truth, found = some_objects(rng, images, num_classes, objects, detections)
    expected = theirs(truth, found, images, num_classes)
    np.testing.assert_array_equal(precision(truth, found, num_classes), expected)


def test_only_the_first_hundred_detections_of_an_image_and_class_count():
    rng = np.random.default_rng(0)
    truth, found = some_objects(rng, 1, 1, 30, 400)
    expected = theirs(truth, found, 1, 1)
    np.testing.assert_array_equal(precision(truth, found, 1), expected)
    fewer = found.at(np.argsort(-found.scores, kind="stable")[:100])
    np.testing.assert_array_equal(precision(truth, fewer, 1), expected)
    assert (precision(truth, found.at(np.arange(50)), 1) != expected).any()


def test_a_precision_by_hand():
    """Two objects; detections true, false, true: precision 1 up to recall 1/2, then 2/3."""
    where = np.float64([[0, 0, 10, 10], [50, 50, 10, 10], [100, 100, 10, 10]])
    zero, no = np.zeros(3, int), np.zeros(3, bool)
    truth = Objects(zero[:2], zero[:2], where[:2], np.zeros(2), np.full(2, 100.0), no[:2])
    found = Objects(zero, zero, where[[0, 2, 1]], np.float64([0.9, 0.8, 0.7]), np.zeros(3), no)
    everything, small, medium, _ = np.moveaxis(precision(truth, found, 1)[:, :, 0], -1, 0)
    np.testing.assert_array_equal(everything, [[1.0] * 51 + [2 / 3] * 50] * 10)
    np.testing.assert_array_equal(small, everything)
    assert (medium == -1).all()
