"""Boxes, flags, numbers and images that are written in other ways: cases 02, 09, 10, 11 and 17."""

import numpy as np
import pytest
from PIL import Image

from mkd_tf.data.image_files import read_image
from mkd_tf.data.sources.notices import BadExample
from mkd_tf.data.sources.values import box_of_corners, flag, number
from tests.data.sources.cases import boxes, objects, open_coco, open_voc, refusal, shown, unknown, words
from tests.data.sources.coco_maker import CocoMaker
from tests.data.sources.voc_maker import object_xml

CAT = [[10, 12, 30, 40]]
WHOLE = [[0, 0, 64, 48]]


class TestOrientation:
    """A patch at 5..25 of the stored 64x48 image, and where it is displayed."""

    SHOWN = {
        1: [5, 5, 25, 15],
        5: [5, 5, 15, 25],
        6: [33, 5, 43, 25],
        7: [33, 39, 43, 59],
        8: [5, 39, 15, 59],
    }

    def image(self, path, orientation):
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = Image.new("RGB", (64, 48), "white")
        stored.paste("red", (5, 5, 25, 15))
        stored.save(path, exif=exif)

    @pytest.mark.parametrize("orientation", [5, 6, 7, 8])
    def test_stored_size_means_stored_boxes(self, voc, coco, orientation):
        self.image(voc.image_path("a.png"), orientation)
        voc.annotate("a", object_xml(box=(5, 5, 25, 15)), size=(64, 48))
        self.image(coco.images / "a.png", orientation)
        coco.list_image(1, "a.png", width=64, height=48)
        coco.annotate(1, bbox=[5, 5, 20, 10])
        for dataset, file in ((open_voc(voc), "Annotations/a.xml"), (open_coco(coco), "instances.json")):
            ((x0, y0, x1, y1),) = next(iter(boxes(dataset).values()))
            assert [x0, y0, x1, y1] == self.SHOWN[orientation]
            image = dataset.split("train")[0]["image"]
            assert (image[y0:y1, x0:x1] == [255, 0, 0]).all()  # the patch itself
            assert words(dataset) == [
                "changed: images: the size is that before EXIF orientation: boxes are turned with the image "
                f"({file})"
            ]

    def test_displayed_size_means_displayed_boxes(self, voc):
        self.image(voc.image_path("a.png"), 6)
        voc.annotate("a", object_xml(box=(33, 5, 43, 25)), size=(48, 64))
        assert (boxes(open_voc(voc)), words(open_voc(voc))) == ({"a": [self.SHOWN[6]]}, [])

    def test_boxes_that_fit_only_the_displayed_image_are_displayed(self, voc):
        self.image(voc.image_path("a.png"), 6)
        voc.annotate("a", object_xml(box=(33, 5, 43, 60)), size=(64, 48))
        assert boxes(open_voc(voc)) == {"a": [[33, 5, 43, 60]]}
        assert words(open_voc(voc)) == [
            "suspect: images: the size is that before EXIF orientation, and boxes fit only the displayed "
            "image: taken as displayed (Annotations/a.xml)"
        ]

    @pytest.mark.parametrize(("orientation", "size"), [(3, (64, 48)), (6, None), (2, (64, 48))])
    def test_where_the_size_does_not_say_it_a_word_does(self, voc, orientation, size):
        self.image(voc.image_path("a.png"), orientation)
        voc.annotate("a", object_xml(box=(5, 5, 25, 15)), size=size)
        assert boxes(open_voc(voc)) == {"a": [[5, 5, 25, 15]]}
        assert words(open_voc(voc)) == [
            "suspect: images: EXIF turns or mirrors the image, and its size does not say whether boxes lie "
            "on the stored or on the displayed image: taken as displayed (Annotations/a.xml)"
        ]


class TestFractions:
    @pytest.mark.parametrize("box", [(0.25, 0.25, 0.75, 0.5), (0, 0, 1, 1), (0.5, 0, 1, 0.5)])
    def test_a_file_of_fractions_is_scaled(self, voc, coco, box):
        voc.add("a", object_xml(box=box))
        coco.add(1, "a.jpg", [box[0], box[1], box[2] - box[0], box[3] - box[1]])
        expected = [[round(box[i] * (64, 48)[i % 2]) for i in range(4)]]
        said = "changed: boxes: all within 0..1 and read as fractions of the image"
        for dataset, file in ((open_voc(voc), "Annotations/a.xml"), (open_coco(coco), "instances.json")):
            assert list(boxes(dataset).values()) == [expected]
            assert words(dataset) == [f"{said} ({file})"]

    def test_one_box_in_pixels_makes_small_ones_problems(self, voc, coco):
        voc.add("a", object_xml(), object_xml(box=(0.25, 0.25, 0.75, 0.5)))
        text = "(cat): box [0.25, 0.25, 0.75, 0.5] is 0.5x0.25 px, under 1 px"
        assert f"Annotations/a.xml object 1 {text}" in refusal(open_voc, voc)
        coco.add(1, "a.jpg", [10, 12, 20, 28])
        coco.add(2, "b.jpg", [0.25, 0.25, 0.5, 0.25])
        assert f"instances.json annotation 101 {text}" in refusal(open_coco, coco)

    def test_under_a_pixel(self, voc):
        voc.add("a", object_xml(), object_xml(box=(9, 9, 9.5, 20)))
        assert "box [9, 9, 9.5, 20] is 0.5x11 px, under 1 px" in refusal(open_voc, voc)
        assert unknown(open_voc(voc, on_bad_example="skip")) == {"a": WHOLE}

    def test_corners_in_any_order(self):
        assert box_of_corners([9, "2", 1, 5.5]) == (1, 2, 9, 5.5)


