"""The teacher's boxes on images without labels: made once per original image, kept in a file.

Each time an image is used, its boxes go through the same fresh augmentation as
the image: a pool augmented once and used again overfits.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from keras import ops

from mkd_tf.checks import MkdError
from mkd_tf.data.pipeline.image_store import Boxes, ImageStore, Row, pad_boxes
from mkd_tf.detection import boxes as box_math
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.runners import Runner, on_fitted, on_original
from mkd_tf.training.arrays import read_arrays, write_arrays

_BATCH = 32
NO_ROW: Row = (np.zeros((0, 4), "float32"), np.zeros(0, "int32"), np.zeros(0, "float32"))


def detect(
    store: ImageStore, indices: np.ndarray, runner: Runner, on_progress: Callable[[int, int], None]
) -> list[Detections]:
    """Returns what `runner` finds in the store's images, boxes as fractions of the fitted image.

    Of the originals, and within them: what `mkd predict` writes of the same images.
    """
    found: list[Detections] = []
    for start in range(0, len(indices), _BATCH):
        images, sizes = store.fitted(indices[start : start + _BATCH], runner.image_size)
        for seen, size in zip(runner(images), sizes, strict=True):
            found.append(on_fitted(on_original(seen, size, store.fit), size, store.fit))
        on_progress(len(found), len(indices))
    return found


def write_rows(path: Path, indices: np.ndarray, found: list[Detections]) -> None:
    """Writes detections of images `indices` as one table of (image, box, label, score)."""
    table = [
        np.concatenate([np.full((len(d), 1), i), d.boxes, d.labels[:, None], d.scores[:, None]], axis=1)
        for i, d in zip(indices, found, strict=True)
    ]
    write_arrays(path, rows=np.concatenate(table).astype("float32"), indices=indices)


def read_rows(path: Path) -> dict[int, Row]:
    """Returns each image's (boxes, labels, weights); the weight of a box is its score.

    Raises:
      MkdError: if the file is not what `write_rows` wrote.
    """
    held = read_arrays(path, "boxes of the teacher", ("rows", "indices"))
    rows, indices = held["rows"], held["indices"]
    is_table = rows.ndim == 2 and rows.shape[1] == 7 and indices.ndim == 1 and indices.dtype.kind == "i"
    if not is_table or not np.isfinite(rows).all() or np.setdiff1d(rows[:, 0], indices).size:
        raise MkdError(f"{path}: damaged boxes of the teacher (no table of boxes).")
    # Written image after image: each one's rows lie together.
    starts = np.searchsorted(rows[:, 0], indices)
    groups = zip(indices.tolist(), np.split(rows, starts[1:]), strict=True)
    return {i: (r[:, 1:5], r[:, 5].astype("int32"), r[:, 6]) for i, r in groups}


def with_teacher_boxes(
    store: ImageStore,
    indices: np.ndarray,
    rows: Mapping[int, Row],
    least_score: float | np.ndarray,
    most_iou: float = 1.0,
) -> Boxes:
    """Returns the truth, with the teacher's boxes of at least `least_score` for images `indices`.

    With `least_score` 1 nothing is known of these images, nor of an image without a row: they
    take part in distillation only. `least_score` may be one for each class, `[C]`. Boxes that
    overlap more than `most_iou` become one label, see `distinct`.
    """
    replaced = set(indices.tolist())
    makes_labels = bool(np.min(least_score) < 1)
    known = np.array([i not in replaced or (makes_labels and i in rows) for i in range(len(store))])
    per_image = [
        usable(rows.get(i, NO_ROW), least_score, most_iou) if i in replaced else store.row(i)
        for i in range(len(store))
    ]
    return pad_boxes(per_image, known)


def usable(row: Row, least_score: float | np.ndarray, most_iou: float) -> Row:
    """Returns the boxes of one image that become labels: of a score, and one to a place."""
    boxes, labels, weights = row
    least = least_score[labels] if isinstance(least_score, np.ndarray) else least_score
    # A score can round to 1.
    keep = np.flatnonzero((weights >= least) & (np.asarray(least) < 1))
    keep = keep[distinct(boxes[keep], weights[keep], most_iou)]
    return boxes[keep], labels[keep], weights[keep]


def row_of(found: Detections) -> Row:
    """Returns detections of one image as (boxes, labels, weights), as `read_rows` does."""
    return found.boxes.astype("float32"), found.labels.astype("int32"), found.scores.astype("float32")


def distinct(boxes: np.ndarray, weights: np.ndarray, most_iou: float) -> np.ndarray:
    """Returns the indices of boxes `[D, 4]` that suppression across classes keeps, the heaviest first.

    One place has one label: of boxes that overlap more than `most_iou`, of whatever class,
    the one of the largest weight `[D]` stays. With 1 all do.
    """
    if most_iou >= 1 or not len(boxes):
        return np.arange(len(boxes))
    overlaps = ops.convert_to_numpy(box_math.pairwise_iou(boxes[None], boxes[None]))[0]
    kept: list[int] = []
    for index in np.argsort(-weights, kind="stable").tolist():
        if not kept or overlaps[index, kept].max() <= most_iou:
            kept.append(index)
    return np.array(kept, "int64")
