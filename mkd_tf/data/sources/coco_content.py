"""Reads the content of a COCO file without outlines and key points, of which most of it consists."""

import json
import mmap
import os
import re
from pathlib import Path
from typing import Any

from mkd_tf.checks import fail
from mkd_tf.data.sources.masks import segmentation_box
from mkd_tf.data.sources.notices import BadExample
from mkd_tf.data.text_files import read_text
from mkd_tf.file_limits import check_text

Record = dict[str, Any]
AROUND = "box around its segmentation"
"""The key of an annotation without a box, for the box around its outline or why there is none."""
# Most of a file's content, and not used here. They are dropped while the file is parsed,
# so that those of COCO's 860,000 objects are never in memory at once.
_UNREAD = ("segmentation", "keypoints", "segments_info", "attributes")
_MASKS = re.compile(rb'"(segmentation|keypoints)"\s*:\s*(?:\[[\[\]\d\s.,eE+-]*\]|\{[^{}]*\})')


def read_content(path: Path) -> Any:
    """Returns what a file holds, each annotation without a box with that around its outline.

    Raises:
      MkdError: if it cannot be read, is no JSON, or larger than `--limits` allow.
    """
    where = f"annotations {path}"
    if os.path.isfile(path):
        check_text(path)
    if (found := _without_masks(path)) is not None:
        return found
    try:
        return json.loads(read_text(path), object_hook=_without_outlines)
    except FileNotFoundError:
        fail(where, expected="a file", got="none", do="Correct the path.")
    except OSError as error:
        fail(where, expected="a readable file", got=str(error.strerror), do="Give the path of a JSON file.")
    except json.JSONDecodeError as error:
        got = f"{error.msg} at line {error.lineno}, column {error.colno}"
        fail(where, expected="JSON", got=got, do="Correct the file or write it again.")
    except (UnicodeDecodeError, RecursionError) as error:
        fail(where, expected="JSON in UTF-8", got=str(error), do="Write the file again.")
    except ValueError as error:  # a number of more digits than Python reads
        fail(where, expected="JSON", got=str(error), do="Correct the file or write it again.")


def _without_masks(path: Path) -> Any:
    """Returns the content of a file without outlines and key points, which are cut out before it is parsed.

    They are nine tenths of COCO's files. None if there is any fault, or an object without a box
    that needs its outline: then the file is parsed as it is, three times as slowly.
    """
    try:
        with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            text = _MASKS.sub(rb'"\1":true', content)
        found = json.loads(text.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    annotations = found.get("annotations") if isinstance(found, dict) else None
    if not isinstance(annotations, list):
        return None
    is_cut = any(isinstance(a, dict) and not a.get("bbox") and "segmentation" in a for a in annotations)
    return None if is_cut else found


def _without_outlines(record: Record) -> Record:
    if record.get("segmentation") and not record.get("bbox"):
        try:
            record[AROUND] = segmentation_box(record["segmentation"])
        except BadExample as error:
            record[AROUND] = str(error)
    for key in _UNREAD:
        record.pop(key, None)
    return record
