"""`detections`: a file of predictions as a teacher.

    detections(path='predictions.json', images='instances.json')

The file is COCO results, or `detections.json` of `mkd predict`. `images` is a COCO file
whose images give file names to ids and whose categories give names to category ids; beside
`x.json` a file `x_images.json`, as `mkd predict --format=coco` writes it, is found by itself.

An image without rows is unknown, unless the list of images says which ones were predicted:
that of `mkd predict` does, and `empty=True` says it of another.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mkd_tf import schemas
from mkd_tf.checks import MkdError, check_one_of, fail
from mkd_tf.detection.postprocess import Detections
from mkd_tf.options import LOWEST_SCORE
from mkd_tf.schemas.training import DetectionsFile
from mkd_tf.teachers.base import OutputsTeacher, TeacherImage
from mkd_tf.teachers.class_map import listed
from mkd_tf.teachers.class_names import category_names
from mkd_tf.teachers.coco_rows import Key, RowReader, Rows, read_rows
from mkd_tf.teachers.fingerprints import fingerprint
from mkd_tf.teachers.image_list import ImageList, read_image_list
from mkd_tf.teachers.image_names import ImageNames

_FRACTIONS_END = 2.0  # px; boxes of pixels reach further
_BEYOND = 0.1  # of a side; predictions that were not clipped leave the image by less
_MOST_BEYOND = 0.2  # of the rows
_LEAST_BEYOND = 10  # rows
_ASPECT = 0.03  # relative; sizes that were rounded when images were scaled differ by less


def companion(path: str | Path) -> Path:
    """Returns where the list of images of a results file lies that `mkd predict` wrote."""
    path = Path(path)
    return path.with_name(f"{path.stem}_images.json")


class FileDetections(OutputsTeacher):
    """Predictions in a file; see the module.

    Args:
      path: the file.
      images: a COCO file that lists the images; may be left out, see the module.
      classes: names of the categories where no list of images gives them: by id, as in
        `{1: 'cat', 3: 'dog'}`; in order; or `coco` for COCO's own ids.
      empty: whether an image of the list without rows is one without objects.
      on_bad_rows: `fail`, or `skip` to leave out rows with a fault and report them.

    Raises:
      MkdError: if a file cannot be read, rows have faults, categories have no names, or boxes
        are fractions.
    """

    needs_pixels = False

    def __init__(
        self,
        path: str,
        images: str = "",
        classes: Any = "",
        empty: bool = False,
        on_bad_rows: str = "fail",
    ):
        check_one_of("on_bad_rows", on_bad_rows, ("fail", "skip"))
        self.name = Path(path).stem
        self._where = f"teacher detections({path})"
        self._notes: list[str] = []
        self._beyond = self._asked = 0
        self._sizes: Mapping[Key, tuple[int, int] | None] = {}
        file = Path(path).expanduser()
        beside = companion(file)
        listing = Path(images).expanduser() if images else beside if beside.is_file() else None
        self._fingerprint = fingerprint([file, *([listing] if listing else [])], classes, empty, on_bad_rows)
        own = _own_file(file)
        names: dict[Key, str] | None
        if own is not None:
            rows, self.class_names, names = _own_rows(own)
            self._answered = set(names)
            if own["score_threshold"] > LOWEST_SCORE:
                self._notes.append(f"nothing below a score of {own['score_threshold']:g} is in the file")
            labels = rows.category
        else:
            found = read_image_list(listing) if listing else None
            rows = read_rows(file, self._where)
            self._check(rows, found, on_bad_rows)
            known = (found.categories or None) if found and not classes else None
            ids = category_names(self._where, known, classes, np.unique(rows.category).tolist())
            self.class_names = tuple(ids.values())
            labels = np.searchsorted(np.array(list(ids), "int64"), rows.category)
            names, self._answered = None, set(rows.keys)
            if found:
                names, self._sizes = found.names, found.sizes
                if empty or listing == beside:
                    self._answered |= set(names)
        self._names = ImageNames(self._where, names, dict.fromkeys([*(names or ()), *rows.keys]))
        self._arrange(rows, labels)

    def fingerprint(self) -> str:
        return self._fingerprint

    def notes(self) -> list[str]:
        return list(self._notes)

    def _arrange(self, rows: Rows, labels: np.ndarray) -> None:
        # By image, and in each the best first.
        order = np.lexsort((-rows.scores, rows.image))
        counts = np.bincount(rows.image, minlength=len(rows.keys))
        ends = np.cumsum(counts)
        self._places = {
            k: slice(e - c, e) for k, e, c in zip(rows.keys, ends.tolist(), counts.tolist(), strict=True)
        }
        self._boxes, self._scores = rows.boxes[order], rows.scores[order]
        self._labels = labels[order].astype("int32")
        count, images = len(order), len(self._answered)
        self._notes.insert(0, f"{count} detections in {images} images, {len(self.class_names)} classes")

    def _check(self, rows: Rows, images: ImageList | None, on_bad_rows: str) -> None:
        """Refuses what cannot be right, and notes what is left out."""
        faults = ", ".join(f"{count} times {fault}" for fault, count in rows.faults.items())
        if rows.faults and on_bad_rows == "fail":
            examples = "\n  ".join(rows.examples)
            raise MkdError(
                f"{self._where}: expected sound rows, got {sum(rows.faults.values())} bad ones ({faults}):\n"
                f"  {examples}\nCorrect the file, or leave them out with on_bad_rows='skip'."
            )
        if rows.faults:
            self._notes.append(f"{sum(rows.faults.values())} rows are left out: {faults}")
        if not len(rows.scores):
            fail(self._where, expected="detections", got="none", do="Give a file with predictions.")
        self._check_unit(rows)
        if images is not None:
            self._check_keys(rows, images)
            sizes = [images.sizes.get(key) or (np.inf, np.inf) for key in rows.keys]
            width, height = np.array(sizes, "float64")[rows.image].T
            beyond = _leaves(_as_fractions(rows.boxes, width, height))
            self._check_inside(int(beyond.sum()), int(np.isfinite(width).sum()))

    def _check_unit(self, rows: Rows) -> None:
        reach = float((rows.boxes[:, :2] + rows.boxes[:, 2:]).max())
        if reach <= _FRACTIONS_END:
            do = "Multiply x and width by the width of the image, y and height by its height."
            got = f"boxes that reach {reach:g}, so fractions"
            fail(self._where, expected="boxes in pixels of the original image", got=got, do=do)

    def _check_keys(self, rows: Rows, found: ImageList) -> None:
        strange = [k for k in rows.keys if k not in found.names]
        if len(strange) == len(rows.keys):
            expected = (
                f"ids of images that {found.path} lists, as {listed([str(i) for i in list(found.names)[:3]])}"
            )
            do = "Give the list of images of these predictions."
            fail(self._where, expected=expected, got=listed([str(k) for k in strange], 3), do=do)
        if strange:
            shown = listed([str(k) for k in strange], 5)
            self._notes.append(f"{len(strange)} image ids are not in {found.path.name}: {shown}")

    def detect(self, images: Sequence[TeacherImage]) -> list[Detections | None]:
        """Returns what the file has of each image; see `OutputsTeacher.detect`.

        Raises:
          MkdError: if boxes or sizes show that the predictions are of other images, or an image
            fits several of the file.
        """
        found: list[Detections | None] = []
        for image in images:
            key = self._names.find(image)
            if key is None or key not in self._answered:
                found.append(None)
                continue
            boxes = self._fractions(key, image)
            self._beyond += int(_leaves(boxes).sum())
            self._asked += len(boxes)
            place = self._places.get(key, slice(0, 0))
            boxes = np.clip(boxes, 0, 1)
            keep = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
            found.append(Detections(boxes[keep], self._scores[place][keep], self._labels[place][keep]))
        # Images come in small groups, and a few boxes may leave any image.
        if self._beyond >= _LEAST_BEYOND:
            self._check_inside(self._beyond, self._asked)
        return found

    def _check_inside(self, beyond: int, count: int) -> None:
        if beyond > _MOST_BEYOND * count:
            got = f"{beyond} of {count} boxes that leave their images by a tenth and more"
            do = "Write [x, y, width, height], not two corners; and check that the images are the same ones."
            fail(self._where, expected="boxes in pixels of these images", got=got, do=do)

    def _fractions(self, key: Key, image: TeacherImage) -> np.ndarray:
        """Returns an image's boxes `[D, 4]` yxyx as fractions."""
        height, width = image.height_width
        size = self._sizes.get(key)
        if size is not None:
            if abs(size[0] * height / (size[1] * width) - 1) > _ASPECT:
                got = f"{size[0]}x{size[1]} in the list of images, {width}x{height} in the data set"
                turned = abs(size[0] * width / (size[1] * height) - 1) <= _ASPECT
                do = "Predict on images as they are displayed, with EXIF orientation applied."
                do = do if turned else "Give the predictions of this data set."
                name = image.file_name or image.id
                fail(f"{self._where}, image {name}", expected="the same proportions", got=got, do=do)
            width, height = size
        return _as_fractions(self._boxes[self._places.get(key, slice(0, 0))], width, height)


