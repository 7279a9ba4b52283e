"""What single tools write: ids and boxes of COCO files, turned images, deep colours."""

import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mkd_tf.data.image_files import measure_image, read_image, scan_image
from tests.data.sources.cases import boxes, objects, open_coco, open_voc, refusal, unknown, words
from tests.data.sources.voc_maker import object_xml

CAT = [10, 12, 30, 40]
WHOLE = [[0, 0, 64, 48]]


class TestCoco:
    @pytest.mark.parametrize("given", ["b.jpg", "x/b.jpg", "b"])
    def test_image_ids_that_are_names(self, coco, given):
        coco.add(1, "a.jpg", [10, 12, 20, 28])
        coco.add(2, "x/b.jpg")
        coco.annotate(given)
        data = open_coco(coco)
        assert boxes(data) == {"a.jpg": [CAT], "x/b.jpg": [CAT]}
        told = f"changed: instances.json: image_ids that are the names of images are read as those ({given})"
        assert words(data) == [told]

    def test_a_name_of_several_images_is_no_id(self, coco):
        coco.add(1, "x/b.jpg", [10, 12, 20, 28])
        coco.add(2, "y/b.jpg")
        coco.annotate("b")
        assert "annotation 101 (cat): image 'b' is not in the file" in refusal(open_coco, coco)

    def test_objects_of_unknown_images_make_negatives_suspect(self, coco):
        coco.add(1, "a.jpg", [10, 12, 20, 28])
        coco.add(2, "b.jpg")
        coco.annotate(77)
        coco.annotate(78)
        told = "annotations name images that are not in the file; those without any are taken as negatives"
        data = open_coco(coco, on_bad_example="skip")
        assert words(data) == [f"suspect: instances.json: {told} (2 times)"]

    @pytest.mark.parametrize("ids", [(7, 7), ("007", "7"), (7, 7.0)])
    def test_objects_of_a_shared_id_are_nobodys(self, coco, ids):
        coco.add(1, "a.jpg", [10, 12, 20, 28])
        for image_id, name in zip(ids, ("b.jpg", "c.jpg"), strict=True):
            coco.add(image_id, name, [1, 1, 9, 9])
        data = open_coco(coco, on_bad_example="skip")
        assert boxes(data) == {"a.jpg": [CAT]} and data.split("unlabelled").ids == ["b.jpg"]
        assert sum("its image_id is that of b.jpg and c.jpg" in str(p) for p in data.problems) == 2

    def test_corners_in_place_of_sizes_are_named(self, coco):
        for number, box in enumerate(([40, 30, 60, 44], [5, 5, 20, 20])):
            coco.add(number, f"{number}.jpg", box, width=64, height=48)
        told = "instances.json: 1 of 2 boxes leave their images, and all fit as xmin, ymin, xmax, ymax"
        assert f"{told}, while COCO's are x, y, width, height." in refusal(open_coco, coco)
        assert f"suspect: {told}; COCO's are x, y, width, height" in words(
            open_coco(coco, on_bad_example="skip")
        )

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"bbox": "[1, 2, 3, 4]"}, "bbox is text, '[1, 2, 3, 4]', not four numbers"),
            ({"bbox": {"x": 1}}, "bbox is {'x': 1}, not four numbers"),
            (
                {"bbox": [], "segmentation": {"counts": [48 * 64], "size": [48, 64]}},
                "bbox is [], not four numbers, and its segmentation is empty",
            ),
        ],
    )
    def test_boxes_of_another_kind(self, coco, fields, told):
        coco.add(1, "a.jpg", [10, 12, 20, 28])
        coco.annotate(1, **fields)
        assert f"annotation 101 (cat): {told}" in refusal(open_coco, coco)
        assert unknown(open_coco(coco, on_bad_example="skip")) == {"a.jpg": WHOLE}

    @pytest.mark.parametrize("value", [True, "true", 1, "1.0"])
    def test_flags_by_type(self, coco, value):
        coco.add(1, "a.jpg")
        coco.annotate(1, iscrowd=value, area=0)
        coco.annotate(1, bbox=["1", "2.0", 9, 9.0], iscrowd=False)
        assert objects(open_coco(coco)) == {"a.jpg": ["cat!", "cat"]}

    def test_a_long_list_is_shortened_in_both_modes(self, coco, caplog):
        coco.add(1, "a.jpg", [10, 12, 20, 28])
        for _ in range(14):
            coco.annotate(1, bbox=[5, 7, 0, 0])
        assert "\n  and 4 more; mkd inspect_data shows some of every file\n" in refusal(open_coco, coco)
        open_coco(coco, on_bad_example="skip")
        (text,) = [r.getMessage() for r in caplog.records if "left out 14 bad examples" in r.getMessage()]
        assert text.count("zero-area box") == 10 and "and 4 more; mkd inspect_data" in text


