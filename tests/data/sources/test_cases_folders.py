"""Folders as people leave them: lists in other places, links, labels of other names, contradictions."""

import os

import pytest

from mkd_tf.data.tree import walk_visible
from tests.data.sources.cases import boxes, open_coco, open_voc, refusal, words
from tests.data.sources.folder_maker import elements, pixels
from tests.data.sources.voc_maker import noise_image, object_xml

LABEL = "0 0.3125 0.541666667 0.3125 0.583333333\n"
CAT = [10, 12, 30, 40]


class TestLists:
    @pytest.mark.parametrize("place", ["ImageSets/Main", "imagesets/MAIN", "ImageSets", "."])
    def test_lists_lie_in_several_places(self, voc, place):
        for name in "abc":
            voc.add(name)
        (voc.root / place).mkdir(parents=True, exist_ok=True)
        (voc.root / place / "train.txt").write_text("JPEGImages/a.jpg\nb.xml\n")
        (voc.root / place / "val.txt").write_text("c\n")
        data = open_voc(voc)
        assert (data.split("train").ids, data.split("validation").ids) == (["a", "b"], ["c"])
        assert not words(data)

    def test_lists_of_other_tasks_are_named(self, voc):
        voc.add("a")
        (voc.root / "ImageSets/Segmentation").mkdir(parents=True)
        told = "unused: ImageSets: lists are not used: those of detection are in Main (Segmentation/)"
        assert words(open_voc(voc)) == [told]

    def test_texts_beside_the_folders_are_no_lists(self, voc):
        voc.add("a")
        for name in ("notes", "val", "classes"):
            (voc.root / f"{name}.txt").write_text("something\n")
        assert words(open_voc(voc)) == ["unused: ./: lists are not used: there is none for train (val.txt)"]

    def test_an_image_of_the_same_name_is_named(self, voc):
        voc.add("a", extra="<filename>a.png</filename>")
        voc.write_image("a", seed=1, suffix=".png")
        told = "images of the name of a labelled one, with another suffix, are not used (a.jpg)"
        assert words(open_voc(voc)) == [f"unused: JPEGImages/: {told}"]


class TestLinks:
    def test_links_to_folders_and_files_are_followed(self, voc, tmp_path):
        (tmp_path / "disk").mkdir()
        noise_image(1).save(tmp_path / "disk" / "a.jpg")
        noise_image(2).save(tmp_path / "b.jpg")
        for name in ("cam/a", "b"):
            voc.annotation_path(name).parent.mkdir(exist_ok=True, parents=True)
            voc.annotate(name, object_xml())
        voc.image_path("").mkdir(exist_ok=True)
        voc.image_path("cam").symlink_to(tmp_path / "disk")
        voc.image_path("b.jpg").symlink_to(tmp_path / "b.jpg")
        assert boxes(open_voc(voc)) == {"b": [CAT], "cam/a": [CAT]}

    def test_links_to_oneself_end(self, tmp_path):
        (tmp_path / "x/y").mkdir(parents=True)
        (tmp_path / "x/y/a.jpg").touch()
        (tmp_path / "x/up").symlink_to(tmp_path.parent)
        (tmp_path / "x/again").symlink_to(tmp_path / "x")
        (tmp_path / "a_link").symlink_to(tmp_path / "x/y")
        assert list(walk_visible(tmp_path)) == ["x/y/a.jpg"]

    def test_a_link_to_nothing_is_a_problem(self, voc):
        voc.add("a")
        voc.annotate("b", object_xml())
        voc.image_path("b.jpg").symlink_to("nowhere.jpg")
        assert "JPEGImages/b.jpg: expected a file, got none" in refusal(open_voc, voc)

    def test_leftovers_of_systems(self, voc):
        voc.add("a")
        for name in (".DS_Store", "._a.jpg", "Thumbs.db", "desktop.ini"):
            voc.image_path(name).write_bytes(b"x")
        for name in ("._a.xml", ".DS_Store", ".~lock.a.xml#"):
            (voc.root / "Annotations" / name).write_bytes(b"x")
        os.makedirs(voc.root / "__MACOSX/JPEGImages")
        assert boxes(open_voc(voc)) == {"a": [CAT]} and not words(open_voc(voc))


