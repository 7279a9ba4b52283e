"""Several teachers as one, and one teacher over two views of each image."""

from collections.abc import Sequence

import numpy as np

from mkd_tf.checks import check_one_of, fail
from mkd_tf.detection.postprocess import Detections
from mkd_tf.detectors.flipped import VIEWS
from mkd_tf.teachers.base import OutputsTeacher, TeacherImage
from mkd_tf.teachers.class_map import normalised
from mkd_tf.teachers.fingerprints import fingerprint
from mkd_tf.teachers.fusing import fuse


class Combined(OutputsTeacher):
    """Fuses the answers of several teachers, see `fusing`; its classes are all of theirs.

    An image is known if one of them knows it; only those that do have a vote.

    Raises:
      MkdError: for fewer than two teachers.
    """

    def __init__(self, members: Sequence[OutputsTeacher]):
        if len(members) < 2:
            do = "Name one teacher without combining it."
            fail("combined teachers", expected="two or more", got=str(len(members)), do=do)
        self.members = list(members)
        self.name = "+".join(member.name for member in members)
        self.needs_pixels = any(member.needs_pixels for member in members)
        labels: dict[str, int] = {}
        names: list[str] = []
        self._labels: list[np.ndarray] = []
        for member in members:
            for name in member.class_names:
                if normalised(name) not in labels:
                    labels[normalised(name)] = len(names)
                    names.append(name)
            own = [labels[normalised(name)] for name in member.class_names]
            self._labels.append(np.array(own, "int32"))
        self.class_names = tuple(names)

    def fingerprint(self) -> str:
        return fingerprint([], "combined", [member.fingerprint() for member in self.members])

    def notes(self) -> list[str]:
        return [f"{member.name}: {line}" for member in self.members for line in member.notes()]

    def detect(self, images: Sequence[TeacherImage]) -> list[Detections | None]:
        answers = [member.detect(images) for member in self.members]
        return [self._fused(column) for column in zip(*answers, strict=True)]

    def _fused(self, answers: Sequence[Detections | None]) -> Detections | None:
        known = [(d, labels) for d, labels in zip(answers, self._labels, strict=True) if d is not None]
        if not known:
            return None
        voters = np.bincount(np.concatenate([labels for _, labels in known]), minlength=len(self.class_names))
        found = [Detections(d.boxes, d.scores, labels[d.labels]) for d, labels in known]
        return fuse(found, dict(enumerate(voters.tolist())))


class Viewed(OutputsTeacher):
    """Asks a teacher about each image and about its mirror image, and fuses both answers.

    Args:
      teacher: it needs pixels.
      views: `flip`, left and right; or `half_turn`.
    """

    def __init__(self, teacher: OutputsTeacher, views: str):
        check_one_of("views", views, tuple(VIEWS))
        if not teacher.needs_pixels:
            do = "Leave views out; predict the views into files of their own."
            got = "predictions in a file"
            fail(f"views of {teacher.name}", expected="a teacher that sees images", got=got, do=do)
        self.teacher, self._views, self._axes = teacher, views, tuple(axis - 1 for axis in VIEWS[views])
        self.name, self.class_names = f"{teacher.name}_{views}", teacher.class_names

    def fingerprint(self) -> str:
        return fingerprint([], "views", self._views, self.teacher.fingerprint())

    def notes(self) -> list[str]:
        return self.teacher.notes()

    def _mirrored(self, image: TeacherImage) -> TeacherImage:
        def pixels() -> np.ndarray:
            return np.ascontiguousarray(np.flip(image.pixels(), self._axes))

        return TeacherImage(image.id, image.file_name, image.height_width, pixels)

    def detect(self, images: Sequence[TeacherImage]) -> list[Detections | None]:
        straight = self.teacher.detect(images)
        mirrored = self.teacher.detect([self._mirrored(image) for image in images])
        voters = dict.fromkeys(range(len(self.class_names)), 2)
        found: list[Detections | None] = []
        for first, second in zip(straight, mirrored, strict=True):
            if first is None or second is None:
                found.append(None)
            else:
                found.append(fuse([first, self._back(second)], voters))
        return found

    def _back(self, found: Detections) -> Detections:
        boxes = found.boxes.copy()
        for axis in self._axes:
            boxes[:, [axis, axis + 2]] = 1 - found.boxes[:, [axis + 2, axis]]
        return Detections(boxes, found.scores, found.labels)
