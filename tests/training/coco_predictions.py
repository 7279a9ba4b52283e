"""Predictions of a data set's images as COCO results, for tests of teachers that only answer."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mkd_tf.data.base import Element
from mkd_tf.detection.postprocess import Detections


def write_predictions(
    folder: Path,
    elements: Sequence[Element],
    found: Sequence[Detections],
    class_names: Sequence[str],
    ids: Mapping[str, int] | None = None,
) -> str:
    """Writes `predictions.json` and `instances.json`; returns the spec of the teacher they are.

    Category ids begin at 3 and have gaps; images are listed with their names.
    """
    images, rows = [], []
    for number, (each, detections) in enumerate(zip(elements, found, strict=True), start=100):
        height, width = each["image"].shape[:2]
        images.append({"id": number, "file_name": each["image/id"], "width": width, "height": height})
        for box, label, score in zip(detections.boxes, detections.labels, detections.scores, strict=True):
            y0, x0, y1, x1 = (box.astype("float64") * [height, width, height, width]).tolist()
            rows.append(
                {
                    "image_id": number,
                    "category_id": 3 + 2 * int(label),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": float(score),
                }
            )
    categories = [{"id": 3 + 2 * i, "name": name} for i, name in enumerate(class_names)]
    (folder / "predictions.json").write_text(json.dumps(rows))
    listing = {"images": images, "annotations": [], "categories": categories}
    (folder / "instances.json").write_text(json.dumps(listing))
    where = f"path='{folder / 'predictions.json'}', images='{folder / 'instances.json'}'"
    return f"detections({where}, empty=True)"


def jittered(elements: Sequence[Element], num_classes: int, seed: int = 0) -> list[Detections]:
    """Returns the true boxes, a little moved, with scores, and of some objects a second class."""
    rng = np.random.default_rng(seed)
    found = []
    for each in elements:
        boxes, labels = each["objects"]["bbox"], each["objects"]["label"]
        moved = np.clip(boxes + rng.normal(0, 0.01, boxes.shape), 0, 1).astype("float32")
        scores = rng.uniform(0.5, 0.95, len(labels)).astype("float32")
        others = ((labels + 1) % num_classes).astype("int32")
        boxes = np.concatenate([moved, moved[:1]])
        both = Detections(
            boxes, np.concatenate([scores, scores[:1] / 3]), np.concatenate([labels, others[:1]])
        )
        order = np.argsort(-both.scores, kind="stable")
        found.append(Detections(both.boxes[order], both.scores[order], both.labels[order]))
    return found
