"""CVAT: what its shapes mean, which images they are of, and which files are refused."""

import pytest

from mkd_tf.checks import MkdError
from tests.data.sources.folder_maker import Folder, elements, pixels

BOX = '<box label="cat" occluded="1" xtl="16" ytl="12" xbr="32" ybr="36"/>'


@pytest.fixture
def folder(tmp_path) -> Folder:
    made = Folder(tmp_path / "set")
    for name in "abcdef":
        made.image(f"images/{name}.jpg")
    return made


class TestCvat:
    def write(self, folder: Folder, shapes: str = BOX, name: str = "annotations.xml", **attributes) -> None:
        images = "".join(
            f'<image id="{i}" name="{n}.jpg" width="64" height="48" {attributes.get(n, "")}>{shapes}</image>'
            for i, n in enumerate("abcdef")
        )
        labels = "<label><name>dog</name></label><label><name>cat</name></label>"
        meta = f"<meta><task><labels>{labels}</labels></task></meta>"
        folder.text(
            name, f"<?xml version='1.0'?><annotations><version>1.1</version>{meta}{images}</annotations>"
        )

    def test_classes_keep_the_order_of_the_labels(self, folder):
        self.write(folder)
        data = folder.open()
        assert data.class_names == ("dog", "cat")
        assert pixels(elements(data)["a"]) == [[16, 12, 32, 36]]

    @pytest.mark.parametrize(
        ("shape", "box"),
        [
            ('<polygon label="cat" points="10.0,5.0;20.0,8.0;12.0,30.5"/>', [10, 5, 20, 30.5]),
            ('<polyline label="cat" points="1,2;30,40"/>', [1, 2, 30, 40]),
            ('<box label="cat" xtl="20" ytl="20" xbr="40" ybr="30" rotation="90.0"/>', [25, 15, 35, 35]),
            ('<ellipse label="cat" cx="30" cy="20" rx="10" ry="5"/>', [20, 15, 40, 25]),
            # Rows of 5: 0 0 0 1 1 | 1 0 0 0 0 -> columns 0..5, rows 0..2 of a mask at (10, 12).
            ('<mask label="cat" rle="3, 3, 4" left="10" top="12" width="5" height="2"/>', [10, 12, 15, 14]),
            (
                '<mask label="cat" rle="1, 2, 3, 2, 2" left="10" top="12" width="5" height="2"/>',
                [11, 12, 13, 14],
            ),
        ],
    )
    def test_shapes(self, folder, shape, box):
        self.write(folder, shape)
        assert pixels(elements(folder.open())["a"]) == [box]

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            ('<points label="cat" points="1,2"/>', "<points> has no box around an object"),
            ('<box label="cat" xtl="a" ytl="1" xbr="2" ybr="3"/>', "xtl is 'a', not a number"),
            ('<box xtl="5" ytl="5" xbr="20" ybr="30"/>', "its class name is None, not text"),
            ('<mask label="cat" rle="3" left="1" top="1" width="2" height="2"/>', "fill 3 of 2x2 pixels"),
            ('<mask label="cat" rle="4" left="1" top="1" width="2" height="2"/>', "its mask is empty"),
        ],
    )
    def test_shapes_without_a_box(self, folder, shape, words):
        self.write(folder, shape)
        with pytest.raises(MkdError) as caught:
            folder.open()
        assert words in str(caught.value)

    def test_difficult_and_tags(self, folder):
        difficult = BOX.replace("/>", '><attribute name="difficult">true</attribute></box>')
        self.write(folder, difficult + '<tag label="cat"/>')
        data = folder.open()
        assert elements(data)["b"]["objects"]["is_difficult"].all()
        assert "tags of whole images are not read" in str(data.notices[0])

    def test_subsets_are_splits(self, folder):
        subsets = {
            name: f'subset="{s}"'
            for name, s in zip("abcdef", ["Train"] * 4 + ["Validation", "Test"], strict=True)
        }
        self.write(folder, **subsets)
        splits = {name: each["split"] for name, each in elements(folder.open()).items()}
        assert splits == dict.fromkeys("abcd", "train") | {"e": "validation", "f": "test"}

    def test_every_file_of_many_is_read(self, folder):
        for number in range(35):
            folder.image(f"images/{number}.jpg")
            image = f'<image id="0" name="{number}.jpg" width="64" height="48">{BOX}</image>'
            folder.text(f"annotations/task_{number}.xml", f"<annotations>{image}</annotations>")
        found = elements(folder.open())
        assert all(found[str(number)]["is_labelled"] for number in range(35))
        assert found["a"]["split"] == "unlabelled"

    def test_tracks_are_refused(self, folder):
        folder.text("annotations.xml", '<annotations><track id="0" label="cat"></track></annotations>')
        with pytest.raises(MkdError, match="tracks of a video. Export the task as 'CVAT for images 1.1'"):
            folder.open()

    def test_entities_are_refused(self, folder):
        text = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>'
        folder.text("annotations.xml", text)
        with pytest.raises(MkdError, match="refused as unsafe"):
            folder.open()

    def test_an_image_that_is_not_there(self, folder):
        self.write(folder)
        (folder.root / "images/a.jpg").unlink()
        with pytest.raises(MkdError, match=r"annotations.xml image 0 \(a.jpg\): no image a.jpg in set/"):
            folder.open()
