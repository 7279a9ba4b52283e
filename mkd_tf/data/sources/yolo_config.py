"""The classes and splits of a YOLO data set: `data.yaml`, darknet's `obj.data`, or a list of classes.

    path: .                     # optional; within the data set's folder
    train: images/train         # a folder, a text file that lists images, or several of these
    val: images/val             # or valid, validation
    test: images/test           # optional
    names: {0: cat, 1: dog}     # or a list

Nothing outside the data set's folder is opened: a path that leads there is an error.
References: https://docs.ultralytics.com/datasets/detect/, https://github.com/AlexeyAB/darknet.
"""

import dataclasses
import os
import re
from pathlib import Path
from typing import Any, NoReturn

import yaml

from mkd_tf.checks import fail
from mkd_tf.data.sources.names import class_name
from mkd_tf.data.sources.notices import BadExample, Notices
from mkd_tf.data.sources.paths import leads_out, parts_of
from mkd_tf.data.sources.split_names import split_of
from mkd_tf.data.text_files import read_text

CLASS_FILES = ("classes.txt", "obj.names", "labels.txt", "predefined_classes.txt")
_EMPTY = ("", "~", "null", "none")
_NUMBERED = re.compile(r"\s*(\d{1,6})(?:\s*[:,;.]\s*|\s+)(\S.*)")  # a class behind its number
_LONGEST = 1 << 23  # bytes of a configuration


@dataclasses.dataclass(frozen=True)
class YoloConfig:
    """What a configuration says.

    Attributes:
      names: the class of each number; empty if the file does not say.
      splits: for each split, folders and text files below the data set's folder.
      has_keypoints: whether the box of a label is followed by key points, not the start of an outline.
    """

    names: dict[int, str]
    splits: dict[str, list[Path]]
    has_keypoints: bool = False


def read_config(root: Path, name: str, notices: Notices) -> YoloConfig:
    """Reads the file `name` in the folder `root`; its suffix decides what it is.

    Raises:
      MkdError: if it cannot be read, has no classes, or leads out of the folder.
    """
    path = root / name
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        return _from_yaml(root, path, notices)
    if suffix == ".data":
        return _from_darknet(root, path, notices)
    return YoloConfig(_listed_names(path, notices), {})


def read_list(path: Path) -> list[str]:
    """Returns the lines of a list of images that are not empty."""
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as error:
        fail(str(path), expected="a readable file", got=str(error.strerror), do="Correct the path.")
    except UnicodeDecodeError:
        fail(str(path), expected="text in UTF-8", got="bytes of another encoding", do="Save it in UTF-8.")


def _from_yaml(root: Path, path: Path, notices: Notices) -> YoloConfig:
    text = _text(path)
    if len(text) > _LONGEST:
        fail(str(path), expected="a configuration", got=f"{len(text):,} characters", do="Check the file.")
    try:
        # BaseLoader makes text, lists and mappings alone: no objects, and a class `no` stays `no`.
        found = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506
    except (yaml.YAMLError, RecursionError) as error:
        fail(str(path), expected="YAML", got=f"{' '.join(str(error).split()):.200}", do="Correct the file.")
    if not isinstance(found, dict):
        fail(str(path), expected="`names` and `train`", got="no mapping", do="Correct the file.")
    base = _base(root, path, found.get("path", ""), notices)
    splits: dict[str, list[Path]] = {}
    for key, value in found.items():
        split = split_of(key) if isinstance(key, str) and key not in ("names", "nc", "path") else None
        places = _places(root, path, base, f"{key}", value, notices) if split else []
        if split and places:
            splits[split] = splits.get(split, []) + places
    names = _names(found.get("names"), path, notices)
    count = found.get("nc")
    if names and isinstance(count, str) and count.strip().isdigit() and int(count) != len(names):
        got = f"nc: {count} and {len(names)} names"
        fail(str(path), expected="as many names as nc says", got=got, do="Correct one of them.")
    return YoloConfig(names, splits, has_keypoints="kpt_shape" in found)


def _from_darknet(root: Path, path: Path, notices: Notices) -> YoloConfig:
    """`key = value` lines; paths begin in the folder that the training ran in, often with `data/`."""
    pairs = [line.partition("=") for line in _text(path).splitlines()]
    found = {key.strip(): value.strip() for key, sign, value in pairs if sign}
    names: dict[int, str] = {}
    if found.get("names"):
        file = _resolved(root, path, path.parent, "names", found["names"], notices)
        if file is not None:
            names = _listed_names(file, notices)
    splits: dict[str, list[Path]] = {}
    for key, value in found.items():
        if (split := split_of(key)) and (places := _places(root, path, path.parent, key, value, notices)):
            splits[split] = splits.get(split, []) + places
    return YoloConfig(names, splits)


