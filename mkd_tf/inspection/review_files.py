"""A review as a COCO file for annotation tools: the labels as they are, and a box for each doubt.

Doubts are categories of their own (`review: missing`, ...), which every tool shows without being
set up. Whoever reviews corrects the labels beside them and deletes them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mkd_tf.data.base import Dataset, annotation_of
from mkd_tf.data.sources.examples import ExampleImages
from mkd_tf.schemas.inspection import Doubt, ReviewFile

KINDS = ("missing", "wrong class", "loose box", "nothing there")


def coco_review(review: ReviewFile, dataset: Dataset) -> dict[str, Any]:
    """Returns the content of a COCO instances file with the images of a review.

    The categories of the classes come first, in the order of the labels. An annotation of a doubt
    has the box that the networks suggest, or that of the label, and `attributes` with what is
    suggested, the suspicion and the id of the label's annotation.
    """
    names = [*dataset.class_names, *(f"review: {kind}" for kind in KINDS)]
    numbers = {name: number for number, name in enumerate(names, start=1)}
    by_image: dict[tuple[str, str], list[Doubt]] = {}
    for doubt in review["doubts"]:
        by_image.setdefault((doubt["split"], doubt["image"]), []).append(doubt)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for split in dict.fromkeys(split for split, _ in by_image):
        elements = dataset.split(split)
        for index in range(len(elements)):
            found = annotation_of(elements, index)
            doubts = by_image.get((split, str(found["image/id"])))
            if not doubts:
                continue
            height, width = (int(side) for side in found["height_width"])
            file = str(found["image/id"])
            if isinstance(elements, ExampleImages):
                path = elements.example(index).path
                file = file if file.endswith(path.suffix) else path.name
            number = len(images) + 1
            sides = {"width": width, "height": height}
            images.append({"id": number, "file_name": file, **sides, "split": split})
            first = len(annotations) + 1
            annotations += _labels(found["objects"], (height, width), number, first)
            for doubt in doubts:
                annotations.append(_doubt(doubt, number, len(annotations) + 1, first, numbers))
    return {
        "info": {"description": f"labels of {dataset.name} that trained networks doubt"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
    }


def _labels(
    objects: Mapping[str, np.ndarray], size: tuple[int, int], image: int, first: int
) -> list[dict[str, Any]]:
    boxes = np.asarray(objects["bbox"], "float64").reshape(-1, 4) * [*size, *size]
    rows = zip(boxes, objects["label"], objects["is_crowd"], strict=True)
    return [
        {
            "id": first + place,
            "image_id": image,
            "category_id": int(label) + 1,
            **_box(box),
            "iscrowd": int(is_crowd),
        }
        for place, (box, label, is_crowd) in enumerate(rows)
    ]


def _doubt(doubt: Doubt, image: int, number: int, first: int, numbers: Mapping[str, int]) -> dict[str, Any]:
    box = doubt.get("suggested_box") or doubt.get("box") or [0.0, 0.0, 0.0, 0.0]
    attributes: dict[str, Any] = {"suspicion": doubt["suspicion"], "networks": ", ".join(doubt["networks"])}
    if "suggested_label" in doubt:
        attributes["suggested"] = doubt["suggested_label"]
    if "object" in doubt:
        attributes["annotation"] = first + doubt["object"]
    return {
        "id": number,
        "image_id": image,
        "category_id": numbers[f"review: {doubt['kind']}"],
        **_box(np.asarray(box)),
        "iscrowd": 0,
        "attributes": attributes,
    }


def _box(box: Sequence[float] | np.ndarray) -> dict[str, Any]:
    y0, x0, y1, x1 = (round(float(value), 2) for value in box)
    width, height = round(x1 - x0, 2), round(y1 - y0, 2)
    return {"bbox": [x0, y0, width, height], "area": round(width * height, 2)}
