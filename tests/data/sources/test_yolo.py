"""YOLO's text files: lines, classes, splits, and nothing outside the folder."""

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.data.sources.notices import BadExample
from mkd_tf.data.sources.yolo_labels import is_label, read_labels
from tests.data.sources.folder_maker import Folder, elements, pixels

LABEL = "0 0.375 0.5 0.25 0.5\n"  # 16, 12 to 32, 36 of 64x48
NAMES = {0: "cat", 2: "dog"}


@pytest.fixture
def folder(tmp_path) -> Folder:
    made = Folder(tmp_path / "set")
    made.text("data.yaml", "train: images\nnames: [cat, dog]\n")
    for number in range(8):
        made.image(f"images/f{number}.jpg")
        made.text(f"labels/f{number}.txt", LABEL)
    return made


class TestLines:
    def read(self, tmp_path, text: str, **options):
        (tmp_path / "a.txt").write_text(text)
        return read_labels(tmp_path / "a.txt", "a.txt", NAMES, **options)

    def test_box(self, tmp_path):
        (item,), problems = self.read(tmp_path, "\n2 0.5 0.25 0.5 0.1\n")
        assert (item.name, item.index, problems) == ("dog", 2, [])
        np.testing.assert_allclose(item.box, (0.25, 0.2, 0.75, 0.3))

    def test_outline_and_turned_box_are_the_box_around(self, tmp_path):
        items, problems = self.read(tmp_path, "0 0.1 0.2 0.3 0.1 0.2 0.6\n0 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5")
        assert [item.box for item in items] == [(0.1, 0.1, 0.3, 0.6), (0.1, 0.1, 0.9, 0.9)]
        assert not problems

    def test_key_points_follow_the_box(self, tmp_path):
        line = "0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.9 0.9 2"
        ((item,), _) = self.read(tmp_path, line, has_keypoints=True)
        assert item.box == (0.25, 0.25, 0.75, 0.75)

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("0 0.5 0.5 0.1", "4 values, expected 5 (class, x, y, width, height)"),
            ("0 0.5 0.5 0.1 0.1 0.98", "6 values, expected 5"),
            ("0 0,5 0.5 0.1 0.1", "with a decimal comma, not a number: write 0.5"),
            ("0 nan 0.5 0.1 0.1", "not a number"),
            ("0 120 80 40 20", "values 120 80 40 20, expected fractions of the image, 0..1"),
        ],
    )
    def test_lines_without_a_box(self, tmp_path, line, words):
        items, (problem,) = self.read(tmp_path, line)
        assert not items
        assert words in str(problem)
        assert str(problem).startswith("a.txt line 1: ")

    @pytest.mark.parametrize("index", ["1", "-1", "cat", "0.5"])
    def test_unknown_class_keeps_its_box(self, tmp_path, index):
        (item,), problems = self.read(tmp_path, f"{index} 0.5 0.5 0.5 0.5")
        assert item.fault == f"its class is {index!r}, expected one of 0 to 2"
        assert not problems

    def test_class_as_decimal(self, tmp_path):
        assert self.read(tmp_path, "2.0 0.5 0.5 0.5 0.5")[0][0].name == "dog"

    def test_no_text(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"\xff\xfd0\x00")
        with pytest.raises(BadExample, match="no text in UTF-8"):
            read_labels(tmp_path / "a.txt", "a.txt", NAMES)

    def test_what_reads_like_a_label(self):
        assert is_label("0 0.5 0.5 1 1") and not is_label("a 0.5 0.5 1 1")
        assert not is_label("2007_000001 1") and not is_label("1 640 480 3 4")


