"""Every way in which COCO files can be wrong: what is said, and what is left out."""

import logging

import pytest

from mkd_tf.checks import MkdError
from mkd_tf.data.sources.coco_json import CocoJson
from tests.data.sources.coco_maker import CocoMaker
from tests.data.sources.voc_maker import all_ids, noise_image


@pytest.fixture
def coco(tmp_path):
    maker = CocoMaker(tmp_path)
    maker.add(1, "a.jpg", [10, 12, 20, 28], width=64, height=48)
    return maker


def bad(maker, **arguments):
    """Returns the message of `fail`, and the set that `skip` leaves."""
    with pytest.raises(MkdError) as error:
        CocoJson(maker.images, maker.write(), **arguments)
    message = str(error.value)
    dataset = CocoJson(maker.images, maker.annotations, on_bad_example="skip", **arguments)
    assert dataset.problems
    for problem in dataset.problems[:10]:
        assert str(problem) in message
    assert "go by their ids" in message and "--on_bad_example=skip" in message
    return message, dataset


BAD_OBJECTS = {
    "zero area": ({"bbox": [5, 7, 0, 0]}, " (cat): zero-area box [5, 7, 5, 7]"),
    "zero width": ({"bbox": [5, 7, 0, 9]}, " (cat): zero-area box [5, 7, 5, 16]"),
    "inverted": ({"bbox": [9, 7, -4, 9]}, " (cat): inverted box [9, 7, 5, 16]"),
    "outside": ({"bbox": [64, 0, 9, 9]}, " (cat): box [64, 0, 73, 9] lies outside the 64x48 image"),
    "beyond": (
        {"bbox": [1, 1, 66.5, 9]},
        " (cat): box [1, 1, 67.5, 10] reaches 3.5 px beyond the 64x48 image",
    ),
    "text": ({"bbox": [1, "x", 5, 9]}, " (cat): bbox is [1, 'x', 5, 9], not four numbers"),
    "infinite": ({"bbox": [1, 1, float("inf"), 9]}, " (cat): bbox is [1, 1, inf, 9], not four numbers"),
    "three": ({"bbox": [1, 1, 5]}, " (cat): bbox is [1, 1, 5], not four numbers"),
    "no box": ({"bbox": None}, " (cat): no bbox"),
    "category": ({"category_id": 4}, ": category 4 is not among the categories"),
    "category of another kind": ({"category_id": [3]}, ": category [3] is not among the categories"),
    "image": ({"image_id": 77, "bbox": [1, 1, 5, 5]}, " (cat): image 77 is not in the file"),
}


class TestBadObjects:
    @pytest.mark.parametrize(("fields", "text"), BAD_OBJECTS.values(), ids=BAD_OBJECTS)
    def test_is_named_with_fail_and_dropped_with_skip(self, coco, fields, text):
        coco.annotate(1, **fields)
        coco.annotate(1, bbox=[20, 20, 20, 20])
        message, dataset = bad(coco)
        expected = f"instances.json annotation {fields.get('id', 101)}{text}"
        assert expected in message
        assert [str(problem) for problem in dataset.problems] == [expected]
        assert len(dataset.split("train")[0]["objects"]["label"]) == 2

    def test_an_annotation_without_id_goes_by_its_position(self, coco):
        coco.annotate(1, id=None, bbox=[5, 7, 0, 0])
        assert "instances.json annotation number 1 (cat): zero-area" in bad(coco)[0]

    def test_skip_warns_once_of_everything(self, coco, caplog):
        for _ in range(13):
            coco.annotate(1, bbox=[5, 7, 0, 0])
        message, _ = bad(coco)
        assert message.count("zero-area") == 10 and "got 13 bad ones" in message and "and 3 more" in message
        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert sum("left out 13 bad examples" in text for text in warnings) == 1


