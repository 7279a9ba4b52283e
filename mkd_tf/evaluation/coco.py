"""Average precision by the COCO protocol, on pixels of the original images.

AP is the mean precision over recalls 0, 0.01, ... 1, IoU thresholds 0.50, 0.55,
... 0.95 and classes, of at most 100 detections per image and class
(Lin et al., "Microsoft COCO", ECCV 2014, and the reference implementation,
which faster-coco-eval follows).

Crowds and difficult objects do not count as missed. A detection that lies in a
crowd is left out of the count, however many do. A difficult object is what COCO
calls ignored: the best detection on it is left out; a second one is false.
An area of unknown content is a crowd of every class.
An object's area, which decides small, medium or large, is that of its segment, as on
COCO itself, and where only the box is known that of its box.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from mkd_tf.checks import check_shape, fail
from mkd_tf.data.base import unknown_of
from mkd_tf.detection.postprocess import Detections
from mkd_tf.schemas.training import CocoMetrics

MAX_DETECTIONS = 100
METRICS = tuple(name for name in CocoMetrics.__annotations__ if name != "per_class")
# No range of areas holds it, and an object outside of the range is ignored: the
# reference implementation overwrites an annotation's own "ignore".
_IGNORED_AREA = -1.0
ANY_CLASS = -1
"""Label of an area of unknown content in a `Truth`: it is a crowd of every class."""


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """The objects of one image.

    Attributes:
      image_id: the image's name.
      height: of the original image, in pixels.
      width: of the original image, in pixels.
      boxes: `[M, 4]` float yxyx in pixels of the original image.
      labels: `[M]` int, `ANY_CLASS` for areas of unknown content, which are crowds.
      is_difficult: `[M]` bool.
      is_crowd: `[M]` bool.
      areas: `[M]` float, square pixels of the segments, NaN where unknown; None where all are.
    """

    image_id: str
    height: int
    width: int
    boxes: np.ndarray
    labels: np.ndarray
    is_difficult: np.ndarray
    is_crowd: np.ndarray
    areas: np.ndarray | None = None

    @classmethod
    def of(cls, element: Mapping[str, Any]) -> "Truth":
        """Returns the truth of a data element with or without its image (see `data.base`)."""
        height, width = element["image"].shape[:2] if "image" in element else element["height_width"]
        objects = element["objects"]
        unknown = unknown_of(element)
        count = len(unknown)
        boxes = np.concatenate([np.asarray(objects["bbox"], "float64").reshape(-1, 4), unknown])
        boxes = boxes * [height, width, height, width]
        areas = objects.get("area")
        if areas is not None:
            areas = np.append(areas, np.full(count, np.nan, "float32"))
        return cls(
            image_id=element["image/id"],
            height=height,
            width=width,
            # Fractions are float32: rounding restores the whole pixels of a source, which
            # decide whether a 32 px object is small.
            boxes=np.round(boxes, 3),
            labels=np.append(np.asarray(objects["label"]), np.full(count, ANY_CLASS, "int32")),
            is_difficult=np.append(np.asarray(objects["is_difficult"], bool), np.zeros(count, bool)),
            is_crowd=np.append(np.asarray(objects["is_crowd"], bool), np.ones(count, bool)),
            areas=areas,
        )

    def named(self) -> "Truth":
        """Returns the truth without its areas of unknown content."""
        keep = self.labels != ANY_CLASS
        return dataclasses.replace(
            self,
            boxes=self.boxes[keep],
            labels=self.labels[keep],
            is_difficult=self.is_difficult[keep],
            is_crowd=self.is_crowd[keep],
            areas=None if self.areas is None else self.areas[keep],
        )

    def expanded(self, num_classes: int) -> "Truth":
        """Returns the truth with an area of unknown content as a crowd of each class."""
        if not np.any(self.labels == ANY_CLASS):
            return self
        times = np.where(self.labels == ANY_CLASS, num_classes, 1)
        labels = np.repeat(self.labels, times)
        labels[labels == ANY_CLASS] = np.tile(np.arange(num_classes), np.sum(self.labels == ANY_CLASS))
        return dataclasses.replace(
            self,
            boxes=np.repeat(self.boxes, times, axis=0),
            labels=labels,
            is_difficult=np.repeat(self.is_difficult, times),
            is_crowd=np.repeat(self.is_crowd, times),
            areas=None if self.areas is None else np.repeat(self.areas, times),
        )


def same_class(labels: np.ndarray, truth_labels: np.ndarray) -> np.ndarray:
    """Returns whether detections of `labels` `[D]` may be objects of `truth_labels` `[M]`: `[D, M]` bool."""
    theirs = np.asarray(truth_labels)[None]
    return (np.asarray(labels)[:, None] == theirs) | (theirs == ANY_CLASS)


def check_labels(where: str, labels: np.ndarray, num_classes: int, do: str) -> None:
    """Raises `MkdError` with the advice `do` unless every label is an index into the class names."""
    if len(labels) and not 0 <= np.min(labels) <= np.max(labels) < num_classes:
        expected = f"0 to {num_classes - 1}, an index into the {num_classes} class names"
        fail(where, expected=expected, got=f"{np.min(labels)} to {np.max(labels)}", do=do)


def check_records(truth: Sequence[Truth], detections: Sequence[Detections], what: str = "detections") -> None:
    """Raises `MkdError` unless there are images, and one record of detections for each."""
    if len(truth) != len(detections) or not truth:
        expected = f"one record for each of the {len(truth)} images" if truth else "at least one image"
        fail(what, expected=expected, got=str(len(detections)), do="Pass both lists in the same order.")


def _annotations(
    where: str, boxes: np.ndarray, labels: np.ndarray, image: int, num_classes: int, scale: Any = 1.0
) -> list[dict]:
    check_shape(f"{where} boxes", boxes.shape, (len(labels), 4))
    do = "Evaluate a model with the data set that it was trained for."
    check_labels(f"{where} labels", labels, num_classes, do)
    # COCO boxes are x, y, width, height; its ids start at 1, since 0 means "no match" to it.
    boxes = boxes.astype("float64") * scale
    xywh = np.concatenate([boxes[:, 1::-1], (boxes[:, 2:] - boxes[:, :2])[:, ::-1]], axis=1)
    return [
        {"image_id": image + 1, "category_id": label + 1, "bbox": box}
        for box, label in zip(xywh.tolist(), np.asarray(labels).tolist(), strict=True)
    ]


def _truth_annotations(truth: Sequence[Truth], num_classes: int) -> list[dict]:
    annotations: list[dict] = []
    for image, t in enumerate(each.expanded(num_classes) for each in truth):
        made = _annotations(f"truth of {t.image_id}", t.boxes, t.labels, image, num_classes)
        box_areas = np.prod(np.asarray(t.boxes)[:, 2:] - np.asarray(t.boxes)[:, :2], axis=1)
        areas = box_areas if t.areas is None else np.where(np.isnan(t.areas), box_areas, t.areas)
        areas = np.where(t.is_difficult, _IGNORED_AREA, areas)
        for annotation, crowd, area in zip(made, t.is_crowd.tolist(), areas.tolist(), strict=True):
            more = {"id": len(annotations) + 1, "iscrowd": int(crowd), "area": area}
            annotations.append(annotation | more)
    return annotations


def _found_annotations(
    truth: Sequence[Truth], detections: Sequence[Detections], num_classes: int
) -> list[dict]:
    annotations: list[dict] = []
    for image, (t, d) in enumerate(zip(truth, detections, strict=True)):
        where, size = f"detections of {t.image_id}", [t.height, t.width, t.height, t.width]
        found = _annotations(where, d.boxes, d.labels, image, num_classes, size)
        # Without a segmentation the evaluator makes a polygon of each.
        scores = zip(found, d.scores.tolist(), strict=True)
        annotations += [annotation | {"score": s, "segmentation": []} for annotation, s in scores]
    return annotations


def _mean(precision: np.ndarray) -> float | None:
    """Returns the mean in percent over what exists; the evaluator marks classes without objects by -1."""
    known = precision[precision > -1]
    return float(np.mean(known)) * 100 if known.size else None


def coco_metrics(
    truth: Sequence[Truth], detections: Sequence[Detections], class_names: Sequence[str]
) -> CocoMetrics:
    """Measures detections against the truth.

    Args:
      truth: one record per image, with or without objects.
      detections: what was found in each, in the same order.
      class_names: the C names, in the order of the labels.

    Returns:
      `AP`, `AP50`, `AP75`, `AP_small`, `AP_medium`, `AP_large`, each 0..100, and
      `per_class`, a dict from name to AP. None where no object could be found.

    Raises:
      MkdError: if lengths differ or a label is not an index into `class_names`.
    """
    check_records(truth, detections)
    expected = COCO(
        {
            "info": {},
            "images": [{"id": i + 1, "height": t.height, "width": t.width} for i, t in enumerate(truth)],
            "categories": [{"id": i + 1, "name": name} for i, name in enumerate(class_names)],
            "annotations": _truth_annotations(truth, len(class_names)),
        },
        print_function=lambda *_: None,
    )
    given = expected.loadRes(_found_annotations(truth, detections, len(class_names)))
    evaluation = COCOeval_faster(expected, given, "bbox", print_function=lambda *_: None)
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    # [thresholds, recalls, classes, areas, limits], with the areas all, small, medium, large.
    precision = evaluation.eval["precision"][..., 0]
    everything = precision[..., 0]
    values = [everything, everything[0], everything[5], *(precision[..., i] for i in (1, 2, 3))]
    found = dict(zip(METRICS, map(_mean, values), strict=True))
    per_class = {name: _mean(everything[..., i]) for i, name in enumerate(class_names)}
    return cast(CocoMetrics, found | {"per_class": per_class})
