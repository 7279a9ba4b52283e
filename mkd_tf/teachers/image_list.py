"""Reads the images and the categories that a COCO file lists; its annotations are passed over."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from mkd_tf.checks import LARGEST_NUMBER, MkdError, fail
from mkd_tf.file_limits import check_text
from mkd_tf.teachers.coco_rows import Key

# The objects of a large set are never in memory at once.
_UNREAD = ("segmentation", "keypoints", "bbox", "attributes")


@dataclasses.dataclass(frozen=True)
class ImageList:
    """The images of a file.

    Attributes:
      path: of the file.
      names: file name by id.
      sizes: (width, height) by id, None where the file does not give it.
      categories: names by id, in the order of the ids; empty where there are none.
    """

    path: Path
    names: dict[Key, str]
    sizes: dict[Key, tuple[int, int] | None]
    categories: dict[int, str]


def read_image_list(path: Path) -> ImageList:
    """Reads a COCO file, with annotations or without.

    Raises:
      MkdError: if it is missing, no JSON, or lists no images, or an id or a name twice.
    """
    where = f"images {path}"
    try:
        found = json.loads(check_text(path).read_text("utf-8-sig"), object_hook=_lighter)
    except MkdError:
        raise
    except OSError as error:
        fail(where, expected="a file", got=error.strerror or str(error), do="Correct the path.")
    except (ValueError, RecursionError) as error:
        fail(where, expected="JSON", got=str(error), do="Correct the file or write it again.")
    images = found.get("images") if isinstance(found, dict) else None
    if not isinstance(images, list) or not images:
        do = "Give a COCO file, as the instances that the images belong to."
        fail(where, expected="an object with a list 'images'", got="none", do=do)
    names: dict[Key, str] = {}
    sizes: dict[Key, tuple[int, int] | None] = {}
    for record in images:
        known = isinstance(record, dict)
        key: Any = record.get("id") if known else None
        name: Any = record.get("file_name") if known else None
        if type(key) not in (int, str) or not isinstance(name, str) or not name or key in names:
            fault = "an id twice" if type(key) in (int, str) and key in names else f"{record!r:.80}"
            do = "Correct the list of images."
            fail(where, expected="images with an 'id' of their own and a 'file_name'", got=fault, do=do)
        names[key] = name
        sizes[key] = _size(record)
    return ImageList(path, names, sizes, _categories(found.get("categories") or [], where))


def _lighter(record: dict[str, Any]) -> dict[str, Any]:
    for key in _UNREAD:
        record.pop(key, None)
    return record


def _size(record: dict[str, Any]) -> tuple[int, int] | None:
    width: Any = record.get("width")
    height: Any = record.get("height")
    sound = all(isinstance(side, int | float) and 1 <= side <= LARGEST_NUMBER for side in (width, height))
    return (round(width), round(height)) if sound else None


def _categories(records: Any, where: str) -> dict[int, str]:
    names: dict[int, str] = {}
    if not isinstance(records, list):
        fail(where, expected="a list 'categories'", got=f"{records!r:.80}", do="Correct the categories.")
    for record in records:
        known = isinstance(record, dict)
        number: Any = record.get("id") if known else None
        name: Any = record.get("name") if known else None
        is_id = type(number) is int and abs(number) <= LARGEST_NUMBER
        if not is_id or not isinstance(name, str) or not name or number in names:
            got, do = f"{record!r:.80}", "Correct the categories."
            fail(where, expected="categories with an integer 'id' of their own and a 'name'", got=got, do=do)
        names[number] = name
    return dict(sorted(names.items()))
