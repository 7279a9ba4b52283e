"""A teacher's detections beside the labels: they go through the same augmentation, mosaic and mixup.

Every place of `detection.from_detections.places` has a number. It takes the room of a label,
above those of the classes, so that places travel as further boxes of their image, and are
told apart from the labels when the batch is made.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from mkd_tf.data.pipeline.image_store import Boxes, Row, pad_boxes
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.from_detections import different_grids, outputs_at_anchors, places


@dataclasses.dataclass(frozen=True, eq=False)
class TeacherPlaces:
    """What a teacher that only answers with detections says of every image of a store.

    Attributes:
      boxes: the places of every image; a label is the place's row of `profiles`, a weight its
        largest class score. An image of which the teacher says nothing has none.
      profiles: `[P, C]` float32, class scores relative to the largest of their place.
    """

    boxes: Boxes
    profiles: np.ndarray

    @classmethod
    def of(cls, rows: Mapping[int, Row], images: int, num_classes: int) -> "TeacherPlaces":
        """Joins the detections of each image into places.

        Args:
          rows: of each image that the teacher knows, by index, its boxes `[D, 4]` as fractions
            of the canvas, labels `[D]` and scores `[D]`.
          images: number of images in the store.
          num_classes: C.
        """
        nothing = np.zeros((0, 4), "float32"), np.zeros(0, "int32"), np.zeros(0, "float32")
        profiles, padded, count = [np.zeros((0, num_classes), "float32")], [nothing] * images, 0
        for i in sorted(rows):
            boxes, labels, scores = rows[i]
            corners, each = places(boxes, scores, labels, num_classes)
            most = each.max(axis=1, initial=0)
            padded[i] = corners, np.arange(count, count + len(each), dtype="int32"), most
            profiles.append(each / np.maximum(most, 1e-12)[:, None])
            count += len(each)
        known = np.array([i in rows for i in range(images)])
        return cls(pad_boxes(padded, known), np.concatenate(profiles).astype("float32"))

    def beside(self, labels: Boxes) -> Boxes:
        """Returns `labels` with the places as further boxes."""
        mine, first = self.boxes, self.first_label
        return Boxes(
            np.concatenate([labels.boxes, mine.boxes], axis=1),
            np.concatenate([labels.labels, mine.labels + np.int32(first)], axis=1),
            np.concatenate([labels.weights, mine.weights], axis=1),
            labels.known,
        )

    @property
    def first_label(self) -> int:
        """The label of the first place: above the classes and the background."""
        return self.profiles.shape[1] + 1

    def split(
        self,
        anchors: Mapping[str, Anchors],
        boxes: tf.Tensor,
        labels: tf.Tensor,
        weights: tf.Tensor,
        image_size: int,
        profiles: tf.Tensor,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Takes the places out of a batch's boxes.

        Args:
          anchors: of each role that learns.
          boxes: `[B, M, 4]` float32 yxyx in pixels of an input of `image_size`.
          labels: `[B, M]` int32 of labels and places.
          weights: `[B, M]` float32.
          image_size: side of the largest input.
          profiles: as a tensor made outside of the graph, which would hold a copy otherwise.

        Returns:
          The weights `[B, M]` of the labels alone, and the teacher's outputs at the anchors of
          `from_detections.joined_anchors`.
        """
        is_place = labels >= self.first_label
        rows = tf.where(is_place, labels - self.first_label, 0)
        own = tf.where(is_place, tf.maximum(weights, 0.0), 0.0)  # not those that a crop cut off
        parts: Sequence[dict[str, tf.Tensor]] = [
            outputs_at_anchors(grid, boxes * (grid.image_size / image_size), rows, own, profiles)
            for grid in different_grids(anchors)
        ]
        outputs = {name: tf.concat([part[name] for part in parts], axis=1) for name in parts[0]}
        return tf.where(is_place, 0.0, weights), outputs