class TestFlags:
    @pytest.mark.parametrize(
        "value", [0, 0.0, False, "0", "0.0", "false", "False", " no ", "", None, float("nan"), "null"]
    )
    def test_no(self, coco, value):
        coco.add(1, "a.jpg")
        coco.annotate(1, iscrowd=value, ignore=value)
        assert (objects(open_coco(coco)), words(open_coco(coco))) == ({"a.jpg": ["cat"]}, [])

    @pytest.mark.parametrize("value", [1, 1.0, True, "1", "1.0", "true", "TRUE", " yes "])
    def test_yes(self, coco, voc, value):
        coco.add(1, "a.jpg", [1, 1, 9, 9])
        coco.annotate(1, iscrowd=value)
        coco.annotate(1, ignore=value, bbox=[30, 20, 9, 9])
        assert objects(open_coco(coco)) == {"a.jpg": ["cat", "cat!", "cat?"]}
        voc.add("a", object_xml(extra=f"<difficult>{value}</difficult>"))
        assert objects(open_voc(voc)) == {"a": ["cat?"]}

    @pytest.mark.parametrize("value", [2, -1, 0.5, "maybe", "-1", [], {}])
    def test_anything_else_is_a_problem_and_its_area_unknown(self, coco, value):
        coco.add(1, "a.jpg", [1, 1, 9, 9])
        coco.annotate(1, iscrowd=value)
        text = f"instances.json annotation 101 (cat): iscrowd is {value!r}, expected 0 or 1"
        assert text in refusal(open_coco, coco)
        dataset = open_coco(coco, on_bad_example="skip")
        assert (objects(dataset), unknown(dataset)) == ({"a.jpg": ["cat"]}, {"a.jpg": CAT})

    def test_difficult_of_voc(self, voc):
        voc.add("a", object_xml(extra="<difficult>Unspecified</difficult>"))
        text = "Annotations/a.xml object 0 (cat): <difficult> is 'Unspecified', expected 0 or 1"
        assert text in refusal(open_voc, voc)
        with pytest.raises(BadExample, match="x is 'ja'"):
            flag("ja", "x")


class TestNumbers:
    def test_a_decimal_comma_is_named(self, voc, coco):
        voc.add("a", object_xml(box=("10,5", 12, 30, 40)))
        text = "xmin is '10,5' with a decimal comma, not a number: write 10.5"
        assert f"Annotations/a.xml object 0 (cat): {text}" in refusal(open_voc, voc)
        coco.add(1, "a.jpg", ["1,5", 2, 3, 4])
        text = "bbox is '1,5' with a decimal comma, not a number: write 1.5"
        assert f"instances.json annotation 100 (cat): {text}" in refusal(open_coco, coco)

    def test_text_is_a_number(self, coco):
        coco.add(1, "a.jpg", ["10", " 12.0 ", "2e1", 28])
        assert boxes(open_coco(coco)) == {"a.jpg": CAT}

    @pytest.mark.parametrize(
        "value", [None, True, "", "1_0", "0x1", "1.2.3", "٣", float("nan"), 10**400, [1], "1,2,3"]
    )
    def test_what_is_no_number(self, value):
        with pytest.raises(BadExample, match="x is .*, not a number"):
            number(value, "x")


class TestCrowds:
    def test_only_crowds_is_said_before_training(self, coco, caplog):
        for i in range(3):
            coco.add(i, f"{i}.jpg")
            coco.annotate(i, iscrowd=1)
        text = "train: no object can be learnt: all 3 are crowds (iscrowd), as some tools write for masks"
        assert words(open_coco(coco)) == [f"suspect: {text}"]
        assert text in shown(caplog)

    def test_per_split_and_class(self, coco):
        coco.content["categories"].append({"id": 4, "name": "dog"})
        coco.add(1, "a.jpg", [10, 12, 20, 28])
        coco.annotate(1, iscrowd=1, category_id=4, bbox=[1, 1, 9, 9])
        test = CocoMaker(coco.root, "images", "test.json", dict(coco.content, images=[], annotations=[]))
        test.add(1, "b.jpg")
        test.annotate(1, ignore=1)
        dataset = open_coco(coco, test_annotations=test.write(), fractions=(1, 0, 0))
        assert [f"{n.kind}: {n}" for n in dataset.notices] == [
            "suspect: test: no object counts: all are crowds (0) or difficult objects (1)",
            "suspect: train: classes have no object that can be learnt (dog)",
        ]