class TestYolo:
    @pytest.mark.parametrize(
        ("image", "label"),
        [
            ("images/b.jpg", "labels/b.TXT"),
            ("images/caf\u00e9.jpg", "labels/cafe\u0301.txt"),
            ("images/b.v2.jpg.rf.1a.jpg", "labels/b.v2.jpg.rf.1a.txt"),
            ("my images (1)/b.JPG", "my images (1)/b.txt"),
            ("images/b.jpg", "annotations/b.txt"),
            ("cam/images/b.jpg", "cam/Labels_yolo/b.txt"),
        ],
    )
    def test_labels_are_found(self, folder, image, label):
        for name, file in (("images/a.jpg", "labels/a.txt"), (image, label)):
            folder.image(name)
            folder.text(file, LABEL)
        folder.text("classes.txt", "cat")
        data = folder.open()
        assert all(pixels(each)[0] == pytest.approx(CAT, abs=1e-3) for each in elements(data).values())
        assert "unlabelled" not in data.split_names
        is_told = not label.startswith(("labels", "my"))
        told = "label files are found in a folder that is not called labels"
        assert any(told in word for word in words(data)) == is_told

    @pytest.mark.parametrize("images", [("a.jpg", "a.png"), ("x/a.jpg", "y/a.jpg")])
    def test_one_label_file_for_several_images_is_told(self, folder, images):
        for name in images:
            folder.image(f"images/{name}")
        folder.text("labels/a.txt", LABEL)
        folder.text("classes.txt", "cat")
        told = "label files belong to several images, which all have their objects (labels/a.txt)"
        assert f"suspect: labels: {told}" in words(folder.open())

    def test_labels_elsewhere_are_not_guessed(self, folder):
        """Two images or two label files of one name: which belongs to which is not known."""
        for name in ("x/a.jpg", "y/a.jpg", "b.jpg", "c.jpg"):
            folder.image(f"images/{name}")
        for name in ("other/a.txt", "other/b.txt", "third/b.txt", "labels/c.txt"):
            folder.text(name, LABEL)
        folder.text("classes.txt", "cat")
        data = folder.open()
        assert data.split("unlabelled").ids == ["images/b.jpg", "images/x/a.jpg", "images/y/a.jpg"]
        told = "label files without an image of a split are not read"
        assert f"unused: labels: {told} (other/a.txt, other/b.txt, third/b.txt)" in words(data)

    @pytest.mark.parametrize(
        ("files", "told"),
        [
            ({"data.yaml": "train: images\nnames: [cat, dog]", "classes.txt": "dog\ncat"}, "classes.txt"),
            ({"classes.txt": "cat\ndog", "labels/classes.txt": "dog\ncat"}, "labels/classes.txt"),
            (
                {"data.yaml": "train: images\nnames: {0: cat, 1: dog}", "old/my.names": "dog\ncat"},
                "old/my.names",
            ),
        ],
    )
    def test_files_that_name_other_classes_are_told(self, folder, files, told):
        folder.image("images/a.jpg")
        folder.text("labels/a.txt", LABEL)
        for name, text in files.items():
            folder.text(name, text)
        data = folder.open()
        used = next(iter(files))
        assert data.class_names == ("cat", "dog")
        assert f"suspect: {told}: its classes, dog, cat, differ from those of {used}, which count" in words(
            data
        )

    @pytest.mark.parametrize("text", ["0 cat\n1 dog", "0: cat\n1: dog", "0, cat\n1, dog\n", "00.cat\n01.dog"])
    def test_numbers_before_classes(self, folder, text):
        folder.image("a.jpg")
        folder.text("a.txt", LABEL)
        folder.text("classes.txt", text)
        assert folder.open().class_names == ("cat", "dog")
        assert "changed: classes.txt: the numbers before the classes are left out" in words(folder.open())

    @pytest.mark.parametrize("text", ["1 cat\n2 dog", "2 door\n4 door", "0 cat", "cat 0\ndog 1"])
    def test_other_numbers_belong_to_the_class(self, folder, text):
        folder.image("a.jpg")
        folder.text("a.txt", LABEL)
        folder.text("classes.txt", text)
        assert folder.open().class_names == tuple(text.split("\n"))

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (
                "path: /content/data/set\ntrain: images",
                "path: /content/data/set is read as the folder of this",
            ),
            ("path: C:\\data\\set\ntrain: images", "path: C:\\data\\set is read as the folder of this file"),
            ("train: /kaggle/input/x/images", "train: /kaggle/input/x/images is read as images"),
            ("train: D:\\x\\images", "train: D:\\x\\images is read as images"),
        ],
    )
    def test_paths_of_another_machine(self, folder, text, told):
        folder.image("images/a.jpg")
        folder.text("labels/a.txt", LABEL)
        folder.text("data.yaml", f"{text}\nnames: [cat]")
        assert any(f"changed: data.yaml: {told}" in word for word in words(folder.open()))

    def test_a_split_that_is_not_there_is_in_the_error(self, folder):
        folder.image("images/a.jpg")
        folder.text("labels/a.txt", LABEL)
        folder.text("data.yaml", "train: images/*.jpg\nval: images\nnames: [cat]")
        text = refusal(folder.open)
        assert "got only validation. Add some. Not used: data.yaml: train: images/*.jpg is not there." in text

    def test_turned_boxes_and_outlines_are_told(self, folder):
        folder.image("a.jpg")
        folder.text("a.txt", "0 0.1 0.1 0.4 0.2 0.3 0.6 0.05 0.5\n")
        folder.text("classes.txt", "cat")
        told = "changed: labels: outlines and turned boxes are read as the box around them (a.txt line 1)"
        assert words(folder.open()) == [told]


class TestPaths:
    @pytest.mark.parametrize(
        ("name", "file"),
        [
            ("/home/me/JPEGImages/a.jpg", "a.jpg"),
            ("C:\\data\\pics\\a.jpg", "a.jpg"),
            ("/home/me/set/cam1/a.jpg", "cam1/a.jpg"),
            ("file:///C:/x/a.jpg", "a.jpg"),
            ("https://host/x/a%20b.jpg?width=640", "a b.jpg"),
            ("http://host/a.jpg#1", "a.jpg"),
            ("a &amp; b.jpg", "a & b.jpg"),
        ],
    )
    def test_names_of_other_machines(self, coco, name, file):
        coco.write_image(file)
        coco.list_image(1, name)
        coco.annotate(1)
        data = open_coco(coco)
        assert boxes(data) == {file: [CAT]}
        assert len(words(data)) == 1 and name in words(data)[0] and "changed: images/" in words(data)[0]

    def test_two_paths_with_one_end_are_not_joined(self, coco):
        coco.write_image("a.jpg")
        for number, name in enumerate(("/x/cam1/a.jpg", "/x/cam2/a.jpg")):
            coco.list_image(number, name)
            coco.annotate(number)
        told = "image 1 (/x/cam2/a.jpg): no image /x/cam2/a.jpg in images/, and a.jpg is /x/cam1/a.jpg"
        assert told in refusal(open_coco, coco)
