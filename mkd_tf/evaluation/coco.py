"""Average precision by the COCO protocol, on pixels of the original images.

AP is the mean precision over recalls 0, 0.01, ... 1, IoU thresholds 0.50, 0.55,
... 0.95 and classes, of at most 100 detections per image and class
(Lin et al., "Microsoft COCO", ECCV 2014, and the reference implementation, which
`coco_precision` follows).

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

from mkd_tf.checks import check_shape, fail
from mkd_tf.data.base import unknown_of
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco_precision import MAX_DETECTIONS as MAX_DETECTIONS
from mkd_tf.evaluation.coco_precision import Objects, precision
from mkd_tf.schemas.training import CocoMetrics

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


def _objects(
    records: Sequence[tuple[str, np.ndarray, np.ndarray]],
    num_classes: int,
    **columns: Sequence[np.ndarray],
) -> Objects:
    """Joins name, boxes (yxyx in pixels) and labels of every image; `columns` are fields of `Objects`."""
    for where, boxes, labels in records:
        check_shape(f"{where} boxes", boxes.shape, (len(labels), 4))
        do = "Evaluate a model with the data set that it was trained for."
        check_labels(f"{where} labels", labels, num_classes, do)
    corners = np.concatenate([boxes for _, boxes, _ in records]).astype("float64")
    count = len(corners)
    rest = {"scores": np.zeros(count), "areas": np.zeros(count), "is_crowd": np.zeros(count, bool)}
    rest |= {name: np.concatenate(column) for name, column in columns.items()}
    return Objects(
        image=np.repeat(np.arange(len(records)), [len(labels) for _, _, labels in records]),
        label=np.concatenate([labels for _, _, labels in records]).astype("int64"),
        xywh=np.concatenate([corners[:, 1::-1], (corners[:, 2:] - corners[:, :2])[:, ::-1]], axis=1),
        **rest,
    )


def _truth_objects(truth: Sequence[Truth], num_classes: int) -> Objects:
    areas = []
    for t in truth:
        box_areas = np.prod(np.asarray(t.boxes)[:, 2:] - np.asarray(t.boxes)[:, :2], axis=1)
        own = box_areas if t.areas is None else np.where(np.isnan(t.areas), box_areas, t.areas)
        areas.append(np.where(t.is_difficult, _IGNORED_AREA, own))
    records = [(f"truth of {t.image_id}", np.asarray(t.boxes), t.labels) for t in truth]
    return _objects(records, num_classes, areas=areas, is_crowd=[np.asarray(t.is_crowd, bool) for t in truth])


def _found_objects(truth: Sequence[Truth], detections: Sequence[Detections], num_classes: int) -> Objects:
    records = []
    for t, d in zip(truth, detections, strict=True):
        boxes = d.boxes.astype("float64")
        if boxes.ndim == 2 and boxes.shape[1] == 4:  # others are refused with their shape
            boxes = boxes * [t.height, t.width, t.height, t.width]
        records.append((f"detections of {t.image_id}", boxes, d.labels))
    return _objects(records, num_classes, scores=[d.scores for d in detections])


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
    expected = _truth_objects([t.expanded(len(class_names)) for t in truth], len(class_names))
    # [thresholds, recalls, classes, areas], with the areas all, small, medium, large.
    found_precision = precision(
        expected, _found_objects(truth, detections, len(class_names)), len(class_names)
    )
    everything = found_precision[..., 0]
    values = [everything, everything[0], everything[5], *(found_precision[..., i] for i in (1, 2, 3))]
    found = dict(zip(METRICS, map(_mean, values), strict=True))
    per_class = {name: _mean(everything[..., i]) for i, name in enumerate(class_names)}
    return cast(CocoMetrics, found | {"per_class": per_class})
