"""Drawing: what is drawn where, at any size, and what must not crash."""

import io

import numpy as np
import pytest
from PIL import Image

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.drawing import MIN_LONG_SIDE_PX, PALETTE, class_color, contact_sheet, draw, png_bytes

NAMES = ("cell", "plate")


def found(boxes, scores, labels):
    return Detections(
        np.array(boxes, "float32").reshape(-1, 4), np.array(scores, "float32"), np.array(labels, "int32")
    )


def painted(image, color):
    """Rows and columns that hold pixels of exactly this colour."""
    rows, columns = np.nonzero(np.all(image == color, axis=-1))
    return rows, columns


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((120, 160, 3), (480, 640, 3)),
        ((160, 120, 3), (640, 480, 3)),
        ((1500, 2000, 3), (1500, 2000, 3)),
        ((1, 900, 3), (1, 900, 3)),
        ((1, 1, 3), (640, 640, 3)),
        ((2000, 3, 3), (2000, 3, 3)),
    ],
)
def test_small_images_grow_and_any_shape_works(shape, expected):
    assert MIN_LONG_SIDE_PX == 640
    image = np.full(shape, 128, "uint8")
    drawn = draw(image, found([[0.2, 0.2, 0.8, 0.8]], [0.9], [0]), NAMES)
    assert drawn.shape == expected and drawn.dtype == np.uint8
    assert (image == 128).all()


def test_a_box_is_where_it_was_found():
    image = np.full((500, 1000, 3), 200, "uint8")
    drawn = draw(image, found([[0.4, 0.3, 0.8, 0.6]], [0.9], [1]), NAMES)
    rows, columns = painted(drawn, class_color(1))
    assert (rows.max(), columns.min(), columns.max()) == (400, 300, 600)
    # Its tag stands above; the inside stays free.
    assert 160 <= rows.min() < 190
    assert (drawn[240:380, 340:560] == 200).all()


def test_low_scores_are_left_out():
    image = np.full((640, 640, 3), 200, "uint8")
    drawn = draw(image, found([[0.4, 0.3, 0.8, 0.6]], [0.29], [0]), NAMES, score_threshold=0.3)
    np.testing.assert_array_equal(drawn, image)


def test_tags_stay_inside_and_apart():
    image = np.full((640, 640, 3), 200, "uint8")
    corner = draw(image, found([[0, 0.97, 0.03, 1]], [0.9], [0]), NAMES)
    _, columns = painted(corner, class_color(0))
    assert columns.min() < 600
    twice = draw(image, found([[0.4, 0.4, 0.6, 0.6]] * 2, [0.9, 0.8], [0, 1]), NAMES)
    areas = [len(painted(twice, class_color(label))[0]) for label in (0, 1)]
    assert min(areas) > 500


def test_odd_boxes_and_many_classes_do_not_crash():
    image = np.zeros((40, 60, 3), "uint8")
    boxes = [[np.nan, 0, 1, 1], [0.9, 0.9, 0.1, 0.1], [1, 1, 1, 1], [-3, -3, 9, 9]]
    names = [f"class {i}" for i in range(40)]
    draw(image, found(boxes, [0.9, 0.8, 0.7, 0.6], [0, 11, 25, 39]), names)


def test_colors_differ_between_neighbours():
    assert len({class_color(i) for i in range(len(PALETTE))}) == len(PALETTE)
    assert class_color(len(PALETTE)) == class_color(0)


def test_contact_sheet_worked_by_hand():
    red, wide = np.zeros((10, 10, 3), "uint8"), np.zeros((10, 20, 3), "uint8")
    red[..., 0], wide[..., 2] = 255, 255
    sheet = contact_sheet([red, wide, wide], 2, cell_px=100, gap_px=10)
    # Two columns of 100 px with gaps of 10; rows as high as their highest image: 100 and 50.
    assert sheet.shape == (180, 230, 3)
    assert sheet[60, 60].tolist() == [255, 0, 0] and sheet[60, 170].tolist() == [0, 0, 255]
    assert sheet[20, 170].tolist() == [255, 255, 255]
    assert sheet[145, 60].tolist() == [0, 0, 255] and sheet[145, 170].tolist() == [255, 255, 255]
    assert contact_sheet([red], 3, cell_px=100, gap_px=10).shape == (120, 120, 3)


def test_a_png_holds_the_image():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), "uint8")
    content = png_bytes(image)
    assert content.startswith(b"\x89PNG")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), image)
