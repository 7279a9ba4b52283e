"""Generated files of each format: no undeclared error, no box that moves, no object that becomes background.

`MKD_FUZZ=10000 pytest tests/data/sources/test_formats_fuzz.py` draws 10,000 files of each format.
"""

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkd_tf.checks import MkdError
from mkd_tf.data.image_files import Scan
from mkd_tf.data.sources.cvat_file import read_cvat_file
from mkd_tf.data.sources.finishing import finish_example
from mkd_tf.data.sources.label_studio_file import read_label_studio_file
from mkd_tf.data.sources.labelme_file import read_labelme_file
from mkd_tf.data.sources.notices import BadExample, Notices
from mkd_tf.data.sources.records import Labels
from mkd_tf.data.sources.yolo_labels import read_labels
from tests.fuzzing import cases

WIDTH, HEIGHT = 640, 480
CLASSES = ("cat", "Zelle é", "信号 灯")


class Thing(NamedTuple):
    """An object that is written: its class, its box in pixels, and what spoils it: a key and a value."""

    name: str
    box: tuple[float, float, float, float]
    key: str
    junk: Any


class Format(NamedTuple):
    """How a format is written and read, what can be spoilt in it, and how far its digits move a box."""

    write: Callable[[Path, Sequence[Thing]], None]
    read: Callable[[Path, Notices], Labels]
    keys: tuple[str, ...]
    are_fractions: bool
    tolerance_px: float


def spoilt(record: dict[str, Any], thing: Thing) -> dict[str, Any]:
    """Returns a record with the value of the thing's key replaced, or removed if the junk is `...`."""
    if thing.key not in record:
        return record
    if thing.junk is ...:
        return {key: value for key, value in record.items() if key != thing.key}
    return record | {thing.key: thing.junk}


def write_yolo(path: Path, things: Sequence[Thing]) -> None:
    lines = []
    for thing in things:
        x0, y0, x1, y1 = thing.box
        record = {
            "class": CLASSES.index(thing.name),
            "x": f"{(x0 + x1) / 2 / WIDTH:.8f}",
            "y": f"{(y0 + y1) / 2 / HEIGHT:.8f}",
            "w": f"{(x1 - x0) / WIDTH:.8f}",
            "h": f"{(y1 - y0) / HEIGHT:.8f}",
        }
        lines.append(" ".join(str(value) for value in spoilt(record, thing).values()).replace("\n", " "))
    path.write_text("\n".join(" ".join(line.split()) or "?" for line in lines), "utf-8", "surrogatepass")


def read_yolo(path: Path, notices: Notices) -> Labels:
    return Labels(*read_labels(path, "a.txt", dict(enumerate(CLASSES))))


def write_cvat(path: Path, things: Sequence[Thing]) -> None:
    shapes = []
    for thing in things:
        sides = zip(("xtl", "ytl", "xbr", "ybr"), map(repr, thing.box), strict=True)
        record = spoilt({"label": thing.name, **dict(sides), "occluded": "0"}, thing)
        found = [f"{key}={quoteattr(xml_text(value))}" for key, value in record.items()]
        shapes.append(f"<box {' '.join(found)}></box>")
    image = f'<image id="0" name="a.jpg" width="{WIDTH}" height="{HEIGHT}">{"".join(shapes)}</image>'
    path.write_text(f"<annotations>{image}</annotations>", "utf-8")


def xml_text(value: Any) -> str:
    return "".join(c for c in str(value) if c.isprintable() and not 0xD800 <= ord(c) < 0xE000)


def read_cvat(path: Path, notices: Notices) -> Labels:
    (image,) = read_cvat_file(path, "a.xml", notices).images
    return Labels(image.objects, image.problems, image.size)


def write_label_studio(path: Path, things: Sequence[Thing]) -> None:
    results = []
    for thing in things:
        x0, y0, x1, y1 = thing.box
        value = {
            "x": 100 * x0 / WIDTH,
            "y": 100 * y0 / HEIGHT,
            "width": 100 * (x1 - x0) / WIDTH,
            "height": 100 * (y1 - y0) / HEIGHT,
            "rotation": 0,
            "rectanglelabels": [thing.name],
        }
        region = {"original_width": WIDTH, "original_height": HEIGHT, "value": spoilt(value, thing)}
        results.append(spoilt(region, thing) if thing.key.startswith("original") else region)
    task = {"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": results}]}
    path.write_text(json.dumps([task]))


def read_label_studio(path: Path, notices: Notices) -> Labels:
    (task,) = read_label_studio_file(path, "a.json", notices)
    assert task.objects is not None
    return Labels(task.objects, task.problems)


def write_labelme(path: Path, things: Sequence[Thing]) -> None:
    shapes = []
    for thing in things:
        x0, y0, x1, y1 = thing.box
        shape = {"label": thing.name, "points": [[x0, y1], [x1, y0]], "shape_type": "rectangle", "flags": {}}
        shapes.append(spoilt(shape, thing))
    path.write_text(json.dumps({"shapes": shapes, "imagePath": "a.jpg"}))


def read_labelme(path: Path, notices: Notices) -> Labels:
    found = read_labelme_file(path, "a.json", notices)
    return Labels(found.objects, found.problems, found.size)


