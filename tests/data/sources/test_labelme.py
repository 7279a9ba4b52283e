"""labelme: what its shapes mean, and which images they are of."""

import json

import pytest

from mkd_tf.checks import MkdError
from tests.data.sources.folder_maker import Folder, elements, pixels


@pytest.fixture
def folder(tmp_path) -> Folder:
    made = Folder(tmp_path / "set")
    for name in "abcdef":
        made.image(f"images/{name}.jpg")
    return made


class TestLabelme:
    def write(self, folder: Folder, *shapes: dict, name: str = "a", **more) -> None:
        content = {"shapes": list(shapes), "imagePath": f"{name}.jpg", "imageWidth": 64, "imageHeight": 48}
        folder.text(f"images/{name}.json", json.dumps(content | more))

    @pytest.fixture(autouse=True)
    def others(self, folder):
        for name in "bcdef":
            self.write(
                folder, {"label": "cat", "points": [[1, 2], [30, 40]], "shape_type": "rectangle"}, name=name
            )

    @pytest.mark.parametrize(
        ("kind", "points", "box"),
        [
            ("rectangle", [[32, 36], [16, 12]], [16, 12, 32, 36]),
            ("polygon", [[1, 2], [3, 40], [20, 10]], [1, 2, 20, 40]),
            ("circle", [[20, 20], [23, 24]], [15, 15, 25, 25]),
            ("linestrip", [[1, 2], [30, 40]], [1, 2, 30, 40]),
            ("mask", [[10, 12], [19, 21]], [10, 12, 20, 22]),
            (None, [[1, 2], [3, 40], [20, 10]], [1, 2, 20, 40]),
        ],
    )
    def test_shapes(self, folder, kind, points, box):
        self.write(folder, {"label": "cat", "points": points, "shape_type": kind})
        assert pixels(elements(folder.open())["a"]) == [box]

    def test_groups_are_one_object(self, folder):
        parts = [([[1, 2], [10, 12]], 1), ([[20, 2], [30, 12]], 1), ([[40, 2], [50, 12]], None)]
        shapes = [{"label": "cat", "points": p, "group_id": g, "shape_type": "rectangle"} for p, g in parts]
        self.write(folder, *shapes)
        data = folder.open()
        assert pixels(elements(data)["a"]) == [[1, 2, 30, 12], [40, 2, 50, 12]]
        assert "shapes of one label and group_id are one object" in str(data.notices[0])

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            (
                {"label": "cat", "points": [[1, 2]], "shape_type": "point"},
                "a shape of type 'point' has no box",
            ),
            ({"label": "cat", "points": [[1, None], [3, 4]]}, "a coordinate of its polygon is None"),
            ({"label": 3.5, "points": [[1, 2], [30, 40]]}, "its class name is 3.5, not text"),
        ],
    )
    def test_shapes_without_a_box(self, folder, shape, words):
        self.write(folder, shape)
        with pytest.raises(MkdError) as caught:
            folder.open()
        assert f"images/a.json shape 0: {words}" in str(caught.value)

    def test_images_without_a_file_are_unlabelled_and_empty_ones_negatives(self, folder):
        self.write(folder)
        folder.image("images/g.jpg")
        found = elements(folder.open())
        assert found["a"]["is_labelled"] and not len(found["a"]["objects"]["label"])
        assert found["g"]["split"] == "unlabelled"

    def test_another_size_is_refused(self, folder):
        self.write(folder, imageWidth=640)
        with pytest.raises(MkdError, match="the file says 640x48, the image has 64x48"):
            folder.open()

    def test_nothing_outside_the_folder_is_opened(self, folder):
        folder.image("../secret.jpg")
        self.write(folder, imagePath="../../secret.jpg")
        (folder.root / "images/a.jpg").unlink()
        with pytest.raises(MkdError, match=r"images/a.json: .*no image secret.jpg in set/"):
            folder.open()