class TestLabelme:
    @pytest.mark.parametrize("kind", ["oriented_rectangle", "rotation", "polygon"])
    def test_turned_rectangles(self, folder, kind):
        folder.image("a.jpg")
        points = [[20, 12], [30, 26], [20, 40], [10, 26]]
        shape = {"label": "cat", "shape_type": kind, "points": points}
        folder.text("a.json", json.dumps({"imagePath": "a.jpg", "shapes": [shape]}))
        assert boxes(folder.open()) == {"a.jpg": [CAT]}

    @pytest.mark.parametrize("where", [{"difficult": True}, {"flags": {"difficult": "1"}}])
    def test_difficult(self, folder, where):
        folder.image("a.jpg")
        shape = {"label": "cat", "shape_type": "rectangle", "points": [[10, 12], [30, 40]]} | where
        folder.text("a.json", json.dumps({"imagePath": "a.jpg", "shapes": [shape]}))
        assert objects(folder.open()) == {"a.jpg": ["cat?"]}


@pytest.mark.parametrize("angle", [90, "180", 270.0])
def test_images_that_were_turned_in_label_studio(folder, angle):
    folder.image("a.jpg")
    folder.image("b.jpg")
    value = {"x": 10, "y": 10, "width": 20, "height": 20, "rectanglelabels": ["cat"]}
    tasks = [
        {"data": {"image": name}, "annotations": [{"result": [{"value": value, "image_rotation": turned}]}]}
        for name, turned in (("a.jpg", 0), ("b.jpg", angle))
    ]
    folder.text("a.json", json.dumps(tasks))
    assert f"image_rotation is {angle!r}: the image was turned in the tool, expected 0" in refusal(
        folder.open
    )
    assert folder.open(on_bad_example="skip").split("unlabelled").ids == ["b.jpg"]


def png_of_16_bits(values: np.ndarray, colour: int) -> bytes:
    """Writes `[H, W, C]` as a PNG with 16 bits a channel, which Pillow cannot."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(">u2"))
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


class TestDeepColours:
    """PNG of 16 bits a channel; colour 2 is RGB, 6 RGBA, 4 grey with alpha."""

    @pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
    @pytest.mark.parametrize("bits", [10, 12, 16])
    def test_they_are_scaled_by_the_bits_in_use(self, tmp_path, colour, channels, bits):
        values = np.random.default_rng(0).integers(0, 2**bits, (48, 64, channels))
        values[0, 0] = 2**bits - 1
        if channels != 3:
            values[..., -1] = 65535
        path = tmp_path / "a.png"
        path.write_bytes(png_of_16_bits(values, colour))
        scan = scan_image(path)
        assert (scan.depth, scan.is_wide, measure_image(path).is_wide) == (bits, True, True)
        wanted = values[..., :1] if channels == 2 else values[..., :3]
        step = 255 / (2 ** (bits - 8) - 1)  # Pillow keeps the upper 8 bits
        difference = np.abs(read_image(path).astype(float) - wanted * (255 / (2**bits - 1)))
        assert difference.max() <= step + 1 and read_image(path).max() == 255

    def test_a_set_of_them_says_so(self, voc):
        for name in "ab":
            values = np.random.default_rng(ord(name)).integers(0, 4096, (48, 64, 3))
            voc.annotate(name, object_xml())
            voc.image_path(f"{name}.png").write_bytes(png_of_16_bits(values, 2))
        data = open_voc(voc)
        told = "changed: images: images of 16 bits use 12: their values 0 to 4095 become 0 to 255"
        assert words(data) == [f"{told} (a.png, b.png)"]
        assert data.split("train")[0]["image"].mean() > 100

    @pytest.mark.parametrize("mode", ["RGB", "P", "1", "LA", "CMYK", "RGBA"])
    def test_others_are_not_deep(self, tmp_path, mode):
        path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
        Image.new("RGB", (8, 8), (9, 9, 9)).convert(mode).save(path)
        assert scan_image(path)[5:] == (8, False)