def _listed_names(path: Path, notices: Notices) -> dict[int, str]:
    """Returns the classes of a list, one a line, without the numbers that some people put before them."""
    lines = _text(path).rstrip().splitlines()
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if len(lines) > 1 and [int(found[1]) for found in numbered if found] == list(range(len(lines))):
        notices.add("changed", path.name, "the numbers before the classes are left out")
        lines = [found[2] for found in numbered if found]
    return _names(lines, path, notices)


def _names(value: Any, path: Path, notices: Notices) -> dict[int, str]:
    """Returns the classes by number; empty if `value` is None."""
    if value is None or value in ("", {}, []):
        return {}
    do = "Write names as a list, or as `number: name`."
    if isinstance(value, list):
        pairs = list(enumerate(value))
    elif isinstance(value, dict) and all(isinstance(k, str) and k.strip().isdigit() for k in value):
        pairs = sorted((int(key), name) for key, name in value.items())
    else:
        fail(f"{path}: names", expected="a list or numbers with names", got=f"{value!r:.60}", do=do)
    names: dict[int, str] = {}
    for number, name in pairs:
        try:
            names[number] = class_name(name, path.name, notices)
        except BadExample as error:
            fail(f"{path}: names: {number}", expected="a class name", got=str(error), do=do)
    if len(set(names.values())) < len(names):
        twice = next(n for n in names.values() if list(names.values()).count(n) > 1)
        fail(f"{path}: names", expected="each class once", got=f"{twice!r} twice", do="Rename one of them.")
    return names


def _base(root: Path, path: Path, value: Any, notices: Notices) -> Path:
    """Returns the folder that the splits of a `data.yaml` begin in."""
    text = value.strip() if isinstance(value, str) else ""
    if text.lower() in _EMPTY or parts_of(text) == ():
        return path.parent
    if not leads_out(text) and os.path.isdir(path.parent / text):
        return path.parent / text
    if Path(text).is_absolute() and _is_inside(Path(text), root) and os.path.isdir(text):
        return Path(text)
    # Ultralytics looks below a folder of all data sets: `path: ../datasets/coco8` within coco8/.
    # An absolute path that is not here is that of another machine.
    is_here = leads_out(text) and not text.startswith("..") and os.path.exists(text)
    if not is_here and parts_of(text)[-1] == root.resolve().name:
        notices.add("changed", path.name, f"path: {text} is read as the folder of this file")
        return path.parent
    _outside(root, path, "path", text)


def _places(root: Path, path: Path, base: Path, key: str, value: Any, notices: Notices) -> list[Path]:
    """Returns the folders and lists of one split; those that are not there are named."""
    values = value if isinstance(value, list) else [value]
    found: list[Path] = []
    for text in values:
        if not isinstance(text, str):
            fail(f"{path}: {key}", expected="a path", got=f"{text!r:.60}", do="Write the path of a folder.")
        if text.strip().lower() in _EMPTY:
            continue
        place = _resolved(root, path, base, key, text.strip(), notices)
        if place is None:
            notices.add("unused", path.name, f"{key}: {text} is not there")
        else:
            found.append(place)
    return found


def _resolved(root: Path, path: Path, base: Path, key: str, text: str, notices: Notices) -> Path | None:
    """Returns the file or folder that `text` means below the root; None if nothing is there.

    Roboflow writes `../train/images` for what lies beside its file, and darknet's paths begin with
    `data/`: the longest rest of a relative path that is there is meant.
    """
    parts = parts_of(text)
    if leads_out(text) and parts[:1] != ("..",):
        place = Path(text)
        if place.is_absolute() and _is_inside(place, root):
            return place if os.path.exists(place) else None
        tails = [base.joinpath(*parts[cut:]) for cut in range(1, len(parts))]
        found = next((tail for tail in tails if os.path.exists(tail) and ".." not in parts), None)
        if found is None or os.path.exists(place):
            _outside(root, path, key, text)
        notices.add("changed", path.name, f"{key}: {text} is read as {found.relative_to(root).as_posix()}")
        return found
    direct = base.joinpath(*parts)
    if os.path.exists(direct) and _is_inside(direct, root):
        return direct
    for cut in range(1, len(parts)):
        rest = parts[cut:]
        if ".." not in rest and os.path.exists(place := base.joinpath(*rest)):
            return place
    if os.path.exists(direct):
        _outside(root, path, key, text)
    return None


def _is_inside(path: Path, root: Path) -> bool:
    """Returns whether a path lies below the root as it is written; links in the folder are followed."""
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root))


def _outside(root: Path, path: Path, key: str, text: str) -> NoReturn:
    fail(
        f"{path}: {key}",
        expected=f"a folder within {root}",
        got=repr(text),
        do="Nothing outside it is opened: remove `path`, and write paths from this file on.",
    )
