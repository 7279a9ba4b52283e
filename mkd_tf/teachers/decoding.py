"""From a network's outputs to detections, as its contract states.

Whatever contradicts the contract is refused: a probability outside 0..1, a class without a
name, pixels where fractions are stated.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.detection.postprocess import Detections, PostprocessConfig, probabilities, select
from mkd_tf.options import LOWEST_SCORE
from mkd_tf.teachers.contract import Contract
from mkd_tf.teachers.placing import Placement

Outputs = Mapping[str, np.ndarray]
_FRACTIONS_END = 4.0  # A box of fractions does not reach beyond four inputs.
_SLACK = 1e-3
_MOST_INVERTED = 0.2  # of the boxes with a score


@dataclasses.dataclass(frozen=True)
class Classes:
    """Which class each score, or each number that a network gives, belongs to.

    Attributes:
      names: the classes, in the order of the labels.
      slots: the label of each score; -1 for background and for numbers without a class.
    """

    names: tuple[str, ...]
    slots: tuple[int, ...]


def corners(boxes: np.ndarray, box_format: str) -> np.ndarray:
    """Returns boxes `[D, 4]` of a `Contract.box_format` as yxyx, float64."""
    a, b, c, d = boxes.astype("float64").T
    if box_format == "yxyx":
        found = (a, b, c, d)
    elif box_format == "xyxy":
        found = (b, a, d, c)
    elif box_format == "cxcywh":
        found = (b - d / 2, a - c / 2, b + d / 2, a + c / 2)
    else:
        found = (b, a, b + d, a + c)
    return np.stack(found, axis=1)


def activated(scores: np.ndarray, activation: str) -> np.ndarray:
    """Returns probabilities, float64, of scores `[..., C]`."""
    if activation == "sigmoid":
        return probabilities(scores)
    if activation == "softmax":
        powers = np.exp(scores.astype("float64") - scores.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)
    return scores.astype("float64")


class Decoder:
    """Decodes the outputs for one image.

    Args:
      where: the file, in errors.
      contract: of its outputs.
      classes: see `Classes`.
    """

    def __init__(self, where: str, contract: Contract, classes: Classes):
        self._where, self._contract, self._classes = where, contract, classes
        self._slots = np.array(classes.slots, "int64")

    def __call__(self, outputs: Outputs, placement: Placement) -> Detections:
        """Returns what the outputs, by role and with a batch of 1, say is in the original image.

        Raises:
          MkdError: if they contradict the contract.
        """
        arrays = {role: self._without_batch(role, x) for role, x in outputs.items()}
        read: dict[str, Callable[[Outputs], tuple[np.ndarray, np.ndarray, np.ndarray | None]]] = {
            "candidates": self._candidates,
            "detections": self._detections,
            "rows": self._rows,
            "yolo": self._yolo,
            "yolov5": self._yolov5,
        }
        boxes, scores, labels = read[self._contract.form](arrays)
        self._check_values(boxes, scores)
        boxes = corners(boxes, self._contract.box_format)
        self._check_order(boxes, scores if scores.ndim == 1 else scores.max(axis=1, initial=0))
        boxes = placement.to_original(boxes, self._contract.box_unit)
        return self._kept(boxes, scores, labels)

    def _without_batch(self, role: str, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        if role == "count":
            return x.reshape(-1)
        if not x.ndim or len(x) != 1:
            got, do = f"shape {list(x.shape)}", "Export it with a batch of 1."
            fail(f"{self._where}, output {role}", expected="a batch of 1", got=got, do=do)
        return x[0]

    def _shape(self, role: str, x: np.ndarray, expected: Sequence[int | None], meaning: str) -> None:
        fits = x.ndim == len(expected) and all(e in (None, s) for e, s in zip(expected, x.shape, strict=True))
        if not fits:
            shown = ", ".join("N" if e is None else str(e) for e in expected)
            do = (
                "Correct classes=, the preset, or the name of the output; for a slot of the background "
                "write background='first' or background='last'."
            )
            got = f"{list(x.shape)}"
            fail(f"{self._where}, {role}", expected=f"[{shown}]: {meaning}", got=got, do=do)

    def _candidates(self, outputs: Outputs) -> tuple[np.ndarray, np.ndarray, None]:
        boxes, scores = outputs["boxes"], outputs["scores"]
        count = len(boxes) if boxes.ndim else 0
        self._shape("boxes", boxes, (None, 4), "a box for each candidate")
        slots = len(self._slots)
        self._shape("scores", scores, (count, slots), f"{slots} scores for each of {count} boxes")
        return boxes, activated(scores, self._contract.activation), None

    def _detections(self, outputs: Outputs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        boxes, scores, labels = (outputs[role] for role in ("boxes", "scores", "labels"))
        self._shape("boxes", boxes, (None, 4), "a box for each detection")
        for role, x in (("scores", scores), ("labels", labels)):
            self._shape(role, x, (len(boxes),), "a number for each box")
        if "count" in outputs:
            count = int(outputs["count"][0])
            if not 0 <= count <= len(boxes):
                do = "Correct the name of the output."
                fail(f"{self._where}, count", expected=f"0 to {len(boxes)}", got=str(count), do=do)
            boxes, scores, labels = boxes[:count], scores[:count], labels[:count]
        return boxes, activated(scores, self._contract.activation), labels

    def _rows(self, outputs: Outputs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = outputs["rows"]
        self._shape("rows", rows, (None, 6), "box, score and class of each detection")
        return rows[:, :4], activated(rows[:, 4], self._contract.activation), rows[:, 5]

    def _yolo(self, outputs: Outputs) -> tuple[np.ndarray, np.ndarray, None]:
        rows, slots = outputs["rows"], len(self._slots)
        self._shape("rows", rows, (4 + slots, None), f"4 coordinates and {slots} scores of each box")
        return rows[:4].T, activated(rows[4:].T, self._contract.activation), None

    def _yolov5(self, outputs: Outputs) -> tuple[np.ndarray, np.ndarray, None]:
        rows, slots = outputs["rows"], len(self._slots)
        self._shape("rows", rows, (None, 5 + slots), f"4 coordinates, objectness and {slots} scores")
        scores = activated(rows[:, 4:], self._contract.activation)
        return rows[:, :4], scores[:, :1] * scores[:, 1:], None

    def _check_values(self, boxes: np.ndarray, scores: np.ndarray) -> None:
        if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
            do = "Check normalisation (divide, mean, std) and the file itself."
            fail(self._where, expected="finite outputs", got="NaN or infinity", do=do)
        if not scores.size:
            return
        low, high = float(scores.min()), float(scores.max())
        if low < -_SLACK or high > 1 + _SLACK:
            do = "Write activation='sigmoid' or activation='softmax', whichever the network was trained with."
            fail(self._where, expected="scores in 0..1", got=f"scores in {low:.3g}..{high:.3g}", do=do)
        reach = float(np.abs(boxes).max())
        is_fraction = self._contract.box_unit == "fraction"
        if is_fraction and reach > _FRACTIONS_END:
            do = "Write box_unit='pixels' (of the input) or box_unit='original'."
            fail(self._where, expected="boxes as fractions", got=f"a coordinate of {reach:.5g}", do=do)
        if not is_fraction and len(boxes) >= 100 and reach <= 2:
            do = "Write box_unit='fraction'."
            fail(self._where, expected="boxes in pixels", got=f"coordinates up to {reach:.3g}", do=do)

    def _check_order(self, boxes: np.ndarray, best: np.ndarray) -> None:
        shown = boxes[best >= LOWEST_SCORE]
        inverted = int((shown[:, 2:] < shown[:, :2]).any(axis=1).sum())
        if inverted > _MOST_INVERTED * len(shown):
            do = "Correct box_format=: yxyx, xyxy, cxcywh or xywh."
            got = f"{inverted} of {len(shown)} boxes that end before they begin"
            fail(self._where, expected=f"{self._contract.box_format} with corners in order", got=got, do=do)

    def _kept(self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray | None) -> Detections:
        """Returns the best detections, of `labels` or of every class that has a score."""
        contract = self._contract
        if labels is None:
            by_label = np.zeros((len(boxes), len(self._classes.names)))
            named = self._slots >= 0
            by_label[:, self._slots[named]] = scores[:, named]
            if contract.suppress:
                limits = PostprocessConfig(LOWEST_SCORE, contract.iou_threshold, contract.max_detections)
                return _sound(select(np.clip(by_label, 0, 1), boxes, limits))
            places, labels = np.nonzero(by_label >= LOWEST_SCORE)
            boxes, scores = boxes[places], by_label[places, labels]
        else:
            wanted = scores >= LOWEST_SCORE
            boxes, scores = boxes[wanted], scores[wanted]
            labels = self._labels(labels[wanted])
            boxes, scores, labels = (x[labels >= 0] for x in (boxes, scores, labels))
        if contract.suppress:
            by_label = np.zeros((len(boxes), len(self._classes.names)))
            by_label[np.arange(len(boxes)), labels] = np.clip(scores, 0, 1)
            limits = PostprocessConfig(LOWEST_SCORE, contract.iou_threshold, contract.max_detections)
            return _sound(select(by_label, boxes, limits))
        order = np.argsort(-scores, kind="stable")[: contract.max_detections]
        return _sound(
            Detections(
                np.clip(boxes[order], 0, 1).astype("float32"),
                np.clip(scores[order], 0, 1).astype("float32"),
                labels[order].astype("int32"),
            )
        )

    def _labels(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the labels of the numbers that a network gives, -1 where background is meant."""
        numbers = np.asarray(numbers, "float64")
        whole = np.rint(numbers)
        places = whole.astype("int64") - self._contract.first_class
        strange = (np.abs(numbers - whole) > _SLACK) | (places < 0) | (places >= len(self._slots))
        if strange.any():
            first = self._contract.first_class
            expected = f"classes from {first} to {first + len(self._slots) - 1}"
            do = "Correct classes=, first_class= or the name of the output."
            fail(self._where, expected=expected, got=f"class {numbers[strange][0]:g}", do=do)
        return self._slots[places]


def _sound(found: Detections) -> Detections:
    """Returns detections without those that lie outside the image or have no area."""
    boxes: Any = found.boxes
    keep = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    return Detections(boxes[keep], found.scores[keep], found.labels[keep])
