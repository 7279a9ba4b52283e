"""The answers of a teacher without a network: asked once per original image, kept in files.

Images are asked about in groups. The file of a group is named by a hash of the teacher, the
class map and the images themselves, so that it is right or absent: after a kill only the
groups without a file are asked about again.
"""

import concurrent.futures
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from mkd_tf.checks import MkdError, fail
from mkd_tf.data.base import Element, annotation_of, image_of
from mkd_tf.data.pipeline.image_store import Row
from mkd_tf.data.pipeline.teacher_places import TeacherPlaces
from mkd_tf.detection.from_detections import SAME_PLACE
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.progress import OnProgress, ignore_progress
from mkd_tf.evaluation.runners import on_fitted
from mkd_tf.files import write_bytes
from mkd_tf.teachers import ClassMap, OutputsTeacher, TeacherImage
from mkd_tf.training.arrays import read_arrays, write_arrays
from mkd_tf.training.teacher_boxes import distinct, row_of

CLAIM = "teacher.sha256"
_GROUP = 32
_THREADS = 4
SOFT_SCORE = 0.1
"""Lowest score of a detection that is a soft target, where `--teacher_boxes` makes no labels."""


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """What the teacher says of one image: detections in classes of the data set, or None; its size."""

    found: Detections | None
    height_width: tuple[int, int]

    def row(self, fit: str) -> Row | None:
        """Returns boxes as fractions of the fitted image, labels and scores; None without an answer."""
        if self.found is None:
            return None
        return row_of(on_fitted(self.found, self.height_width, fit))


class Answering:
    """Asks a teacher about the images of a run.

    Args:
      teacher: that only answers with detections.
      class_map: from its classes to those of the data set.
      folder: where answers are kept.
    """

    def __init__(self, teacher: OutputsTeacher, class_map: ClassMap, folder: Path):
        self.teacher, self.class_map, self._folder = teacher, class_map, folder
        settings = f"{teacher.fingerprint()} {np.asarray(class_map.index).tolist()}"
        self._settings = hashlib.sha256(settings.encode()).hexdigest()

    def compare(self) -> None:
        """Raises `MkdError` if the work directory was begun with another teacher or class map."""
        path = self._folder / CLAIM
        if path.exists() and path.read_text(encoding="utf-8", errors="replace").strip() != self._settings:
            raise MkdError(
                f"workdir {self._folder.parent}: the files of the teacher {self.teacher.name} have changed "
                "since it was begun. Train in another --workdir, or restore them."
            )

    def claim(self) -> None:
        """Ties the work directory to the teacher and the class map; raises as `compare` does."""
        self.compare()
        write_bytes(self._folder / CLAIM, self._settings.encode())

    def about(
        self, splits: Sequence[Sequence[Element]], on_progress: OnProgress = ignore_progress
    ) -> list[Answer]:
        """Returns an answer for every image of the splits, in their order.

        Args:
          splits: elements as in `data.base`.
          on_progress: called with how many images are done, and how many there are.
        """
        where = [(split, i) for split in splits for i in range(len(split))]
        answers: list[Answer] = []
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            for start in range(0, len(where), _GROUP):
                images = list(pool.map(lambda place: self._image(*place), where[start : start + _GROUP]))
                path = self._folder / "answers" / f"{self._key(images)}.npz"
                try:
                    found = _read(path)
                except MkdError:  # There is none, or it is damaged.
                    _write(path, self._ask(images))
                    found = _read(path)
                sizes = (image.height_width for image in images)
                answers += [Answer(*pair) for pair in zip(found, sizes, strict=True)]
                on_progress(len(answers), len(where))
        return answers

    def _image(self, split: Sequence[Element], index: int) -> TeacherImage:
        if not self.teacher.needs_pixels:
            known = annotation_of(split, index)
            name, (height, width) = str(known["image/id"]), known["height_width"]
            return TeacherImage(name, _file(name), (height, width), lambda: image_of(split, index))
        # Decoded once: the hash needs the pixels as well.
        known = split[index]
        name, pixels = str(known["image/id"]), known["image"]
        return TeacherImage(name, _file(name), pixels.shape[:2], lambda: pixels)

    def _key(self, images: Sequence[TeacherImage]) -> str:
        digest = hashlib.sha256(self._settings.encode())
        for image in images:
            digest.update(f"\n{image.id}\n{image.height_width}\n".encode())
            if self.teacher.needs_pixels:
                digest.update(np.ascontiguousarray(image.pixels()).tobytes())
        return digest.hexdigest()[:32]

    def _ask(self, images: Sequence[TeacherImage]) -> list[Detections | None]:
        found = self.teacher.detect(images)
        if len(found) != len(images):
            fail(
                f"teacher {self.teacher.name}",
                expected=f"an answer for each of {len(images)} images",
                got=str(len(found)),
                do="Correct its detect().",
            )
        return [None if d is None else self._mapped(d) for d in found]

    def _mapped(self, found: Detections) -> Detections:
        """Returns detections in classes of the data set; of two that became one class the best stays."""
        mapped, index = self.class_map.apply(found), self.class_map.index
        merged = {c for c in index.tolist() if c >= 0 and np.sum(index == c) > 1}
        keep = np.full(len(mapped), True)
        for label in merged:
            mine = np.flatnonzero(mapped.labels == label)
            keep[np.delete(mine, distinct(mapped.boxes[mine], mapped.scores[mine], SAME_PLACE))] = False
        return Detections(mapped.boxes[keep], mapped.scores[keep], mapped.labels[keep])


def _file(name: str) -> str:
    """Returns an image's id if it is the name of a file, else an empty string."""
    return name if PurePosixPath(name).suffix else ""


def _write(path: Path, found: Sequence[Detections | None]) -> None:
    """Writes a group's answers: one table of (box, label, score), and how many rows each image has, or -1."""
    counts = [-1 if d is None else len(d) for d in found]
    rows = [
        np.concatenate([d.boxes, d.labels[:, None], d.scores[:, None]], axis=1)
        for d in found
        if d is not None
    ]
    table = np.concatenate([np.zeros((0, 6)), *rows]).astype("float32")
    write_arrays(path, rows=table, counts=np.array(counts, "int64"))


def _read(path: Path) -> list[Detections | None]:
    stored = read_arrays(path, "answers", ("rows", "counts"))
    rows, counts = stored["rows"], stored["counts"]
    is_table = rows.ndim == 2 and rows.shape[1] == 6 and counts.ndim == 1 and counts.dtype.kind == "i"
    if not is_table or np.maximum(counts, 0).sum() != len(rows) or not np.isfinite(rows).all():
        raise MkdError(f"{path}: damaged answers (no table of boxes).")
    parts = np.split(rows, np.cumsum(np.maximum(counts, 0))[:-1])
    return [
        None if count < 0 else Detections(part[:, :4], part[:, 5], part[:, 4].astype("int32"))
        for count, part in zip(counts.tolist(), parts, strict=True)
    ]


def places_of(answers: Sequence[Answer], fit: str, num_classes: int, least_score: float) -> TeacherPlaces:
    """Returns the soft targets of every image, of detections of at least `least_score`.

    With a `least_score` of 1, which makes no labels, soft targets are of at least `SOFT_SCORE`.
    """
    least = least_score if least_score < 1 else SOFT_SCORE
    rows = {}
    for i, answer in enumerate(answers):
        row = answer.row(fit)
        if row is not None:
            keep = row[2] >= least
            rows[i] = row[0][keep], row[1][keep], row[2][keep]
    return TeacherPlaces.of(rows, len(answers), num_classes)
