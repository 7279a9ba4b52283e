"""Generated VOC, COCO and tfds annotations: no undeclared error, no box that moves, no object as background.

`make fuzz` draws 10,000 images of each format; images are not decoded.
"""

import dataclasses
import functools
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mkd_tf.checks import MkdError
from mkd_tf.data.base import is_complete
from mkd_tf.data.image_files import Scan, upright_box
from mkd_tf.data.sources.coco_file import read_coco_file
from mkd_tf.data.sources.examples import Example
from mkd_tf.data.sources.finishing import finish_example
from mkd_tf.data.sources.names import one_line
from mkd_tf.data.sources.notices import BadExample, Notices
from mkd_tf.data.sources.tfds_detection import TfdsImages
from mkd_tf.data.sources.values import number
from mkd_tf.data.sources.voc_annotation import read_annotation
from tests.data.sources.junk import JUNK, NAMES, VALUES
from tests.fuzzing import cases

SPOILS = ("", "", "", "", "no box", "a side", "flag", "no name", "strange class", "turned over", "outside")


@dataclasses.dataclass(frozen=True)
class Thing:
    """An object: its class as written, its box in displayed pixels, how it is written and spoilt."""

    name: str
    box: tuple[int, int, int, int]
    spelling: int
    spoil: str
    junk: Any


@dataclasses.dataclass(frozen=True)
class Shot:
    """An image: its displayed size, EXIF orientation, whether boxes lie on the stored one, as fractions."""

    width: int
    height: int
    orientation: int
    is_stored: bool
    are_fractions: bool
    things: tuple[Thing, ...]

    @property
    def scan(self) -> Scan:
        return Scan(self.width, self.height, self.orientation >= 5, None, self.orientation)

    @property
    def written_size(self) -> tuple[int, int]:
        turned = self.is_stored and self.orientation >= 5
        return (self.height, self.width) if turned else (self.width, self.height)

    def written_box(self, thing: Thing) -> tuple[float, ...]:
        """Returns the box as a tool writes it: on the stored image, as fractions, spoilt."""
        box = thing.box
        if thing.spoil == "turned over":
            box = (box[2], box[1], box[0], box[3])
        if thing.spoil == "outside":
            beyond = 2 * max(self.width, self.height)  # of the stored image too, or it would be ambiguous
            box = (box[0] + beyond, box[1] + beyond, box[2] + beyond, box[3] + beyond)
        if self.is_stored and self.orientation >= 5:
            inverse = {6: 8, 8: 6}.get(self.orientation, self.orientation)
            box = upright_box(box, self.height, self.width, inverse)
        if self.are_fractions:
            width, height = self.written_size
            box = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
        return box


@st.composite
def shots(draw) -> Shot:
    width, height = draw(st.integers(20, 3000)), draw(st.integers(20, 3000))

    def thing() -> Thing:
        x0, y0 = draw(st.integers(0, width - 3)), draw(st.integers(0, height - 3))
        x1, y1 = draw(st.integers(x0 + 2, width)), draw(st.integers(y0 + 2, height))
        spoil = draw(st.sampled_from(SPOILS))
        junk = draw(JUNK) if spoil in ("a side", "flag") else None
        return Thing(draw(NAMES), (x0, y0, x1, y1), draw(st.integers(0, 5)), spoil, junk)

    orientation = draw(st.sampled_from((1, 1, 1, 5, 6, 7, 8)))
    is_stored = orientation >= 5 and abs(width - height) > 1 and draw(st.booleans())
    things = tuple(thing() for _ in range(draw(st.integers(0, 4))))
    sound = all(t.spoil in ("", "flag", "no name", "strange class") for t in things)
    return Shot(width, height, orientation, is_stored, sound and draw(st.booleans()), things)


def spelt(value: float, spelling: int) -> Any:
    """Returns a number as tools write it: as number or text, with more digits, with space."""
    if value != int(value):
        return (value, repr(value), f" {value!r} ", value, value, value)[spelling]
    whole = int(value)
    return (whole, float(whole), f"{whole}", f" {whole}.0 ", f"+{whole}.", f"{whole}e0")[spelling]


def covers(area: Any, box: Any) -> bool:
    return all(np.subtract(area[:2], box[:2]) <= 0.01) and all(np.subtract(box[2:], area[2:]) <= 0.01)


