"""The contract of a teacher that only answers with detections.

Such a teacher is a file of predictions or a network of another family: it has no anchors
of ours and no feature maps. It labels images, and its boxes and classes are soft targets
at the anchors that match them; strategies that need dense predictions or features have
nothing to read from it.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from mkd_tf.detection.postprocess import Detections


@dataclasses.dataclass(frozen=True, eq=False)
class TeacherImage:
    """One original image, as a teacher is asked about it.

    Attributes:
      id: as the data source gives it.
      file_name: its relative name with forward slashes, empty if it is not a file.
      height_width: in pixels, EXIF orientation applied.
      pixels: decodes the image to `[H, W, 3]` uint8 RGB.
    """

    id: str
    file_name: str
    height_width: tuple[int, int]
    pixels: Callable[[], np.ndarray]


class OutputsTeacher:
    """A teacher that answers with detections and nothing else.

    Attributes:
      name: in logs and results.
      class_names: the classes of the teacher itself, in the order of its labels.
      needs_pixels: False for a teacher that answers without decoding an image.
    """

    name: str
    class_names: tuple[str, ...]
    needs_pixels: bool = True

    def fingerprint(self) -> str:
        """Returns a hash of the files and settings that decide the answers, as key of caches."""
        raise NotImplementedError

    def detect(self, images: Sequence[TeacherImage]) -> list[Detections | None]:
        """Returns what is in each of `images`.

        Returns:
          For each image its detections, best first: boxes yxyx as fractions of the original
          image, labels that index `class_names`, scores as the teacher gives them. None for
          an image of which the teacher says nothing, which is not an image without objects.
        """
        raise NotImplementedError

    def notes(self) -> list[str]:
        """Returns lines for the user on what was read: rows left out, images not known."""
        return []
