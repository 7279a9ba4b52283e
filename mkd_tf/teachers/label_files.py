"""Files of labels as annotation tools read them, written image by image.

    results   predictions.json, predictions_images.json: COCO results and their images
    coco      annotations.json: COCO instances, each with its `score`
    voc       voc/<image>.xml: Pascal VOC, corners in pixels
    yolo      yolo/labels/<image>.txt, yolo/classes.txt, yolo/data.yaml: fractions

The category id of a class is its label + 1 in COCO, and its label in YOLO. COCO files are
written beside their places and renamed when the last image is done.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.detection.postprocess import Detections
from mkd_tf.files import atomic_write, to_json, write_bytes
from mkd_tf.teachers.base import TeacherImage
from mkd_tf.teachers.detections import companion

Append = Callable[[TeacherImage, Detections], None]
RESULTS = "predictions.json"
_PX, _SCORE = 3, 6  # decimals


def pixel_boxes(found: Detections, height_width: tuple[int, int]) -> np.ndarray:
    """Returns boxes `[D, 4]` float64 yxyx in pixels of the original image."""
    return found.boxes.astype("float64") * np.tile(height_width, 2)


def _categories(class_names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": label + 1, "name": name} for label, name in enumerate(class_names)]


def _record(number: int, image: TeacherImage) -> dict[str, Any]:
    height, width = image.height_width
    return {"id": number, "file_name": image.file_name, "width": width, "height": height}


def _rows(number: int, image: TeacherImage, found: Detections) -> list[dict[str, Any]]:
    """Returns the detections of an image as COCO has them."""
    rows = []
    boxes = pixel_boxes(found, image.height_width)
    for (y0, x0, y1, x1), score, label in zip(boxes.tolist(), found.scores, found.labels, strict=True):
        box = [round(value, _PX) for value in (x0, y0, x1 - x0, y1 - y0)]
        row = {"image_id": number, "category_id": int(label) + 1, "bbox": box}
        rows.append(row | {"score": round(float(score), _SCORE)})
    return rows


class _List:
    """A JSON list that grows in a file, a line for each item."""

    def __init__(self, stream: BinaryIO):
        self._stream, self._separator = stream, "["

    def append(self, item: Any) -> None:
        self._stream.write(f"{self._separator}\n{to_json(item, 'labels')}".encode())
        self._separator = ","

    def close(self, end: str) -> None:
        start = "[" if self._separator == "[" else ""
        self._stream.write(f"{start}\n]{end}\n".encode())


@contextlib.contextmanager
def _results(output: Path, class_names: Sequence[str]) -> Iterator[Append]:
    path = output / RESULTS
    count = 0
    with atomic_write(companion(path)) as listing, atomic_write(path) as stream:
        categories = json.dumps(_categories(class_names), ensure_ascii=False)
        listing.write(f'{{"categories": {categories}, "annotations": [], "images": '.encode())
        images, rows = _List(listing), _List(stream)

        def append(image: TeacherImage, found: Detections) -> None:
            nonlocal count
            count += 1
            images.append(_record(count, image))
            for row in _rows(count, image, found):
                rows.append(row)

        yield append
        images.close("}")
        rows.close("")


@contextlib.contextmanager
def _coco(output: Path, class_names: Sequence[str]) -> Iterator[Append]:
    records: list[dict[str, Any]] = []
    with atomic_write(output / "annotations.json") as stream:
        categories = json.dumps(_categories(class_names), ensure_ascii=False)
        stream.write(f'{{"categories": {categories}, "annotations": '.encode())
        rows, count = _List(stream), 0

        def append(image: TeacherImage, found: Detections) -> None:
            nonlocal count
            records.append(_record(len(records) + 1, image))
            for row in _rows(len(records), image, found):
                count += 1
                _, _, width, height = row["bbox"]
                rows.append({"id": count, "area": round(width * height, _PX), "iscrowd": 0, **row})

        yield append
        rows.close(f', "images": {to_json(records, "labels")}}}')


@contextlib.contextmanager
def _voc(output: Path, class_names: Sequence[str]) -> Iterator[Append]:
    stem_of = _Stems()

    def append(image: TeacherImage, found: Detections) -> None:
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = image.file_name
        size = ElementTree.SubElement(root, "size")
        height, width = image.height_width
        for name, value in (("width", width), ("height", height), ("depth", 3)):
            ElementTree.SubElement(size, name).text = str(value)
        boxes = pixel_boxes(found, image.height_width).round(2).tolist()
        for (y0, x0, y1, x1), label in zip(boxes, found.labels, strict=True):
            entry = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(entry, "name").text = class_names[label]
            ElementTree.SubElement(entry, "difficult").text = "0"
            corners = ElementTree.SubElement(entry, "bndbox")
            for name, value in (("xmin", x0), ("ymin", y0), ("xmax", x1), ("ymax", y1)):
                ElementTree.SubElement(corners, name).text = f"{value:g}" if value < 1e5 else str(value)
        ElementTree.indent(root)
        content = ElementTree.tostring(root, encoding="utf-8")
        write_bytes(output / "voc" / f"{stem_of(image)}.xml", content + b"\n")

    yield append


@contextlib.contextmanager
def _yolo(output: Path, class_names: Sequence[str]) -> Iterator[Append]:
    stem_of, folder = _Stems(), output / "yolo"
    names = [" ".join(name.split()) for name in class_names]
    write_bytes(folder / "classes.txt", "".join(f"{name}\n" for name in names).encode())
    # A JSON string is a YAML string.
    lines = [f"  {label}: {json.dumps(name, ensure_ascii=False)}\n" for label, name in enumerate(names)]
    write_bytes(
        folder / "data.yaml", "".join(["path: .\ntrain: images\nval: images\nnames:\n", *lines]).encode()
    )

    def append(image: TeacherImage, found: Detections) -> None:
        rows = []
        for (y0, x0, y1, x1), label in zip(found.boxes.astype("float64").tolist(), found.labels, strict=True):
            values = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
            rows.append(" ".join([str(int(label)), *(f"{value:.6f}" for value in values)]) + "\n")
        write_bytes(folder / "labels" / f"{stem_of(image)}.txt", "".join(rows).encode())

    yield append


class _Stems:
    """Gives the name of an image's file of labels, and refuses two images of one name."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}

    def __call__(self, image: TeacherImage) -> str:
        stem = str(PurePosixPath(image.file_name).with_suffix(""))
        owner = self._owners.setdefault(stem.lower(), image.file_name)
        if owner != image.file_name:
            do = "Rename one of them, or write COCO alone with --formats=coco."
            got = f"{owner} and {image.file_name}"
            fail("labels", expected="one image of each name, whatever its suffix", got=got, do=do)
        return stem


WRITERS: dict[str, Callable[[Path, Sequence[str]], contextlib.AbstractContextManager[Append]]] = {
    "coco": _coco,
    "voc": _voc,
    "yolo": _yolo,
    "results": _results,
}
"""Writers of labels by format: given the folder and the classes, a context that yields `append`."""
