"""Lists of splits as CVAT, VoTT and others call them: case 08."""

import pytest

from tests.data.sources.cases import open_voc, words


class TestLists:
    @pytest.fixture
    def five(self, voc):
        for name in "abcde":
            voc.add(name)
        return voc

    def splits(self, voc):
        dataset = open_voc(voc)
        return {split: dataset.split(split).ids for split in dataset.split_names}, words(dataset)

    @pytest.mark.parametrize(
        ("train", "validation"),
        [("Train", "Validation"), ("TRAIN", "Val"), ("train2007", "valid"), ("Train", "dev")],
    )
    def test_names_in_any_case(self, five, train, validation):
        five.write_list(train, "a", "b.jpg", "JPEGImages/c.jpg")
        five.write_list(validation, "d.xml", "images\\..\\e")
        assert self.splits(five) == ({"train": ["a", "b", "c"], "validation": ["d", "e"]}, [])

    def test_trainval_is_train(self, five):
        five.write_list("trainval", "a", "b", "c")
        five.write_list("test", "d", "e")
        voc = open_voc(five, fractions=(0.6, 0.4, 0))
        assert len(voc.split("train")) + len(voc.split("validation")) == 3
        assert (voc.split("test").ids, words(voc)) == (["d", "e"], [])

    def test_trainval_less_val_is_train(self, five):
        five.write_list("trainval", "a", "b", "c")
        five.write_list("val", "c")
        assert self.splits(five) == ({"train": ["a", "b"], "validation": ["c"]}, [])

    def test_lists_that_are_not_used_are_named(self, five):
        five.write_list("train", "a", "b")
        five.write_list("val", "c")
        for name in ("trainval", "default", "readme", "cat_train", "cat_val", "dog_train", "dog_trainval"):
            five.write_list(name, "a")
        where = "unused: ImageSets/Main: lists"
        assert self.splits(five)[1] == [
            f"{where} are not used: another one gives train (trainval.txt)",
            f"{where} are not used: their names are no splits (default.txt, readme.txt)",
            f"{where} of one class each are not used (4: cat_train.txt, cat_val.txt, dog_train.txt, ...)",
        ]

    def test_default_alone_is_no_split(self, five):
        five.write_list("default", *"abcde")
        splits, said = self.splits(five)
        assert splits == {"train": list("abcde")}
        assert said == ["unused: ImageSets/Main: lists are not used: their names are no splits (default.txt)"]

    def test_lists_of_each_class_are_joined(self, five):
        five.write_list("cat_train", "a  1", "b -1")
        five.write_list("traffic_light_train", "a -1", "c  1")
        five.write_list("cat_val", "d 1", "e -1")
        splits, said = self.splits(five)
        assert splits == {"train": ["a", "b", "c"], "validation": ["d", "e"]}
        joined = "changed: ImageSets/Main: lists of one class each are joined to the list for"
        assert said == [
            f"{joined} train (cat_train.txt, traffic_light_train.txt)",
            f"{joined} validation (cat_val.txt)",
        ]
