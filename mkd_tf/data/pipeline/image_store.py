"""The image store: a split's images at one size, with their boxes padded to one length.

Images are stretched (or letterboxed) to a canvas somewhat larger than the input, so that
zooming in keeps detail. They are kept in memory if all of them fit; otherwise in a file, if
there is a disk for it (`canvas_file`); otherwise they are decoded at each use.
"""

import concurrent.futures
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.data.base import AnnotatedSplit, Element, annotation_of, image_of, unknown_of
from mkd_tf.data.image_files import fit_boxes, fit_image
from mkd_tf.data.pipeline.canvas_file import CanvasFile

CANVAS_SCALE = 1.25
IGNORED = -1.0
"""Weight of an area whose objects are unknown, see `targets.ignored`; any negative weight means the same."""
_THREADS = 4
_SAMPLED, _AT_ONCE = 256, 64


@dataclasses.dataclass(frozen=True)
class Boxes:
    """Boxes of every image of a store, padded to M with weight 0.

    Attributes:
      boxes: `[N, M, 4]` float32 yxyx, 0..1 of the canvas.
      labels: `[N, M]` int32.
      weights: `[N, M]` float32, `IGNORED` for the area of a crowd or of unknown content.
      known: `[N]` float32, 0 for images without labels, where no box does not mean no object.
    """

    boxes: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    known: np.ndarray


Row = tuple[np.ndarray, np.ndarray, np.ndarray]


def pad_boxes(per_image: Sequence[Row], known: np.ndarray) -> Boxes:
    """Returns each image's (boxes, labels, weights) padded to the longest, at least to one row."""
    longest = max([1] + [len(labels) for _, labels, _ in per_image])
    count = len(per_image)
    boxes = np.zeros((count, longest, 4), "float32")
    labels = np.zeros((count, longest), "int32")
    weights = np.zeros((count, longest), "float32")
    for i, (b, c, w) in enumerate(per_image):
        boxes[i, : len(c)], labels[i, : len(c)], weights[i, : len(c)] = b, c, w
    return Boxes(boxes, labels, weights, known.astype("float32"))