class TestImages:
    def test_three_states_of_an_image(self, folder):
        folder.text("labels/f0.txt", "")
        (folder.root / "labels/f1.txt").unlink()
        found = elements(folder.open())
        assert found["f0"]["is_labelled"] and not len(found["f0"]["objects"]["label"])
        assert found["f1"]["split"] == "unlabelled"
        assert pixels(found["f2"]) == [[16, 12, 32, 36]]

    def test_missing_labels_as_negatives(self, folder):
        (folder.root / "labels/f1.txt").unlink()
        data = folder.build("yolo", missing_labels="negative")
        assert elements(data)["f1"]["is_labelled"]

    def test_what_cannot_be_read_is_unknown_not_background(self, folder):
        folder.text("labels/f0.txt", f"{LABEL}7 0.5 0.5 0.25 0.5\n")
        folder.text("labels/f1.txt", f"{LABEL}1 x 0.5 0.25 0.5\n")
        with pytest.raises(
            MkdError, match=r"(?s)labels/f0.txt line 2: its class is '7', expected one of 0 to 1"
        ):
            folder.open()
        found = elements(folder.open(on_bad_example="skip"))
        np.testing.assert_allclose(found["f0"]["unknown"], [[0.25, 0.375, 0.75, 0.625]])
        np.testing.assert_allclose(found["f1"]["unknown"], [[0, 0, 1, 1]])

    def test_label_files_without_an_image_are_named(self, folder):
        folder.text("labels/lost.txt", LABEL)
        (notice,) = folder.open().notices[:1]
        assert str(notice) == "labels: label files without an image of a split are not read (labels/lost.txt)"

    def test_labels_beside_images(self, folder):
        folder.image("images/beside.jpg")
        folder.text("images/beside.txt", "1 0.5 0.5 0.5 0.5")
        assert elements(folder.open())["beside"]["objects"]["label"].tolist() == [1]


class TestConfiguration:
    def names(self, folder: Folder, text: str) -> tuple[str, ...]:
        folder.text("data.yaml", f"train: images\n{text}")
        return folder.open().class_names

    def test_names_by_number_in_their_order(self, folder):
        assert self.names(folder, "names: {10: z, 2: b, 0: a}") == ("a", "b", "z")

    def test_words_of_yaml_stay_names(self, folder):
        assert self.names(folder, "names: [no, 1, null]") == ("no", "1", "null")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("names: [cat, cat]", "expected each class once, got 'cat' twice"),
            ("nc: 3\nnames: [cat]", "expected as many names as nc says, got nc: 3 and 1 names"),
            ("names: [cat, '']\n", "expected a class name"),
            ("names: {a: b}", "expected a list or numbers with names"),
            ("names: [", "expected YAML"),
            ("nc: 1\nnames:\n", "expected the names of the classes in data.yaml or classes.txt, got numbers"),
        ],
    )
    def test_names_that_cannot_be_read(self, folder, text, words):
        with pytest.raises(MkdError) as caught:
            self.names(folder, text)
        assert words in str(caught.value)

    def test_classes_may_be_passed(self, folder):
        (folder.root / "data.yaml").unlink()
        with pytest.raises(MkdError, match=r'--dataset="yolo\(path=.*, classes=\[\'cat\', \'dog\'\]\)"'):
            folder.open()
        assert folder.build("yolo", classes=["cat", "dog"]).class_names == ("cat", "dog")

    def test_objects_in_yaml_are_not_made(self, folder):
        assert self.names(folder, "names: [a]\nx: !!python/object/apply:os.abort []") == ("a",)

    @pytest.mark.parametrize("line", ["path: /etc", "path: ..", "path: ../../x", "path: C:\\data"])
    def test_nothing_outside_the_folder_is_opened(self, folder, line):
        folder.text("data.yaml", f"{line}\ntrain: images\nnames: [cat, dog]")
        with pytest.raises(MkdError) as caught:
            folder.open()
        assert f"data.yaml: path: expected a folder within {folder.root}, got " in str(caught.value)
        assert "Nothing outside it is opened" in str(caught.value)

    @pytest.mark.parametrize("place", ["/etc", "../other"])
    def test_no_split_outside_the_folder(self, folder, place):
        (folder.root.parent / "other").mkdir()
        folder.text("data.yaml", f"train: {place}\nnames: [cat, dog]")
        with pytest.raises(MkdError, match="train: expected a folder within"):
            folder.open()

    def test_lists_do_not_lead_out(self, folder):
        folder.image("../secret.jpg")
        folder.text(
            "train.txt", "../secret.jpg\n/data/set/images/f1.jpg\nimages/f2.jpg\nf3.jpg\nimages/f0.jpg\n"
        )
        folder.text("data.yaml", "train: train.txt\nnames: [cat, dog]")
        with pytest.raises(MkdError, match=r"train.txt: .*folder"):
            folder.open()
        assert {"f0", "f1", "f2", "f3"} <= set(elements(folder.open(on_bad_example="skip")))

    def test_a_split_with_the_images_of_another(self, folder):
        folder.text("data.yaml", "train: images\nval: images\nnames: [cat, dog]")
        data = folder.open()
        assert sum(len(data.split(split)) for split in ("train", "validation", "test")) == 8
        assert "validation has the images of train: they are taken for train alone" in str(data.notices[0])
