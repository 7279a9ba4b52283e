"""Text of any system: encodings with a mark, entities of HTML, damaged and empty files."""

import codecs
import json

import pytest

from mkd_tf.data.text_files import decoded, encoding_of
from tests.data.sources.cases import boxes, open_voc, refusal, words
from tests.data.sources.folder_maker import elements, pixels
from tests.data.sources.voc_maker import object_xml

CAT = [10, 12, 30, 40]
NAME = "Zelle é 猫"
VOC = f"<annotation>{object_xml(NAME)}</annotation>"
CVAT = (
    f'<annotations><image id="1" name="a.jpg"><box label="{NAME}" xtl="10" ytl="12" xbr="30" ybr="40"/>'
    "</image></annotations>"
)
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 0, "bbox": [10, 12, 20, 28]}],
    "categories": [{"id": 0, "name": NAME}],
}
SHAPE = {"label": NAME, "shape_type": "rectangle", "points": [[10, 12], [30, 40]]}
PERCENT = {"x": 15.625, "y": 25, "width": 31.25, "height": 175 / 3, "rectanglelabels": [NAME]}
TASK = {"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": [{"value": PERCENT}]}]}
FILES = {
    "VOC": {"a.xml": VOC},
    "CVAT": {"annotations.xml": CVAT},
    "COCO": {"a.json": json.dumps(COCO, ensure_ascii=False)},
    "labelme": {"a.json": json.dumps({"imagePath": "a.jpg", "shapes": [SHAPE]}, ensure_ascii=False)},
    "Label Studio": {"tasks.json": json.dumps([TASK], ensure_ascii=False)},
    "YOLO": {"a.txt": "0 0.3125 0.541666667 0.3125 0.583333333\r\n", "classes.txt": f"{NAME}\r\n"},
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("form", FILES)
def test_every_format_in_every_encoding(folder, form, encoding):
    """Its mark says it: without one, UTF-8 is meant."""
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    folder.image("a.jpg")
    for name, text in FILES[form].items():
        (folder.root / name).write_bytes(mark + text.encode(encoding))
    (image,) = elements(folder.open()).values()
    assert folder.open().class_names == (NAME,)
    assert pixels(image)[0] == pytest.approx(CAT, abs=1e-3)


def test_lists_of_splits_in_utf16(voc):
    for name in ("a", "é"):
        voc.add(name)
    for split, name in (("train", "a"), ("val", "é")):
        voc.write_list(split)
        (voc.root / f"ImageSets/Main/{split}.txt").write_bytes(f"{name}\r\n".encode("utf-16"))
    assert open_voc(voc).split("validation").ids == ["é"]


@pytest.mark.parametrize("mark", [codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE])
def test_utf32(mark):
    encoding, length = encoding_of(mark)
    assert length == 4 and decoded(mark + "é猫".encode(encoding)) == "é猫"


@pytest.mark.parametrize(
    ("written", "read"),
    [("salt &amp;amp; pepper", "salt & pepper"), ("&amp;#233;", "é"), ("&amp;amp;lt;a&amp;amp;gt;", "<a>")],
)
def test_names_that_were_escaped_twice(voc, written, read):
    voc.add("a", object_xml(written))
    assert open_voc(voc).class_names == (read,)
    once = written.replace("&amp;", "&")
    assert words(open_voc(voc)) == [f"changed: classes: {once!r} is read as {read!r} (Annotations/a.xml)"]


@pytest.mark.parametrize("name", ["R&D", "a & b;", "&;", "&nosuchname;", "AT&T; x"])
def test_names_with_an_ampersand_stay(voc, name):
    voc.add("a", object_xml(name.replace("&", "&amp;")))
    assert open_voc(voc).class_names == (name,)
    assert not words(open_voc(voc))


def test_files_that_do_not_say_their_encoding(voc):
    voc.add("a")
    voc.annotation_path("a").write_bytes("<annotation><folder>Äpfel</folder></annotation>".encode("latin-1"))
    text = refusal(open_voc, voc)
    assert "Annotations/a.xml: cannot be read as XML" in text
    assert "it is no text in UTF-8, so its first line has to name its encoding" in text
    voc.annotation_path("a").write_bytes(
        b'<?xml version="1.0" encoding="latin-1"?>' + VOC[:-13].encode("latin-1", "ignore") + b"</annotation>"
    )
    assert boxes(open_voc(voc)) == {"a": [CAT]}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"x.json": ""}, "x.json is empty"),
        ({"x.xml": "\ufeff \n"}, "x.xml is empty"),
        ({"x.json": '{"images": [], "annotations": []}'}, "x.json has no categories"),
        ({"x.json": '{"images": [], "categories": []}'}, "x.json has no annotations"),
        ({"x.json": '{"asset": {"name": "a.jpg"}}'}, 'x.json begins with \'{"asset": {"name": "a.jpg"}}\''),
        ({"x.csv": "filename,xmin"}, "x.csv is a table, which is not read"),
        ({"x.tfrecord": "x"}, "x.tfrecord is not in a folder that tfds prepared"),
        ({"a.xml": "<Annotation/>"}, "a.xml begins with <Annotation>"),
        ({"a.txt": "cat 0.5 0.5 0.2 0.2", "classes.txt": "cat"}, "a.txt begins with 'cat 0.5 0.5 0.2 0.2'"),
        ({"a.txt": "0 9 9 2 2 1 1 2", "README.txt": "x"}, "a.txt begins with '0 9 9 2 2 1 1 2'"),
    ],
)
def test_what_is_nearly_a_data_set_is_named(folder, files, told):
    folder.image("a.jpg")
    for name, text in files.items():
        folder.text(name, text)
    assert f"got 1 image and none of these ({told}). Give the folder" in refusal(folder.open)


def test_an_empty_file_of_labelme_is_a_problem_and_not_a_negative(folder):
    for name in "ab":
        folder.image(f"{name}.jpg")
        folder.text(f"{name}.json", json.dumps({"imagePath": f"{name}.jpg", "shapes": [SHAPE]}))
    folder.text("b.json", "")
    assert "got 1 bad one:\n  b.json: is empty\n" in refusal(folder.open)
    data = folder.open(on_bad_example="skip")
    assert data.split("unlabelled").ids == ["b.jpg"]
