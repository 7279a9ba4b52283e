"""Every way in which a VOC folder can be wrong: what is said, and what is left out."""

import logging

import pytest
from PIL import Image

from mkd_tf.checks import MkdError
from mkd_tf.data.sources.examples import Problem
from mkd_tf.data.sources.voc_folder import VocFolder
from tests.data.sources.voc_maker import VocMaker, all_ids, noise_image, object_xml


@pytest.fixture
def voc(tmp_path):
    return VocMaker(tmp_path / "folder")


def skip(voc, **arguments):
    return VocFolder(voc.root, on_bad_example="skip", **arguments)


def bad(voc, **arguments):
    """Returns the message of `fail`, and the problems that `skip` reports."""
    with pytest.raises(MkdError) as error:
        VocFolder(voc.root, **arguments)
    message = str(error.value)
    dataset = skip(voc, **arguments)
    for problem in dataset.problems[:10]:
        assert str(problem) in message
    assert "--on_bad_example=skip" in message
    return message, dataset


class TestImageOfAnotherName:
    @pytest.mark.parametrize("filename", ["../secret.jpg", "/secret.jpg", "sub\\secret.jpg", "C:secret.jpg"])
    def test_filename_never_leads_out_of_the_folder(self, voc, filename):
        voc.add("a")
        noise_image(0).save(voc.root / "secret.jpg")
        voc.annotate("b", object_xml(), extra=f"<filename>{filename}</filename>")
        message, dataset = bad(voc)
        assert f"Annotations/b.xml: no image b.*, and <filename> {filename!r} leads elsewhere" in message
        assert all_ids(dataset) == ["a"]

    def test_filename_does_not_take_the_image_of_another_annotation(self, voc):
        voc.add("a")
        voc.annotate("b", object_xml(), extra="<filename>a.jpg</filename>")
        assert "Annotations/b.xml: no image b.* in JPEGImages/" in bad(voc)[0]

    def test_several_images_of_one_name(self, voc):
        voc.add("a")
        voc.add("b")
        voc.write_image("a", suffix=".png")
        assert "Annotations/a.xml: several images of one name: a.jpg, a.png" in bad(voc)[0]
        voc.annotate("a", object_xml(), extra="<filename>a.png</filename>")
        assert VocFolder(voc.root).problems == ()


BAD_OBJECTS = {
    "zero area": (object_xml(box=(5, 7, 5, 7)), "(cat): zero-area box [5, 7, 5, 7]"),
    "zero width": (object_xml(box=(5, 7, 5, 9)), "(cat): zero-area box [5, 7, 5, 9]"),
    "inverted": (object_xml(box=(9, 7, 5, 20)), "(cat): inverted box [9, 7, 5, 20]"),
    "outside": (object_xml(box=(64, 0, 90, 9)), "(cat): box [64, 0, 90, 9] lies outside the 64x48 image"),
    "beyond": (
        object_xml(box=(1, 1, 67.5, 9)),
        "(cat): box [1, 1, 67.5, 9] reaches 3.5 px beyond the 64x48 image",
    ),
    "text": (object_xml(box=("left", 1, 5, 9)), "(cat): xmin is 'left', not a number"),
    "nan": (object_xml(box=(1, "NaN", 5, 9)), "(cat): ymin is 'NaN', not a number"),
    "infinite": (object_xml(box=(1, 1, "inf", 9)), "(cat): xmax is 'inf', not a number"),
    "empty": (object_xml(box=(1, 1, 5, "")), "(cat): ymax is '', not a number"),
    "no coordinate": ("<object><name>cat</name><bndbox/></object>", "(cat): no <xmin>"),
    "no box": ("<object><name>cat</name></object>", "(cat): no <bndbox>"),
    "no name": (object_xml(""), ": no <name>"),
    "unknown class": (object_xml("dog"), "(dog): class is not among those given"),
}