def _as_fractions(boxes: np.ndarray, width: Any, height: Any) -> np.ndarray:
    """Returns boxes (x, y, width, height) in pixels as yxyx fractions of images, float32.

    Args:
      boxes: `[D, 4]`.
      width, height: of the image of each box `[D]`, or of all.
    """
    x, y, w, h = boxes.astype("float64").T
    found = np.stack([y / height, x / width, (y + h) / height, (x + w) / width], axis=1)
    return found.astype("float32")


def _leaves(boxes: np.ndarray) -> np.ndarray:
    """Returns which boxes, as fractions, leave their image by far, `[D]` bool."""
    return np.asarray(np.any((boxes < -_BEYOND) | (boxes > 1 + _BEYOND), axis=1))


def _own_file(path: Path) -> DetectionsFile | None:
    """Returns the content of a `detections.json` of `mkd predict`, None for another file."""
    if not path.is_file():
        return None
    with open(path, "rb") as stream:
        start = stream.read(256).lstrip()
    if not start.startswith(b"{"):
        return None
    if b'"class_names"' not in start and b'"schema"' not in start:
        expected = "a list of COCO results, or detections.json of mkd predict"
        do = "Give the predictions; a file with the objects of images goes into images=."
        fail(f"teacher detections({path})", expected=expected, got="another JSON object", do=do)
    return schemas.read(path, DetectionsFile)


def _own_rows(file: DetectionsFile) -> tuple[Rows, tuple[str, ...], dict[Key, str]]:
    reader = RowReader()
    labels = {name: label for label, name in enumerate(file["class_names"])}
    names: dict[Key, str] = {}
    for image in file["images"]:
        names[image["file"]] = image["file"]
        for found in image["detections"]:
            y0, x0, y1, x1 = found["box"]
            row = {"image_id": image["file"], "category_id": labels[found["label"]], "score": found["score"]}
            reader.add(row | {"bbox": [x0, y0, x1 - x0, y1 - y0]})
    return reader.rows(), tuple(labels), names