class ImageStore:
    """Random access to fitted images and their boxes.

    Args:
      splits: one or several sequences of elements, joined in this order.
      image_size: side in pixels of the largest input that will be made of the images.
      fit: `stretch` or `letterbox`.
      cache_gb: how much memory decoded images may take. If they need more, they are decoded
        when they are used, and an `AnnotatedSplit` is not decoded here.
      on_progress: called with the number of images read so far, and of all images.
      folder: on the disk that may hold decoded images which memory may not; None for no disk.

    Attributes:
      truth: the labels' boxes with weight 1, crowds and unknown areas as ignored areas.
      is_labelled: `[N]` bool.
      fit: `stretch` or `letterbox`.
      gigabytes: the memory that all decoded images take.
      is_cached: whether they are kept in memory.
      is_on_disk: whether each is kept on the disk, once it was decoded.
    """

    def __init__(
        self,
        splits: Sequence[Sequence[Element]],
        image_size: int,
        fit: str,
        cache_gb: float,
        on_progress: Callable[[int, int], None] | None = None,
        folder: Path | None = None,
    ):
        self._where = [(split, i) for split in splits for i in range(len(split))]
        if not self._where:
            do = "Check the data set's train split."
            fail("training images", expected="at least one", got="none", do=do)
        self._side = int(round(image_size * CANVAS_SCALE))
        self.fit = fit
        self.gigabytes = len(self) * self._side**2 * 3 / 2**30
        self.is_cached = self.gigabytes <= cache_gb
        self._pool = concurrent.futures.ThreadPoolExecutor(_THREADS)  # its threads start at the first use
        shape = (len(self), self._side, self._side, 3)
        self._cache = np.zeros(shape, "uint8") if self.is_cached else None
        self._canvas = None if self.is_cached else self._on_disk(folder)
        self.is_on_disk = self._canvas is not None
        self.is_labelled = np.zeros(len(self), bool)
        self._ids = [""] * len(self)
        per_image: list[Any] = [None] * len(self)

        def read(i: int) -> None:
            split, position = self._where[i]
            if self._cache is None and (self._canvas is None or isinstance(split, AnnotatedSplit)):
                found = annotation_of(split, position)
            else:
                found = split[position]
                self._keep(i, fit_image(found["image"], self._side, self.fit))
                found = {"height_width": found["image"].shape[:2]} | found
            per_image[i] = self._row_of(found)
            self.is_labelled[i], self._ids[i] = bool(found["is_labelled"]), str(found["image/id"])

        for done, _ in enumerate(self._pool.map(read, range(len(self))), start=1):
            if on_progress is not None:
                on_progress(done, len(self))
        self.truth = pad_boxes(per_image, self.is_labelled)

    def __len__(self) -> int:
        return len(self._where)

    def _on_disk(self, folder: Path | None) -> CanvasFile | None:
        if folder is None or not CanvasFile.has_room(folder, len(self) * self._side**2 * 3):
            return None
        try:
            return CanvasFile(folder, len(self), self._side)
        except OSError:
            return None

    def _keep(self, i: int, canvas: np.ndarray) -> None:
        if self._cache is not None:
            self._cache[i] = canvas
        elif self._canvas is not None:
            self._canvas.write(i, canvas)

    def _row_of(self, found: Element) -> Row:
        objects = found["objects"]
        boxes = fit_boxes(objects["bbox"], found["height_width"], self.fit)
        # A crowd is a box around many objects: no location is assigned to it, and none in
        # it is background.
        weights = np.where(objects["is_crowd"], IGNORED, 1.0).astype("float32")
        unknown = fit_boxes(unknown_of(found), found["height_width"], self.fit)
        count = len(unknown)
        if not count:
            return boxes, objects["label"], weights
        labels = np.append(objects["label"], np.zeros(count, "int32"))
        weights = np.append(weights, np.full(count, IGNORED, "float32"))
        return np.concatenate([np.reshape(boxes, (-1, 4)), unknown]), labels, weights

    def digest(self) -> str:
        """Returns a hash of the images' ids, in order, and of their labels."""
        digest = hashlib.sha256("\n".join(self._ids).encode())
        for array in (self.is_labelled, self.truth.boxes, self.truth.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
        if (self.truth.weights < 0).any():
            digest.update(self.truth.weights.tobytes())
        return digest.hexdigest()

    def content_digest(self) -> str:
        """Returns a hash of the images' pixels, as they are fitted to the canvas.

        Of all images if they are in memory, else of `_SAMPLED` spread evenly: each would
        have to be decoded once more.
        """
        count = len(self) if self.is_cached else min(_SAMPLED, len(self))
        digest = hashlib.sha256(f"{count} of {len(self)}".encode())
        chosen = np.arange(count) * len(self) // count
        for start in range(0, count, _AT_ONCE):
            digest.update(np.ascontiguousarray(self.images(chosen[start : start + _AT_ONCE])).tobytes())
        return digest.hexdigest()

    def row(self, i: int) -> Row:
        """Returns boxes, labels and weights of image `i` without padding."""
        keep = self.truth.weights[i] != 0
        return self.truth.boxes[i][keep], self.truth.labels[i][keep], self.truth.weights[i][keep]

    def images(self, indices: np.ndarray) -> np.ndarray:
        """Returns canvases `[B, side, side, 3]` uint8."""
        if self._cache is not None:
            return self._cache[indices]

        found = np.empty((len(indices), self._side, self._side, 3), "uint8")
        rows = list(enumerate(indices.tolist()))

        def decode(row: tuple[int, int]) -> None:
            found[row[0]] = fit_image(image_of(*self._where[row[1]]), self._side, self.fit)
            self._keep(row[1], found[row[0]])

        stored = self._canvas
        missing = rows if stored is None else [row for row in rows if not stored.read(row[1], found[row[0]])]
        for _ in self._pool.map(decode, missing):  # raises what a thread raised
            pass
        return found

    def fitted(self, indices: np.ndarray, side: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Returns images fitted from their originals, as an evaluation does, and the originals' sizes.

        Not by way of the canvas: images that are resized twice are others than those that the same
        network finds objects in elsewhere.

        Returns:
          `[B, side, side, 3]` uint8, and (height, width) of each original.
        """

        def fit(i: int) -> tuple[np.ndarray, tuple[int, int]]:
            original = image_of(*self._where[i])
            return fit_image(original, side, self.fit), original.shape[:2]

        images, sizes = zip(*self._pool.map(fit, indices.tolist()), strict=True)
        return np.stack(images), list(sizes)