WORDS = [
    *("id", "data", "image", "annotations", "completions", "result", "value", "x", "y", "width", "height"),
    *("rotation", "points", "rle", "rectanglelabels", "polygonlabels", "brushlabels", "labels", "radiusX"),
    *("original_width", "original_height", "was_cancelled", "ground_truth", "radiusY", "shapes", "label"),
    *("shape_type", "group_id", "flags", "imagePath", "imageWidth", "box", "polygon", "mask", "ellipse"),
    *("meta", "xtl", "left", "top"),
]
FORMATS = {
    "yolo": Format(write_yolo, read_yolo, ("class", "x", "y", "w", "h"), True, 1e-4),
    "cvat": Format(write_cvat, read_cvat, ("label", "xtl", "ytl", "xbr", "ybr"), False, 1e-9),
    "label_studio": Format(
        write_label_studio,
        read_label_studio,
        ("x", "y", "width", "height", "rotation", "rectanglelabels", "original_width"),
        True,
        1e-6,
    ),
    "labelme": Format(write_labelme, read_labelme, ("label", "points", "shape_type", "flags"), False, 1e-9),
}

READERS: dict[str, Callable[[Path, Notices], Any]] = {
    "yolo": read_yolo,
    "cvat": lambda path, notices: read_cvat_file(path, "a", notices),
    "label_studio": lambda path, notices: read_label_studio_file(path, "a", notices),
    "labelme": read_labelme,
}

JUNK = st.one_of(
    st.just(...),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["nan", "inf", "1,5", "-0", "1e400", "\u200b", "0x10", "١", "１", "NaN", " 3 ", "\ufeffcat"]
    ),
    st.lists(st.one_of(st.integers(-9, 9), st.floats(), st.none(), st.text(max_size=2)), max_size=4),
    st.lists(st.lists(st.one_of(st.floats(), st.none()), max_size=3), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def things(keys: Sequence[str]) -> st.SearchStrategy[list[Thing]]:
    """Objects of at least 2 px inside the image, about half of them spoilt in one place."""

    def build(name: str, x: float, y: float, w: float, h: float, key: str, junk: Any) -> Thing:
        width, height = 2 + w * (WIDTH - 2), 2 + h * (HEIGHT - 2)
        x0, y0 = x * (WIDTH - width), y * (HEIGHT - height)
        return Thing(name, (x0, y0, x0 + width, y0 + height), key, junk)

    share = st.floats(0, 1, width=32)
    key = st.one_of(st.just(""), st.sampled_from(keys))
    made = st.builds(build, st.sampled_from(CLASSES), share, share, share, share, key, JUNK)
    return st.lists(made, min_size=1, max_size=6)


def contains(area: Sequence[float], box: Sequence[float], slack: float) -> bool:
    return bool(
        np.all(np.subtract(area[:2], box[:2]) <= slack) and np.all(np.subtract(box[2:], area[2:]) <= slack)
    )


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_moves_or_vanishes(name: str, tmp_path):
    form = FORMATS[name]
    path = tmp_path / "a"

    @cases(40)
    @given(things(form.keys))
    def check(written: list[Thing]) -> None:
        form.write(path, written)
        notices = Notices()
        labels = form.read(path, notices)
        example, problems = finish_example(
            "a",
            path,
            Scan(WIDTH, HEIGHT, False, None),
            labels.objects,
            file="a",
            notices=notices,
            size=labels.size,
            lost=labels.problems,
            are_fractions=form.are_fractions,
        )
        repeated = sum(notice.count for notice in notices if notice.kind == "merged")
        assert len(example.objects) + len(problems) + repeated == len(written)
        assert bool(problems) == bool(example.unknown)
        for thing in (t for t in written if not t.key):
            known = [item.box for item in example.objects if item.name == thing.name]
            moves = [np.abs(np.subtract(box, thing.box)).max() for box in known]
            assert min(moves, default=np.inf) <= form.tolerance_px
        if problems:
            for thing in (t for t in written if t.key):
                areas = [*example.unknown, *(item.box for item in example.objects)]
                is_kept = any(contains(area, thing.box, 1e-3) for area in areas)
                # A spoilt number that is still one says that the object is elsewhere.
                assert is_kept or len(example.objects) + repeated > sum(not t.key for t in written)

    check()


@pytest.mark.parametrize("name", READERS)
def test_any_file_is_read_or_refused(name: str, tmp_path):
    values = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
        ),
        max_leaves=12,
    )
    path = tmp_path / "a"

    @cases(40)
    @given(values)
    def check(content: Any) -> None:
        text = json.dumps([content] if name == "label_studio" else content)
        if name == "cvat":
            text = f"<annotations>{as_xml(content)}</annotations>"
        elif name == "labelme" and not isinstance(content, dict):
            text = json.dumps({"shapes": content})
        path.write_text(text, "utf-8")
        with contextlib.suppress(MkdError, BadExample):
            READERS[name](path, Notices())

    check()


def as_xml(content: Any) -> str:
    """Returns nested values as elements, scalars as their attributes."""
    if isinstance(content, list):
        return "".join(map(as_xml, content))
    if not isinstance(content, dict):
        return ""
    parts = []
    for key, value in content.items():
        attributes = value.items() if isinstance(value, dict) else ()
        shown = " ".join(
            f"{k}={quoteattr(xml_text(v))}" for k, v in attributes if not isinstance(v, dict | list)
        )
        parts.append(f"<{key} {shown}>{as_xml(value)}</{key}>")
    return f'<image id="1" name="a.jpg">{"".join(parts)}</image>'
