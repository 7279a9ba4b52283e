"""Reads one JSON export of Label Studio: its tasks, each an image with the regions of one annotation.

    [{"id": 1, "data": {"image": "/data/upload/1/0a1b2c3d-a.jpg"},
      "annotations": [{"was_cancelled": false, "result": [
        {"id": "x1", "type": "rectanglelabels", "original_width": 640, "original_height": 480,
         "value": {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0,
                   "rectanglelabels": ["cat"]}}]}]}]

Coordinates are percent of the image. A rectangle turns about its upper left corner. Polygons,
ellipses and brushes become the box around them. Of several annotations of a task, the one
marked as ground truth is read, else the newest; a cancelled one (a skipped task) is none.
The short form ("JSON-MIN") is read too. Predictions are not labels, and are not read.
Reference: https://labelstud.io/guide/task_format.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mkd_tf.checks import MkdError, fail
from mkd_tf.data.image_files import IMAGE_SUFFIXES
from mkd_tf.data.sources.examples import ImageObject
from mkd_tf.data.sources.masks import points_box
from mkd_tf.data.sources.names import class_name
from mkd_tf.data.sources.notices import BadExample, Notices, Problem
from mkd_tf.data.sources.outlines import brush_box, ellipse_box, turned_box
from mkd_tf.data.sources.values import Box, flag, number, record_id
from mkd_tf.data.text_files import read_text

Record = dict[str, Any]
_LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "brushlabels", "labels", "keypointlabels")
_GEOMETRY = ("x", "points", "rle")
_FULL = 100.0  # percent
_SIZE = ("original_width", "original_height")
_AGES = ("updated_at", "created_at")


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A task: its image as the file names it, and what was drawn.

    Attributes:
      index: its id.
      image: a path or an address; empty if the task names none.
      size: (width, height) of the image, None if the file does not give it.
      objects: their boxes in fractions of the image; None if there is no annotation.
      problems: of regions that cannot be read.
    """

    index: int | str
    image: str
    size: tuple[int, int] | None
    objects: tuple[ImageObject, ...] | None
    problems: tuple[Problem, ...]


def read_label_studio_file(path: Path, file: str, notices: Notices) -> list[Task]:
    """Reads a file, which problems call `file`.

    Raises:
      MkdError: if it is no JSON, or no list of tasks.
    """
    where = f"annotations {path}"
    try:
        found = json.loads(read_text(path))
    except MkdError:
        raise
    except OSError as error:
        fail(where, expected="a readable file", got=str(error.strerror), do="Correct the path.")
    except (ValueError, RecursionError) as error:
        fail(where, expected="JSON", got=f"{error!s:.100}", do="Correct the file or export it again.")
    if not isinstance(found, list) or not all(isinstance(task, dict) for task in found):
        do = "Export the project as JSON."
        fail(where, expected="a list of tasks", got=f"a {type(found).__name__}", do=do)
    return [_task(task, position, file, notices) for position, task in enumerate(found)]


def _task(task: Record, position: int, file: str, notices: Notices) -> Task:
    index = task.get("id")
    index = index if isinstance(index, int | str) else f"number {position}"
    data = task.get("data")
    is_short = not isinstance(data, dict)
    image = _image(task if is_short else data or {})
    results = _short_results(task) if is_short else _results(task, image or str(index), file, notices)
    if results is None:
        return Task(index, image, None, None, ())
    objects: list[ImageObject] = []
    problems: list[Problem] = []
    labelled = {_id(r) for r in results if isinstance(r, dict) and _labels(r.get("value"))} - {None}
    for number_in_task, region in enumerate(results):
        try:
            if not isinstance(region, dict) or not isinstance(region.get("value"), dict):
                continue  # a relation, or an answer about the whole image
            value = region["value"]
            if not value.keys() & {*_GEOMETRY, *_LABELS}:
                if value.keys() & {"choices", "taxonomy"}:
                    notices.add("unused", file, "choices of whole images are not read", image)
                continue
            names = _labels(value)
            if not names and _id(region) in labelled:
                continue  # its label is a region of its own with the same geometry
            box = _region_box(region, value)
            label, fault = _label(names, file, notices)
            objects.append(ImageObject(number_in_task, label, box, is_difficult=False, fault=fault))
        except BadExample as error:
            problems.append(Problem(file, f"{index} region {number_in_task}", str(error), None, "task"))
    return Task(index, image, _size(results), tuple(objects), tuple(problems))


def _id(region: Record) -> int | str | None:
    return record_id(region.get("id"))


def _image(data: Mapping[str, Any]) -> str:
    """Returns the value of a task that is the path of an image: `image` and the like, or the only one."""
    paths = {k: v for k, v in data.items() if isinstance(v, str) and _is_image(v)}
    for key in ("image", "img", "image_url", "url", "photo", "picture"):
        text = paths.get(key) or data.get(key)
        if isinstance(text, str) and text:
            return text
    return next(iter(paths.values())) if len(set(paths.values())) == 1 else ""


