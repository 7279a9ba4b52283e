"""Reads one COCO instances file: categories, images, their objects, and the problems in it.

    {"images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
     "categories": [{"id": 3, "name": "cat"}],
     "annotations": [{"id": 7, "image_id": 1, "category_id": 3, "bbox": [x, y, width, height],
                      "area": 120.5, "iscrowd": 0, "ignore": 0}]}

Reference: https://cocodataset.org/#format-data. `ignore`, which converters of Pascal
VOC write, becomes `is_difficult`; an image's width and height may be missing.
"""

import dataclasses
import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from mkd_tf.checks import fail
from mkd_tf.data.sources.examples import ImageObject, Problem

Id = int | str
Record = dict[str, Any]
# Most of a file's content, and not used here. They are dropped while the file is parsed,
# so that those of COCO's 860,000 objects are never in memory at once.
_UNREAD = ("segmentation", "keypoints", "segments_info", "attributes")


@dataclasses.dataclass(frozen=True, slots=True)
class CocoImage:
    """An image as a file lists it; `size` is (width, height), None if the file does not give it."""

    image_id: Id
    file_name: str
    size: tuple[int, int] | None
    objects: tuple[ImageObject, ...]


@dataclasses.dataclass(frozen=True)
class CocoFile:
    """The content of a file.

    Attributes:
      name: of the file in problems.
      categories: names by id, in the order of the ids.
      images: in the order of the file; objects in the order of the file.
      problems: of images and annotations, which are left out of `images`.
    """

    path: Path
    name: str
    categories: dict[int, str]
    images: tuple[CocoImage, ...]
    problems: tuple[Problem, ...]


def read_coco_file(path: Path, name: str) -> CocoFile:
    """Reads a file, which problems call `name`, in time and memory proportional to its length.

    Raises:
      MkdError: if it is missing, no JSON, or lacks one of the three lists.
    """
    found = _read_json(path)
    where = f"annotations {path}"
    if not isinstance(found, dict):
        _no_instances(where, f"a {type(found).__name__}")
    categories = _categories(_records(found, "categories", where), where)
    images, problems = _images(_records(found, "images", where), name)
    objects: dict[Id, list[ImageObject]] = {image_id: [] for image_id in images}
    listed = {_id(record, "id") for record in found["images"]} - {None}
    seen: set[Id] = set()
    for position, record in enumerate(_records(found, "annotations", where)):
        index, image_id = _id(record, "id"), _id(record, "image_id")
        index = f"number {position}" if index is None else index
        item = _object(record, index, categories)
        fault = item if isinstance(item, str) else None
        if image_id not in listed:
            fault = f"image {record.get('image_id')!r:.40} is not in the file"
        elif index in seen:
            fault = "its id is that of another annotation"
        seen.add(index)
        if fault or isinstance(item, str):
            class_name = categories.get(_id(record, "category_id"))
            problems.append(Problem(name, index, str(fault), class_name, "annotation"))
        elif image_id in objects:  # else its image is left out, and already among the problems
            objects[image_id].append(item)
    found_images = tuple(CocoImage(i, *images[i], tuple(items)) for i, items in objects.items())
    return CocoFile(path, name, categories, found_images, tuple(problems))


def _read_json(path: Path) -> Any:
    where = f"annotations {path}"
    try:
        return json.loads(path.read_text("utf-8-sig"), object_hook=_without_outlines)
    except FileNotFoundError:
        fail(where, expected="a file", got="none", do="Correct the path.")
    except OSError as error:
        fail(where, expected="a readable file", got=str(error.strerror), do="Give the path of a JSON file.")
    except json.JSONDecodeError as error:
        got = f"{error.msg} at line {error.lineno}, column {error.colno}"
        fail(where, expected="JSON", got=got, do="Correct the file or write it again.")
    except (UnicodeDecodeError, RecursionError) as error:
        fail(where, expected="JSON in UTF-8", got=str(error), do="Write the file again.")


def _without_outlines(record: Record) -> Record:
    for key in _UNREAD:
        record.pop(key, None)
    return record


def _no_instances(where: str, got: str) -> NoReturn:
    expected = "COCO instances: an object with lists 'images', 'annotations' and 'categories'"
    fail(where, expected=expected, got=got, do="Give an instances file; captions and others hold no boxes.")


def _records(found: Record, key: str, where: str) -> list[Record]:
    records = found.get(key)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        _no_instances(where, f"no list of objects called {key!r}")
    return records


def _id(record: Record, key: str) -> Any:
    """Returns an id; None for anything but an integer or text, which might not even be hashable."""
    value = record.get(key)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _categories(records: Collection[Record], where: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for record in records:
        number, name = record.get("id"), record.get("name")
        do = "Correct the categories."
        if not isinstance(number, int) or isinstance(number, bool) or not isinstance(name, str) or not name:
            got = f"{record!r:.80}"
            fail(where, expected="categories with an integer 'id' and a 'name'", got=got, do=do)
        if number in names or name in names.values():
            got = f"{name!r} ({number}) beside {names}"
            fail(where, expected="each category's id and name once", got=f"{got:.120}", do=do)
        names[number] = name
    if not names:
        fail(where, expected="categories", got="none", do="List the classes in 'categories'.")
    return dict(sorted(names.items()))


def _images(
    records: Collection[Record], file: str
) -> tuple[dict[Id, tuple[str, tuple[int, int] | None]], list[Problem]]:
    """Returns (file name, size) by id; of two with the same id or file the first is used."""
    images: dict[Id, tuple[str, tuple[int, int] | None]] = {}
    owners: dict[str, Id] = {}
    problems: list[Problem] = []
    for position, record in enumerate(records):
        image_id, name = _id(record, "id"), record.get("file_name")
        name = name if isinstance(name, str) else ""
        fault = None
        if image_id is None:
            image_id = f"number {position}"
            fault = f"its id is {record.get('id')!r:.40}, not an integer or text"
        elif not name:
            fault = f"its file_name is {record.get('file_name')!r:.40}"
        elif image_id in images:
            fault = f"its id is that of {images[image_id][0]}"
        elif name in owners:
            fault = f"repeats image {owners[name]}"
        if fault:
            problems.append(Problem(file, image_id, fault, name, "image"))
            continue
        owners[name] = image_id
        images[image_id] = (name, _size(record))
    return images, problems


def _size(record: Record) -> tuple[int, int] | None:
    """Returns (width, height); None for missing or zero sizes, as some tools write."""
    width, height = (round(v) if _is_number(v) else 0 for v in (record.get("width"), record.get("height")))
    return (width, height) if width > 0 and height > 0 else None


def _object(record: Record, index: Id, categories: dict[int, str]) -> ImageObject | str:
    """Returns the object of an annotation, or the fault in it."""
    category, box = _id(record, "category_id"), record.get("bbox")
    if category not in categories:
        return f"category {record.get('category_id')!r:.40} is not among the categories"
    if box is None:
        return "no bbox"
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return f"bbox is {box!r:.60}, not four numbers"
    x, y, width, height = map(float, box)
    area = record.get("area")
    return ImageObject(
        index,
        categories[category],
        (x, y, x + width, y + height),
        is_difficult=bool(record.get("ignore")),
        is_crowd=bool(record.get("iscrowd")),
        area=float(area) if _is_number(area) and area > 0 else None,
    )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