class TestBadObjects:
    @pytest.mark.parametrize(("xml", "text"), BAD_OBJECTS.values(), ids=BAD_OBJECTS)
    def test_is_named_with_fail_and_dropped_with_skip(self, voc, xml, text):
        voc.add("a", object_xml(), xml, object_xml(box=(20, 20, 40, 40)))
        message, dataset = bad(voc, classes=["cat"])
        expected = f"Annotations/a.xml object 1{'' if text.startswith(':') else ' '}{text}"
        assert expected in message
        assert [str(problem) for problem in dataset.problems] == [expected]
        assert len(dataset.split("train")[0]["objects"]["label"]) == 2

    def test_problem_has_its_parts(self, voc):
        voc.add("a", object_xml(), object_xml(box=(5, 7, 5, 7)))
        (problem,) = skip(voc).problems
        assert problem == Problem("Annotations/a.xml", 1, "zero-area box [5, 7, 5, 7]", "cat")

    def test_skip_warns_once_of_everything(self, voc, caplog):
        for name in ("a", "b"):
            voc.add(name, object_xml(), object_xml(box=(5, 7, 5, 7)))
        skip(voc)
        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        (warning,) = [text for text in warnings if "left out 2 bad examples" in text]
        assert "a.xml object 1" in warning
        assert "b.xml object 1" in warning

    def test_fail_lists_ten_and_counts_the_rest(self, voc):
        voc.add("a", object_xml(), *[object_xml(box=(n, 5, n, 5)) for n in range(13)])
        message, dataset = bad(voc)
        assert message.count("zero-area") == 10
        assert "got 13 bad ones" in message
        assert "and 3 more" in message
        assert len(dataset.problems) == 13

    def test_a_class_that_only_bad_objects_have_is_no_class(self, voc):
        voc.add("a", object_xml(), object_xml("ghost", box=(1, 1, 1, 1)))
        assert skip(voc).class_names == ("cat",)


BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>
<annotation><filename>&b;</filename></annotation>"""
REMOTE = """<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><annotation>&a;</annotation>"""


class TestBadImages:
    def only_a_is_left(self, voc, expected):
        message, dataset = bad(voc)
        assert expected in message
        assert len(dataset.problems) == 1
        assert dataset.problems[0].object_index is None
        assert all_ids(dataset) == ["a"]

    @pytest.mark.parametrize(
        ("xml", "text"),
        [
            (BOMB, "it declares XML entities or refers to other files (EntitiesForbidden)"),
            (REMOTE, "it declares XML entities or refers to other files (EntitiesForbidden)"),
            ("<annotation><object>", "cannot be read as XML (no element found"),
            ("", "cannot be read as XML"),
            ("<svg/>", "begins with <svg> instead of <annotation>"),
        ],
    )
    def test_annotation_that_is_none(self, voc, xml, text):
        voc.add("a")
        voc.add("b")
        voc.annotation_path("b").write_text(xml)
        self.only_a_is_left(voc, f"Annotations/b.xml: {text}")

    def test_missing_image(self, voc):
        voc.add("a")
        voc.annotate("b", object_xml())
        self.only_a_is_left(voc, "Annotations/b.xml: no image b.* in JPEGImages/")

    def test_truncated_image(self, voc):
        voc.add("a")
        voc.add("b")
        path = voc.image_path("b.jpg")
        path.write_bytes(path.read_bytes()[:-200])
        self.only_a_is_left(voc, "JPEGImages/b.jpg: expected a complete image, got a truncated")

    def test_damaged_unlabelled_image(self, voc):
        voc.add("a")
        voc.image_path("b.jpg").write_text("no image")
        self.only_a_is_left(voc, "JPEGImages/b.jpg: expected an image, got 8 bytes in no format")

    def test_size_of_another_image(self, voc):
        voc.add("a")
        voc.add("b", size=(640, 480))
        self.only_a_is_left(voc, "Annotations/b.xml: <size> says 640x480, the image has 64x48")

    def test_size_of_another_image_beside_a_turned_one(self, voc):
        voc.add("a")
        exif = Image.Exif()
        exif[0x0112] = 6
        voc.write_image("b", exif=exif)
        voc.annotate("b", object_xml(), size=(640, 480))
        self.only_a_is_left(voc, "<size> says 640x480, the image has 48x64")

    def test_turned_size_without_exif(self, voc):
        voc.add("a")
        voc.add("b", size=(48, 64))
        self.only_a_is_left(voc, "<size> says 48x64, the image has 64x48")

    @pytest.mark.parametrize("entry", ["../a", "/etc/passwd", "..", "C:\\a.jpg"])
    def test_list_entry_that_is_a_path(self, voc, entry):
        voc.add("a")
        voc.write_list("train", "a", entry)
        expected = f"ImageSets/Main/train.txt: names {entry!r}, a path instead of an image's name"
        self.only_a_is_left(voc, expected)

    def test_list_entry_in_a_folder_that_is_not_there(self, voc):
        voc.add("a")
        voc.write_list("train", "a", "sub/a")
        self.only_a_is_left(voc, "ImageSets/Main/train.txt: names 'sub/a', which has no annotation")

    def test_listed_without_annotation(self, voc):
        voc.add("a")
        voc.write_image("b")
        voc.write_list("train", "a", "b")
        self.only_a_is_left(voc, "ImageSets/Main/train.txt: names 'b', which has no annotation")

    def test_listed_unlabelled_without_image(self, voc):
        voc.add("a")
        voc.write_list("train", "a")
        voc.write_list("unlabelled", "b")
        self.only_a_is_left(voc, "ImageSets/Main/unlabelled.txt: names 'b', which has no image")

    def test_in_two_lists_it_stays_on_the_evaluation_side(self, voc):
        for name in "abc":
            voc.add(name)
        voc.write_list("train", "a", "b")
        voc.write_list("val", "c")
        voc.write_list("test", "b")
        message, dataset = bad(voc)
        where = "ImageSets/Main/train.txt: names 'b', which is also in ImageSets/Main/test.txt"
        assert where in message
        assert dataset.split("train").ids == ["a"]
        assert dataset.split("test").ids == ["b"]

    def test_nothing_usable_is_left(self, voc):
        voc.add("a")
        voc.image_path("a.jpg").write_text("no image")
        with pytest.raises(MkdError, match="expected usable images, got none"):
            skip(voc)


class TestBadFolders:
    def fails(self, path, match, **arguments):
        with pytest.raises(MkdError, match=match):
            VocFolder(path, **arguments)

    def test_no_folder(self, tmp_path):
        self.fails(tmp_path / "none", "none: expected a folder, got nothing there. Correct the path")
        (tmp_path / "file").touch()
        self.fails(tmp_path / "file", "expected a folder, got a file")

    def test_empty_folder(self, tmp_path):
        self.fails(tmp_path, "expected some annotations, got none. Put images into JPEGImages")

    def test_images_without_any_annotation(self, voc):
        voc.write_image("a")
        self.fails(voc.root, "expected some annotations, got none")

    def test_annotations_without_any_image(self, voc):
        voc.annotate("a")
        self.fails(voc.root, "expected some images, got none")

    def test_no_object_anywhere(self, voc):
        voc.write_image("a")
        voc.annotate("a")
        self.fails(voc.root, "expected objects in the annotations, got none")
        assert VocFolder(voc.root, classes=["cat"]).class_names == ("cat",)

    def test_lists(self, voc):
        voc.add("a")
        voc.write_list("test", "a")
        voc.write_list("unlabelled", "a")
        self.fails(voc.root, "expected a list for train, got only test, unlabelled. Add train.txt")
        voc.write_list("val", "a")
        voc.write_list("validation", "a")
        self.fails(voc.root, "expected one list for validation, got val.txt and validation.txt")
        voc.write_list("val", "")
        (voc.root / "ImageSets" / "Main" / "validation.txt").unlink()
        (voc.root / "ImageSets" / "Main" / "test.txt").unlink()
        self.fails(voc.root, "val.txt: expected names of images, one a line, got none")

    @pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.9, 0.2, 0.1), (0, 0.5, 0.5), "abc", 1])
    def test_fractions(self, voc, fractions):
        self.fails(voc.root, "fractions: expected three shares", fractions=fractions)

    @pytest.mark.parametrize("classes", [[], ["a", "a"], [1], [""]])
    def test_classes(self, voc, classes):
        voc.add("a")
        self.fails(voc.root, "classes: expected distinct class names", classes=classes)

    def test_classes_file(self, voc):
        voc.add("a")
        self.fails(voc.root, "expected a text file with one class a line, got 'cat,dog'", classes="cat,dog")

    def test_on_bad_example(self, voc):
        self.fails(voc.root, "expected one of fail, skip, got 'ignore'", on_bad_example="ignore")
