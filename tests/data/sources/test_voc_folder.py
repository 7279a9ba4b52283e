"""A user's VOC folder: layouts, elements, classes."""

import numpy as np
import pytest
from PIL import Image

from mkd_tf.checks import MkdError
from mkd_tf.data import DATASETS
from mkd_tf.data.sources.voc_folder import VocFolder
from tests.data.sources.voc_maker import VocMaker, all_ids, object_xml


@pytest.fixture
def voc(tmp_path):
    return VocMaker(tmp_path / "folder")


class TestReading:
    def test_element(self, voc):
        difficult = object_xml("dog", (0, 0, 64, 24), extra="<difficult>1</difficult>")
        voc.add("a", object_xml("cat", (16, 12, 32, 36)), difficult, size=(64, 48))
        voc.write_list("train", "a")
        dataset = VocFolder(voc.root)
        assert dataset.name == "folder"
        assert dataset.class_names == ("cat", "dog")
        assert dataset.problems == ()
        assert dataset.split("train").ids == ["a"]
        (element,) = dataset.split("train")
        assert element["image/id"] == "a"
        assert element["image"].shape == (48, 64, 3)
        assert element["is_labelled"] is True
        objects = element["objects"]
        np.testing.assert_allclose(objects["bbox"], [[0.25, 0.25, 0.75, 0.5], [0, 0, 0.5, 1]])
        np.testing.assert_array_equal(objects["label"], [0, 1])
        np.testing.assert_array_equal(objects["is_difficult"], [False, True])
        np.testing.assert_array_equal(objects["is_crowd"], [False, False])

    def test_flat_folder_and_suffixes_in_any_case(self, tmp_path):
        voc = VocMaker(tmp_path / "flat", is_flat=True)
        suffixes = (".jpg", ".JPG", ".jpeg", ".PNG", ".bmp", ".webp")
        for number, suffix in enumerate(suffixes):
            voc.write_image(f"p{number}", suffix=suffix)
            voc.annotate(f"p{number}", object_xml())
        voc.annotation_path("p0").rename(voc.root / "p0.XML")
        (voc.root / "notes.txt").write_text("ignored")
        (voc.root / "._p1.xml").write_bytes(b"\x00left by a file manager")
        assert all_ids(VocFolder(voc.root)) == [f"p{n}" for n in range(len(suffixes))]

    def test_annotation_without_objects_is_a_negative(self, voc):
        voc.add("a")
        voc.write_image("empty")
        voc.annotate("empty")
        voc.write_list("train", "a", "empty")
        negative = VocFolder(voc.root, fractions=(1, 0, 0)).split("train")[1]
        assert negative["is_labelled"] is True
        assert negative["objects"]["bbox"].shape == (0, 4)

    def test_images_without_annotation_are_unlabelled(self, voc):
        voc.add("a")
        voc.write_list("train", "a")
        assert VocFolder(voc.root).split_names == ("train",)
        voc.write_image("b")
        (element,) = VocFolder(voc.root).split("unlabelled")
        assert element["image/id"] == "b"
        assert element["is_labelled"] is False

    def test_a_list_of_unlabelled_images_hides_their_annotations(self, voc):
        for name in "abcdef":
            voc.add(name)
        voc.annotation_path("f").write_text("no XML, and nobody reads it")
        voc.write_list("unlabelled", "e", "f")
        dataset = VocFolder(voc.root)
        assert dataset.split("unlabelled").ids == ["e", "f"]
        assert dataset.split("unlabelled")[0]["objects"]["label"].size == 0
        assert all_ids(dataset) == list("abcdef")

    def test_boxes_are_those_of_the_displayed_image(self, voc):
        exif = Image.Exif()
        exif[0x0112] = 6
        voc.write_image("a", exif=exif)  # stored 64x48, displayed 48x64
        box = object_xml(box=(0, 32, 24, 64))
        for size in ((48, 64), (64, 48), None):
            voc.annotate("a", box, size=size)
            (element,) = VocFolder(voc.root).split("train")
            assert element["image"].shape == (64, 48, 3)
            np.testing.assert_allclose(element["objects"]["bbox"], [[0.5, 0, 1, 0.5]])

    def test_boxes_a_little_outside_are_clipped(self, voc):
        voc.add("a", object_xml(box=(-2, -0.5, 66, 49.5)))
        (element,) = VocFolder(voc.root).split("train")
        np.testing.assert_allclose(element["objects"]["bbox"], [[0, 0, 1, 1]])

    @pytest.mark.parametrize("size", [(65, 47), (0, 0), ("x", ""), None])
    def test_size_may_be_rounded_or_unknown(self, voc, size):
        voc.add("a", size=size)
        assert len(VocFolder(voc.root).split("train")) == 1

    def test_slices_and_negative_indices(self, voc):
        for name in "abc":
            voc.add(name)
        voc.write_list("train", *"abc")
        split = VocFolder(voc.root, fractions=(1, 0, 0)).split("train")
        assert [e["image/id"] for e in split[1:]] == ["b", "c"]
        assert split[-1]["image/id"] == "c"
        with pytest.raises(IndexError):
            split[3]

    def test_table_builds_it_from_a_spec(self, voc):
        voc.add("a")
        spec = f"voc_folder(path={str(voc.root)!r}, classes=['dog', 'cat'])"
        dataset = DATASETS.build(spec, on_bad_example="fail", data_dir=None)
        assert dataset.class_names == ("dog", "cat")
        assert dataset.split("train")[0]["objects"]["label"].tolist() == [1]

    def test_classes_from_a_file(self, voc, tmp_path):
        voc.add("a")
        (tmp_path / "labels.txt").write_text("dog\n\ncat\n")
        assert VocFolder(voc.root, classes=str(tmp_path / "labels.txt")).class_names == ("dog", "cat")


class TestImageOfAnotherName:
    def test_filename_counts_where_no_image_has_the_name(self, voc):
        voc.write_image("IMG_7", suffix=".png")
        voc.annotate("a", object_xml(), extra="<filename>IMG_7.png</filename>")
        dataset = VocFolder(voc.root)
        assert dataset.split("train").ids == ["a"]
        assert dataset.split_names == ("train",)  # the image is not unlabelled as well

    def test_own_name_is_stronger_than_filename(self, voc):
        voc.add("a", extra="<filename>/somewhere/else.jpg</filename>")
        assert VocFolder(voc.root).split("train").ids == ["a"]


def test_shared_bccd_has_exactly_its_two_known_defects(shared_data):
    """DEFECTS.csv of the set, made by other code, numbers objects from 0 as we do."""
    folder = shared_data / "bccd"
    with pytest.raises(MkdError) as error:
        VocFolder(folder)
    assert "got 2 bad ones" in str(error.value)
    dataset = VocFolder(folder, on_bad_example="skip")
    assert [str(problem) for problem in dataset.problems] == [
        "Annotations/BloodImage_00338.xml object 12 (RBC): zero-area box [504, 337, 504, 337]",
        "Annotations/BloodImage_00343.xml object 3 (RBC): zero-area box [181, 329, 181, 329]",
    ]
    assert dataset.class_names == ("Platelets", "RBC", "WBC")
    assert [len(dataset.split(split)) for split in dataset.split_names] == [205, 87, 72]
    defects = (folder / "DEFECTS.csv").read_text().splitlines()[1:]
    expected = [f"obj{p.object_index} {p.class_name}" for p in dataset.problems]
    assert [line.split('"')[1].split(" [")[0] for line in defects] == expected