def _is_image(text: str) -> bool:
    return text.split("?")[0].lower().endswith(IMAGE_SUFFIXES) or text.lower().endswith(IMAGE_SUFFIXES)


def _results(task: Record, image: str, file: str, notices: Notices) -> list[Any] | None:
    """Returns the regions of the annotation that counts; None if there is none."""
    given = task.get("annotations", task.get("completions"))
    all_of_them = [a for a in given if isinstance(a, dict)] if isinstance(given, list) else []
    done = [a for a in all_of_them if not _is_set(a, "was_cancelled") and isinstance(a.get("result"), list)]
    if len(done) < len(all_of_them):
        notices.add("unused", file, "cancelled annotations are not read", image)
    if not done:
        return None
    if len(done) > 1:
        message = "of several annotations of a task the ground truth is read, else the newest"
        notices.add("unused", file, message, image)
    ranked = sorted(
        enumerate(done),
        key=lambda item: (_is_set(item[1], "ground_truth"), *(str(item[1].get(k)) for k in _AGES), item[0]),
    )
    results: list[Any] = ranked[-1][1]["result"]
    return results


def _short_results(task: Record) -> list[Any]:
    """Returns the regions of JSON-MIN in the long form: the lists of objects with coordinates."""
    return [
        {"id": f"{key} {position}", "value": region} | {k: region.get(k) for k in _SIZE}
        for key, regions in task.items()
        if isinstance(regions, list)
        for position, region in enumerate(regions)
        if isinstance(region, dict)
    ]


def _labels(value: Any) -> Sequence[Any]:
    found = [value[key] for key in _LABELS if key in value] if isinstance(value, dict) else []
    return found[0] if found and isinstance(found[0], list) else []


def _label(names: Sequence[Any], file: str, notices: Notices) -> tuple[str, str]:
    """Returns the class of a region, and why there is none; one of them is empty."""
    if len(names) != 1:
        return "", f"{len(names)} labels ({', '.join(map(str, names))}), expected one"
    try:
        return class_name(names[0], file, notices), ""
    except BadExample as error:
        return "", str(error)


def _region_box(region: Record, value: Record) -> Box:
    """Returns the box of a region in fractions of the image."""
    size = _size([region])
    if number(region.get("image_rotation") or 0, "image_rotation") % 360:
        angle = region["image_rotation"]
        raise BadExample(f"image_rotation is {angle!r:.20}: the image was turned in the tool, expected 0")
    if "rle" in value:
        if size is None or not isinstance(value["rle"], list):
            raise BadExample("a brush without original_width, original_height and a list rle")
        box = brush_box(value["rle"], *size)
        if box is None:
            raise BadExample("its brush is empty")
        return _as_fractions(box, size)
    if "points" in value:
        points = value["points"]
        box = points_box(points if isinstance(points, list) else [], "polygon")
        return _as_fractions(box, (_FULL, _FULL))
    rotation = number(value.get("rotation") or 0, "rotation")
    x, y = number(value.get("x"), "x"), number(value.get("y"), "y")
    # Percent of width and of height differ in pixels: what is turned is turned in pixels.
    width, height = size or (_FULL, _FULL)
    if rotation % 360 and size is None:
        raise BadExample("a turned region without original_width and original_height")
    scale_x, scale_y = width / _FULL, height / _FULL
    if "radiusX" in value or "radiusY" in value:
        radius_x, radius_y = (number(value.get(key), key) for key in ("radiusX", "radiusY"))
        found = ellipse_box(x * scale_x, y * scale_y, radius_x * scale_x, radius_y * scale_y, rotation)
        return _as_fractions(found, (width, height))
    if value.get("width") is None or "keypointlabels" in value:
        raise BadExample("a point has no box around an object")
    w, h = number(value.get("width"), "width"), number(value.get("height"), "height")
    pivot = (x * scale_x, y * scale_y)
    corner = ((x + w) * scale_x, (y + h) * scale_y)
    return _as_fractions(turned_box((*pivot, *corner), rotation, pivot), (width, height))


def _as_fractions(box: Box, size: tuple[float, float]) -> Box:
    width, height = size
    return (box[0] / width, box[1] / height, box[2] / width, box[3] / height)


def _size(results: Sequence[Any]) -> tuple[int, int] | None:
    for region in results:
        try:
            width, height = (round(number(region.get(key), key)) for key in _SIZE)
        except (BadExample, AttributeError):
            continue
        if 0 < width < 1 << 20 and 0 < height < 1 << 20:
            return (width, height)
    return None


def _is_set(annotation: Record, key: str) -> bool:
    try:
        return flag(annotation.get(key), key)
    except BadExample:
        return False