def is_another_box(thing: Thing) -> bool:
    """Returns whether what spoils a side of a box is a number."""
    try:
        return thing.spoil == "a side" and number(thing.junk, "side") is not None
    except BadExample:
        return False


def check(shot: Shot, example: Example | None, said: int, class_names: set[str]) -> None:
    """Checks an example against what was written; `said` is the number of its problems."""
    if example is None:  # left out as a whole
        return
    whole = (0.0, 0.0, float(shot.width), float(shot.height))
    others = [t for t in shot.things if is_another_box(t)]  # what is written is another sound box
    for item in example.objects:
        assert covers(whole, item.box) and item.name in class_names
        written = [t for t in shot.things if item.name == one_line(t.name)]
        assert any(t in others or np.allclose(item.box, t.box, atol=0.01) for t in written)
    for thing in (t for t in shot.things if t not in others):
        same = [i for i in example.objects if np.allclose(i.box, thing.box, atol=0.01)]
        if any(i.name == one_line(thing.name) for i in same):
            continue
        assert said, "an object is lost without a word"
        assert any(covers(area, thing.box) for area in example.unknown), "an object became background"
    readable = [t for t in shot.things if not t.spoil and one_line(t.name)]
    for thing in readable:  # what is sound is read, and does not move
        assert any(
            i.name == one_line(thing.name) and np.allclose(i.box, thing.box, atol=0.01)
            for i in example.objects
        )


def voc_xml(shot: Shot) -> str:
    objects = []
    for thing in shot.things:
        sides = [spelt(side, thing.spelling) for side in shot.written_box(thing)]
        if thing.spoil == "a side":
            sides[thing.spelling % 4] = thing.junk
        named = zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True)
        box = "".join(f"<{key}>{escape(str(side))}</{key}>" for key, side in named)
        name = {"no name": "", "strange class": "<name>no class</name>"}.get(
            thing.spoil, f"<name>{escape(thing.name)}</name>"
        )
        difficult = escape(str(thing.junk if thing.spoil == "flag" else thing.spelling % 2))
        bndbox = "" if thing.spoil == "no box" else f"<bndbox>{box}</bndbox>"
        objects.append(f"<object>{name}<difficult>{difficult}</difficult>{bndbox}</object>")
    width, height = shot.written_size
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation>{size}{''.join(objects)}</annotation>"


@given(shot=shots())
@cases(80)
def test_voc(tmp_path, shot):
    path = tmp_path / "a.xml"
    path.write_text(voc_xml(shot), "utf-8")
    names = {one_line(t.name) for t in shot.things}
    notices = Notices()
    example, problems = None, []
    try:
        found = read_annotation(path, "a.xml", notices)
        example, problems = finish_example(
            "a", Path("a.jpg"), shot.scan, found.objects, file="a.xml", notices=notices, size=found.size,
            lost=found.problems, classes=names - {""},
        )  # fmt: skip
    except BadExample as error:
        pytest.fail(f"the image is sound: {error}")
    check(shot, example, len(problems), names)