class TestBits:
    def wide(self, voc, name, most, kind="uint16"):
        pixels = np.linspace(0, most, 64 * 48).reshape(48, 64).astype(kind)
        Image.fromarray(pixels).save(voc.image_path(f"{name}.png"))
        voc.annotate(name, object_xml())

    @pytest.mark.parametrize(("bits", "most"), [(10, 1000), (12, 4095), (12, 2000), (14, 16383)])
    def test_the_bits_that_are_used_become_8(self, voc, bits, most):
        self.wide(voc, "a", most)
        dataset = open_voc(voc)
        assert dataset.split("train")[0]["image"].max() == round(most / (2**bits - 1) * 255)
        assert words(dataset) == [
            f"changed: images: images of 16 bits use {bits}: their values 0 to {2**bits - 1} become 0 to 255 "
            "(a.png)"
        ]
        assert read_image(voc.image_path("a.png")).max() == round(most / (2**bits - 1) * 255)

    def test_all_images_are_scaled_alike(self, voc):
        self.wide(voc, "a", 4095)
        self.wide(voc, "b", 1023)
        dataset = open_voc(voc)
        assert [dataset.split("train")[i]["image"].max() for i in (0, 1)] == [255, 64]

    def test_16_bits_and_nearly_black_ones(self, voc):
        self.wide(voc, "a", 65535)
        self.wide(voc, "b", 4095)
        assert words(open_voc(voc)) == [
            "suspect: images: images use 12 bits where others use 16: they are nearly black (b.png)"
        ]

    def test_8_bits_stay(self, voc):
        voc.add("a")
        assert words(open_voc(voc)) == []
        assert np.array_equal(read_image(voc.image_path("a.jpg")), open_voc(voc).split("train")[0]["image"])


BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
ROTATED = "<robndbox><cx>20</cx><cy>20</cy><w>20</w><h>10</h><angle>{}</angle></robndbox>"
OUTLINES = {
    "two boxes": (BOX.format(1, 2, 9, 8) + BOX.format(20, 20, 30, 30), [[1, 2, 9, 8], [20, 20, 30, 30]]),
    "polygon of LabelMe": (
        "<polygon><pt><x>5</x><y>6</y></pt><pt><x>25</x><y>9</y></pt><pt><x>7</x><y>30</y></pt></polygon>",
        [[5, 6, 25, 30]],
    ),
    "polygon of Roboflow": (
        "<polygon><x1>5</x1><y1>6</y1><x2>25</x2><y2>9</y2><x3>7</x3><y3>30</y3></polygon>",
        [[5, 6, 25, 30]],
    ),
    "turned box": (ROTATED.format(0), [[10, 15, 30, 25]]),
    "turned box by a quarter": (ROTATED.format(np.pi / 2), [[15, 10, 25, 30]]),
}


class TestOutlines:
    @pytest.mark.parametrize(("written", "expected"), OUTLINES.values(), ids=OUTLINES)
    def test_voc(self, voc, written, expected):
        voc.add("a", f"<object><name>cat</name>{written}</object>")
        assert boxes(open_voc(voc)) == {"a": expected}
        said = "changed: objects: one with several boxes is read as several (Annotations/a.xml object 0)"
        assert words(open_voc(voc)) == ([said] if len(expected) > 1 else [])

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"bbox": None, "segmentation": [[5, 6, 25, 9, 7, 30]]}, [[5, 6, 25, 30]]),
            ({"bbox": [], "segmentation": [[5, 6, 9, 6, 7, 9], [20, 20, 30, 30, 20, 30]]}, [[5, 6, 30, 30]]),
            (
                {"segmentation": {"counts": [48 * 5 + 6, 10, 38, 10, 48 * 57 + 32], "size": [48, 64]}},
                [[5, 6, 7, 16]],
            ),
        ],
        ids=["polygon", "polygons", "mask"],
    )
    def test_coco(self, coco, fields, expected):
        coco.add(1, "a.jpg")
        coco.annotate(1, **{"bbox": None, **fields})
        assert boxes(open_coco(coco)) == {"a.jpg": expected}
        assert words(open_coco(coco)) == [
            "changed: instances.json: objects without bbox have the box around their segmentation"
        ]

    def test_several_boxes_in_an_annotation(self, coco):
        coco.add(1, "a.jpg")
        coco.annotate(1, bbox=[[1, 2, 8, 6], [20, 20, 10, 10]])
        assert boxes(open_coco(coco)) == {"a.jpg": [[1, 2, 9, 8], [20, 20, 30, 30]]}
        assert words(open_coco(coco)) == [
            "changed: instances.json: annotations with several boxes are read as several objects (100)"
        ]