class TestBadImages:
    def only_a_is_left(self, coco, expected, **arguments):
        message, dataset = bad(coco, **arguments)
        assert expected in message
        assert [str(problem).startswith(expected) for problem in dataset.problems] == [True]
        assert all_ids(dataset) == ["a.jpg"]

    def test_missing(self, coco):
        coco.list_image(2, "b.jpg")
        coco.annotate(2)
        self.only_a_is_left(coco, "instances.json image 2 (b.jpg): no image b.jpg in images/")

    def test_truncated(self, coco):
        path = coco.write_image("b.jpg")
        coco.list_image(2, "b.jpg")
        path.write_bytes(path.read_bytes()[:-200])
        self.only_a_is_left(coco, "images/b.jpg: expected a complete image, got a truncated")

    @pytest.mark.parametrize(
        "name", ["../secret.jpg", "/secret.jpg", "x/../../secret.jpg", "C:\\s.jpg", "..\\s.jpg"]
    )
    def test_path_that_leads_out(self, coco, name):
        noise_image(0).save(coco.root / "secret.jpg")
        coco.list_image(2, name)
        self.only_a_is_left(coco, f"instances.json image 2 ({name}): its file_name leads out of the folder")

    def test_size_of_another_image(self, coco):
        coco.add(2, "b.jpg", width=640, height=480)
        self.only_a_is_left(
            coco, "instances.json image 2 (b.jpg): the file says 640x480, the image has 64x48"
        )

    def test_id_twice(self, coco):
        """Nothing says whose the annotations are: the first image is unknown, the others are left out."""
        coco.add(7, "b.jpg", [1, 1, 9, 9])
        coco.add(7, "c.jpg")
        message, dataset = bad(coco, fractions=(1, 0, 0))
        assert "instances.json image 7 (c.jpg): its id is that of b.jpg" in message
        assert "instances.json annotation 101 (cat): its image_id is that of b.jpg and c.jpg" in message
        assert (dataset.split("train").ids, dataset.split("unlabelled").ids) == (["a.jpg"], ["b.jpg"])

    @pytest.mark.parametrize("image_id", [None, [1], 1.5, True])
    def test_no_id(self, coco, image_id):
        coco.list_image(image_id, "b.jpg")
        expected = f"instances.json image number 1 (b.jpg): its id is {image_id!r}, not an integer or text"
        self.only_a_is_left(coco, expected)

    @pytest.mark.parametrize("name", [None, "", 3])
    def test_no_file_name(self, coco, name):
        coco.list_image(2, name)
        self.only_a_is_left(coco, f"instances.json image 2: its file_name is {name!r}")

    def test_damaged_unlabelled_image(self, coco, tmp_path):
        (tmp_path / "bare").mkdir()
        (tmp_path / "bare" / "b.jpg").write_text("no image")
        expected = "bare/b.jpg: expected an image, got 8 bytes in no format"
        self.only_a_is_left(coco, expected, unlabelled_images=tmp_path / "bare")

    def test_in_two_files_it_stays_on_the_evaluation_side(self, coco):
        coco.add(2, "b.jpg", [1, 1, 9, 9])
        test = CocoMaker(coco.root, "images", "test.json")
        test.add(5, "b.jpg", [1, 1, 9, 9])
        message, dataset = bad(coco, test_annotations=test.write(), fractions=(1, 0, 0))
        assert "instances.json image 2 (b.jpg): is also in test.json" in message
        assert (dataset.split("train").ids, dataset.split("test").ids) == (["a.jpg"], ["b.jpg"])


class TestBadFiles:
    def fails(self, coco, match, **arguments):
        with pytest.raises(MkdError, match=match):
            CocoJson(coco.images, coco.annotations, **arguments)

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            (
                '{"images": [],\n "annotations" []}',
                "expected JSON, got Expecting ':' delimiter at line 2, column 16",
            ),
            ("", "expected JSON, got Expecting value at line 1, column 1"),
            ("[1]", "expected COCO instances: an object with lists .* got a list"),
            ('{"images": []}', "got no list of objects called 'categories'"),
            ('{"categories": [], "images": [], "annotations": []}', "expected categories, got none"),
            ('{"categories": [{"id": 1}], "images": []}', "an integer 'id' and a 'name', got {'id': 1}"),
            ('{"categories": [{"id": 1, "name": "a"}], "images": [3]}', "no list of objects called 'images'"),
            (
                '{"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "images": []}',
                "id and name once",
            ),
            (
                '{"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "images": []}',
                "id and name once",
            ),
            (
                '{"categories": [{"id": 1, "name": "a"}], "images": []}',
                "no list of objects called 'annotations'",
            ),
            ("[" * 100_000, "expected JSON in UTF-8"),
        ],
    )
    def test_content(self, coco, text, match):
        coco.annotations.write_text(text)
        self.fails(coco, match)

    def test_places(self, coco):
        self.fails(coco, "instances.json: expected a file, got none")
        coco.write()
        with pytest.raises(MkdError, match="train images .*: expected a folder, got nothing there"):
            CocoJson(coco.root / "nowhere", coco.annotations)
        with pytest.raises(MkdError, match="expected a readable file, got Is a directory"):
            CocoJson(coco.images, coco.images)
        coco.annotations.write_bytes(b"\xff\xfd{")
        self.fails(coco, "expected JSON in UTF-8, got 'utf-8' codec")

    def test_nothing_to_learn(self, coco):
        coco.content["annotations"].clear()
        coco.write()
        self.fails(coco, "expected annotated objects, got none")
        coco.content["images"].clear()
        coco.write()
        self.fails(coco, "expected usable images for train, got none")

    def test_files_that_disagree(self, coco):
        coco.write()
        other = CocoMaker(coco.root, "images", "val.json")
        other.content["categories"] = [{"id": 3, "name": "cat"}, {"id": 9, "name": "wolf"}]
        expected = (
            "val.json: expected the categories of .*instances.json, got a difference in 2, such as 9: 'dog'"
        )
        self.fails(coco, expected, validation_annotations=other.write())

    def test_arguments(self, coco):
        coco.write()
        self.fails(coco, "test_images: expected annotations of these images", test_images=coco.images)
        self.fails(coco, "fractions: expected three shares", fractions=(1, 1, 1))
        self.fails(coco, "expected one of fail, skip, got 'ignore'", on_bad_example="ignore")