def coco_record(number_of: int, image: int, shot: Shot, thing: Thing, category: int) -> dict[str, Any]:
    x0, y0, x1, y1 = shot.written_box(thing)
    sides = [spelt(side, thing.spelling) for side in (x0, y0, x1 - x0, y1 - y0)]
    if thing.spoil == "a side":
        sides[thing.spelling % 4] = thing.junk
    record = {
        "id": number_of // 2,
        "image_id": (image, str(image), float(image))[thing.spelling % 3],
        "bbox": sides,
    }
    record["category_id"] = (category, str(category), f"{category}.0")[thing.spelling % 3]
    record["ignore"] = (
        thing.junk if thing.spoil == "flag" else ("0", 0, False, None, "false", "1")[thing.spelling]
    )
    if thing.spoil == "no box":
        del record["bbox"]
    if not thing.spoil and thing.spelling == 5 and not shot.are_fractions:  # a polygon in place of the box
        record |= {"bbox": None, "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]]}
    return record


@given(some=st.lists(shots(), min_size=1, max_size=3), listed=st.data())
@cases(60)
def test_coco(tmp_path, some, listed):
    if any(s.are_fractions for s in some):  # a file is written by one tool
        some = [s for s in some if s.are_fractions]
    names = sorted({one_line(t.name) for s in some for t in s.things} - {""}) or ["cat"]
    content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1 + i, "name": n} for i, n in enumerate(names)],
    }
    for i, shot in enumerate(some):
        width, height = shot.written_size
        content["images"].append({"id": i, "file_name": f"{i}.jpg", "width": width, "height": height})
        for thing in shot.things:
            known = one_line(thing.name) in names and thing.spoil not in ("no name", "strange class")
            category = 1 + names.index(one_line(thing.name)) if known else 99
            record = coco_record(len(content["annotations"]), i, shot, thing, category)
            content["annotations"].append(record)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    notices = Notices()
    found = read_coco_file(path, "a.json", notices)
    assert not found.problems and len(found.images) == len(some)
    for shot, image in zip(some, found.images, strict=True):
        example, problems = finish_example(
            image.file_name, Path(image.file_name), shot.scan, image.objects, file="a.json", notices=notices,
            size=image.size, lost=image.lost, are_fractions=found.are_fractions,
        )  # fmt: skip
        check(shot, example, len(problems), set(names))


FIELDS = ("id", "image_id", "category_id", "bbox", "segmentation", "iscrowd", "ignore", "area", "name")
FIELDS += ("file_name", "width", "counts", "size")
RECORDS = st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5), max_size=4)


@given(images=RECORDS, annotations=RECORDS, categories=RECORDS)
@cases(60)
def test_coco_of_anything(tmp_path, images, annotations, categories):
    """Whatever the lists hold: an `MkdError`, or objects whose boxes are finite."""
    path = tmp_path / "a.json"
    listed = [{"id": 1, "file_name": "a.jpg"}, *images]
    classes = [{"id": 1, "name": "cat"}, *categories[: len(categories) % 2]]
    path.write_text(json.dumps({"images": listed, "annotations": annotations, "categories": classes}))
    try:
        found = read_coco_file(path, "a.json", Notices())
    except MkdError as error:
        assert "expected" in str(error)
        return
    assert all(np.isfinite(item.box).all() for image in found.images for item in image.objects)


@functools.cache
def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 48)).save(stream, "PNG")
    return stream.getvalue()


@given(
    bbox=st.lists(
        st.lists(st.sampled_from((0.0, 0.25, 0.5, 1.0, 0.125, 1.5, np.nan)), min_size=4, max_size=4),
        max_size=5,
    ),
    nameless=st.sets(st.integers(0, 4)),
    split=st.sampled_from(("train", "test", "unlabelled")),
)
@cases(30)
def test_tfds(bbox, nameless, split):
    """A box without area or beyond the image makes all of it unknown; class -1, which is none, its area."""
    count = len(bbox)
    objects = {
        "bbox": np.float32(bbox).reshape(count, 4),
        "label": np.array([-1 if i in nameless else i for i in range(count)], "int64"),
        "is_crowd": np.zeros(count, bool),
    }
    record = {"image": png(), "image/filename": b"a.png", "objects": objects}
    features = SimpleNamespace(deserialize_example_np=lambda serialised, decoders: record)
    images = TfdsImages(SimpleNamespace(info=SimpleNamespace(features=features)), [b""], [0], split)
    found = images.annotation(0)
    boxed = [i for i, (y0, x0, y1, x1) in enumerate(bbox) if 0 <= y0 < y1 <= 1 and 0 <= x0 < x1 <= 1]
    good = [i for i in boxed if i not in nameless]
    assert found["is_labelled"] == (split != "unlabelled")
    if split != "unlabelled":
        assert found["objects"]["label"].tolist() == good
        np.testing.assert_array_equal(found["objects"]["bbox"], np.float32(bbox).reshape(-1, 4)[good])
        assert is_complete(found) == (len(boxed) == count) or [0, 0, 1, 1] in bbox
        if len(boxed) == count:
            lost = np.float32([bbox[i] for i in boxed if i in nameless]).reshape(-1, 4)
            np.testing.assert_array_equal(found["unknown"], lost)
    else:
        assert not len(found["objects"]["label"]) and is_complete(found)
