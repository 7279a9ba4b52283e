"""Reads one COCO instances file: categories, images, their objects, and the problems in it.

    {"images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
     "categories": [{"id": 3, "name": "cat"}],
     "annotations": [{"id": 7, "image_id": 1, "category_id": 3, "bbox": [x, y, width, height],
                      "area": 120.5, "iscrowd": 0, "ignore": 0}]}

Reference: https://cocodataset.org/#format-data. `ignore`, which converters of Pascal
VOC write, becomes `is_difficult`; an image's width and height may be missing; an object
without a box has that around its segmentation.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any, NoReturn

from mkd_tf.checks import fail
from mkd_tf.data.sources.coco_categories import Category, read_categories
from mkd_tf.data.sources.coco_content import AROUND, read_content
from mkd_tf.data.sources.examples import ImageObject
from mkd_tf.data.sources.notices import BadExample, Notices, Problem
from mkd_tf.data.sources.values import Box, are_fractions, flag, number, record_id

Id = int | str
Record = dict[str, Any]
_READ: dict[str, Any] = {}


@dataclasses.dataclass(frozen=True, slots=True)
class CocoImage:
    """An image as a file lists it.

    Attributes:
      image_id: its id.
      file_name: as written.
      size: (width, height), None if the file does not give it.
      objects: in the order of the file.
      lost: problems of objects whose box could not be read.
    """

    image_id: Id
    file_name: str
    size: tuple[int, int] | None
    objects: tuple[ImageObject, ...]
    lost: tuple[Problem, ...] = ()


@dataclasses.dataclass(frozen=True)
class CocoFile:
    """The content of a file.

    Attributes:
      path: of the file.
      name: of the file in problems.
      categories: names by id, in the order of the ids.
      images: in the order of the file.
      problems: of images, and of annotations without an image; those of others are in `images`.
      are_fractions: whether all boxes lie within 0..1, and are fractions of their image.
    """

    path: Path
    name: str
    categories: dict[int, str]
    images: tuple[CocoImage, ...]
    problems: tuple[Problem, ...]
    are_fractions: bool = False


def read_coco_file(path: Path, name: str, notices: Notices) -> CocoFile:
    """Reads a file, which problems call `name`, in time and memory proportional to its length.

    Raises:
      MkdError: if it is missing, no JSON, or lacks one of the three lists.
    """
    found = read_content(path)
    where = f"annotations {path}"
    if not isinstance(found, dict):
        _no_instances(where, f"a {type(found).__name__}")
    listed, annotations = _records(found, "categories", where), found.get("annotations")
    used = {record_id(a.get("category_id")) for a in annotations or () if isinstance(a, dict)}
    categories = read_categories(listed, used, where, name, notices)
    images, shared, problems = _images(_records(found, "images", where), name, notices)
    all_ids = {record_id(record.get("id")) for record in found["images"]} - {None}
    by_name: dict[str, Id] | None = None
    strays = 0
    objects: dict[Id, list[ImageObject]] = {image_id: [] for image_id in images}
    lost: dict[Id, list[Problem]] = {}
    seen: set[Id] = set()
    for position, record in enumerate(_each_once(_records(found, "annotations", where))):
        index, image_id = record_id(record.get("id")), record_id(record.get("image_id"))
        if index in seen:
            message = "annotations share an id, which nothing needs: all are read"
            notices.add("merged", name, message, str(index))
        index = f"number {position}" if index is None else index
        seen.add(index)
        category = categories.get(record_id(record.get("category_id")))
        class_name = category.name if category else None
        if image_id not in all_ids and isinstance(image_id, str):
            by_name = _ids_by_name(images) if by_name is None else by_name
            if image_id in by_name:
                notices.add(
                    "changed", name, "image_ids that are the names of images are read as those", image_id
                )
                image_id = by_name[image_id]
        if image_id not in all_ids:
            strays += 1
            message = f"image {record.get('image_id')!r:.40} is not in the file"
            problems.append(Problem(name, index, message, class_name, "annotation"))
        elif image_id in objects:  # else its image is left out, and already among the problems
            try:
                if image_id in shared:
                    raise BadExample(f"its image_id is that of {shared[image_id]}")
                objects[image_id] += _objects(record, index, category, name, notices)
            except BadExample as error:
                problem = Problem(name, index, str(error), class_name, "annotation")
                lost.setdefault(image_id, []).append(problem)
    if strays and not all(objects[i] or i in lost for i in objects):
        message = "annotations name images that are not in the file; those without any are taken as negatives"
        notices.add("suspect", name, message, count=strays)
    found_images = tuple(
        CocoImage(i, *images[i], tuple(items), tuple(lost.get(i, ()))) for i, items in objects.items()
    )
    names = {number: category.name for number, category in categories.items()}
    fractions = are_fractions(item.box for items in objects.values() for item in items)
    if fractions:
        message = "all within 0..1 and read as fractions of the image"
        notices.add("changed", "boxes", message, name, count=sum(map(bool, objects.values())))
    return CocoFile(path, name, names, found_images, tuple(problems), fractions)


def _each_once(records: list[Record]) -> Iterator[Record]:
    """Yields records and lets go of each, so that they and what is made of them are not all in memory."""
    for position in range(len(records)):
        yield records[position]
        records[position] = _READ


def _no_instances(where: str, got: str) -> NoReturn:
    expected = "COCO instances: an object with lists 'images', 'annotations' and 'categories'"
    fail(where, expected=expected, got=got, do="Give an instances file; captions and others hold no boxes.")


def _records(found: Record, key: str, where: str) -> list[Record]:
    records = found.get(key)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        _no_instances(where, f"no list of objects called {key!r}")
    return records


def _images(
    records: list[Record], file: str, notices: Notices
) -> tuple[dict[Id, tuple[str, tuple[int, int] | None]], dict[Id, str], list[Problem]]:
    """Returns (file name, size) by id, of two files with one id the first; which files share an id."""
    images: dict[Id, tuple[str, tuple[int, int] | None]] = {}
    shared: dict[Id, str] = {}
    problems: list[Problem] = []
    for position, record in enumerate(records):
        image_id, name = record_id(record.get("id")), record.get("file_name")
        name = name if isinstance(name, str) else ""
        fault = None
        if image_id is None:
            image_id = f"number {position}"
            fault = f"its id is {record.get('id')!r:.40}, not an integer or text"
        elif not name:
            fault = f"its file_name is {record.get('file_name')!r:.40}"
        elif image_id in images and images[image_id][0] == name:
            notices.add("merged", file, "rows of one image are read as one", name)
            continue
        elif image_id in images:
            fault = f"its id is that of {images[image_id][0]}"
            shared[image_id] = f"{shared.get(image_id, images[image_id][0])} and {name}"
        if fault:
            problems.append(Problem(file, image_id, fault, name, "image"))
        else:
            images[image_id] = (name, _size(record))
    return images, shared, problems


def _ids_by_name(images: Mapping[Id, tuple[str, tuple[int, int] | None]]) -> dict[str, Id]:
    """Returns the ids of images by their file names, and by those without folder and suffix."""
    found: dict[str, Id] = {}
    several: set[str] = set()
    for image_id, (name, _) in images.items():
        path = PureWindowsPath(name)  # knows / and \\
        for key in {name, path.name, path.stem}:
            if found.setdefault(key, image_id) != image_id:
                several.add(key)
    return {key: image_id for key, image_id in found.items() if key not in several}


def _size(record: Record) -> tuple[int, int] | None:
    """Returns (width, height); None for missing or zero sizes, as some tools write."""
    try:
        width, height = (round(number(record.get(side), side)) for side in ("width", "height"))
    except BadExample:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _objects(
    record: Record, index: Id, category: Category | None, file: str, notices: Notices
) -> list[ImageObject]:
    """Returns the objects of an annotation: more than one if it has several boxes.

    Raises:
      BadExample: if it has no box that can be read.
    """
    fault, flags = "", {"ignore": False, "iscrowd": False}
    if category is None:
        fault = f"category {record.get('category_id')!r:.40} is not among the categories"
    try:
        boxes = _boxes(record, file, notices)
    except BadExample as error:
        raise BadExample(fault or str(error)) from error
    for key in flags:
        try:
            flags[key] = flag(record.get(key), key)
        except BadExample as error:
            fault = fault or str(error)
    return [
        ImageObject(
            index,
            category.name if category else "",
            box,
            is_difficult=flags["ignore"],
            is_crowd=flags["iscrowd"],
            area=_area(record) if len(boxes) == 1 else None,
            fault=fault,
        )
        for box in boxes
    ]


def _area(record: Record) -> float | None:
    """Returns the area of an object's segment; None if it is not given or not above 0."""
    try:
        area = number(record.get("area"), "area")
    except BadExample:
        return None
    return area if area > 0 else None


def _boxes(record: Record, file: str, notices: Notices) -> list[Box]:
    given = record.get("bbox")
    if not given and AROUND in record:
        around = record[AROUND]
        if isinstance(around, str):
            raise BadExample(around)
        if around is not None:
            notices.add("changed", file, "objects without bbox have the box around their segmentation")
            return [around]
    if given is None:
        raise BadExample("no bbox")
    if given == [] and AROUND in record:
        raise BadExample("bbox is [], not four numbers, and its segmentation is empty")
    if isinstance(given, list) and given and all(isinstance(box, list) for box in given):
        message = "annotations with several boxes are read as several objects"
        notices.add("changed", file, message, str(record.get("id")))
        return [_box(box) for box in given]
    return [_box(given)]


def _box(given: Any) -> Box:
    if not isinstance(given, list) or len(given) != 4:
        kind = "text, " if isinstance(given, str) else ""
        raise BadExample(f"bbox is {kind}{given!r:.60}, not four numbers")
    try:
        x, y, width, height = (number(side, "bbox") for side in given)
    except BadExample as error:
        message = str(error)
        text = message if "comma" in message else f"bbox is {given!r:.60}, not four numbers"
        raise BadExample(text) from error
    return (x, y, x + width, y + height)
