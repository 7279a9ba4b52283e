"""Evaluation: post-processing beside the forward pass; metrics of 1,000 images of 100 detections."""

import contextlib
import io

import numpy as np
import tensorflow as tf

from mkd_tf.benchmarks.cases import Work
from mkd_tf.benchmarks.steps import CLASS_NAMES, SIDE, network
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.detection.postprocess import Detections, batch_detections
from mkd_tf.evaluation.coco import Truth, coco_metrics

IMAGES, OBJECTS, FOUND, CLASSES = 1000, 10, 100, 80


def student_forward() -> Work:
    """The student on one image, as a Keras model."""
    model = network("fast")
    run = tf.function(lambda x: model(x, training=False)["class_logits"])
    image = tf.zeros((1, SIDE, SIDE, 3))
    return Work(lambda: run(image).numpy(), "image")


def postprocessing() -> Work:
    """Decoding and suppression of one image, of which a third of all scores are candidates."""
    anchors, rng = grid_anchors(SIDE), np.random.default_rng(0)
    logits = rng.normal(-5.5, 2, (1, len(anchors), len(CLASS_NAMES))).astype("float32")
    encodings = rng.normal(0, 2, (1, len(anchors), 4)).astype("float32")
    fractions = anchors.centers_and_sizes() / SIDE
    return Work(lambda: batch_detections(logits, encodings, fractions), "image")


def _records() -> tuple[list[Truth], list[Detections]]:
    """Returns objects, and detections of which every tenth is one of them, moved a little."""
    rng, truth, found = np.random.default_rng(0), [], []
    for i in range(IMAGES):
        low = rng.uniform(0, 400, (OBJECTS, 2))
        boxes = np.concatenate([low, low + rng.uniform(10, 200, (OBJECTS, 2))], axis=1)
        labels, no = rng.integers(0, CLASSES, OBJECTS), np.zeros(OBJECTS, bool)
        truth.append(Truth(str(i), 640, 640, np.round(boxes, 3), labels, no, no))
        chosen = rng.integers(0, OBJECTS, FOUND)
        near = (boxes[chosen] + rng.normal(0, 8, (FOUND, 4))).clip(0, 640) / 640
        scores = np.sort(rng.uniform(0, 1, FOUND))[::-1].astype("float32")
        classes = np.where(rng.uniform(size=FOUND) < 0.5, labels[chosen], rng.integers(0, CLASSES, FOUND))
        found.append(Detections(near.astype("float32"), scores, classes.astype("int32")))
    return truth, found


def coco() -> Work:
    """Our COCO evaluation."""
    truth, found = _records()
    names = [str(i) for i in range(CLASSES)]
    return Work(lambda: coco_metrics(truth, found, names), "image", IMAGES, calls=2)


def pycocotools() -> Work:
    """The reference implementation, from the same records.

    Raises:
      ImportError: if it is not installed.
    """
    from pycocotools.coco import COCO  # type: ignore[import-untyped]
    from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

    truth, found = _records()
    objects: list[dict] = []
    results: list[dict] = []
    for i, (t, d) in enumerate(zip(truth, found, strict=True), start=1):
        for boxes, labels, scores in ((t.boxes, t.labels, None), (d.boxes * 640, d.labels, d.scores)):
            for k, (y0, x0, y1, x1) in enumerate(boxes.tolist()):
                box = [x0, y0, x1 - x0, y1 - y0]
                one = {"image_id": i, "category_id": int(labels[k]) + 1, "bbox": box}
                if scores is None:
                    objects.append(one | {"id": len(objects) + 1, "iscrowd": 0, "area": box[2] * box[3]})
                else:
                    results.append(one | {"score": float(scores[k])})

    def call() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            expected = COCO()
            expected.dataset = {
                "info": {},
                "images": [{"id": i, "height": 640, "width": 640} for i in range(1, IMAGES + 1)],
                "categories": [{"id": i + 1, "name": str(i)} for i in range(CLASSES)],
                "annotations": objects,
            }
            expected.createIndex()
            evaluation = COCOeval(expected, expected.loadRes([dict(r) for r in results]), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()

    return Work(call, "image", IMAGES, calls=2)
