"""Box coders against the formulas of the libraries they are named after, written slowly."""

import keras
import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detection import boxes as box_math
from mkd_tf.detection.anchors import Anchors, grid_anchors
from mkd_tf.detection.box_coders import BOX_CODERS, grid_strides

# An image of 64 px with one anchor per cell at strides 8, 16 and 32.
ANCHORS = grid_anchors(64)
STRIDES = np.repeat([8.0, 16.0, 32.0], ANCHORS.level_counts)
CENTERS, SIZES = np.split(ANCHORS.centers_and_sizes().astype("float64"), 2, axis=1)


def deltas_by_torchvision(boxes, wx, wy, ww, wh):
    """`BoxCoder.encode_single` of torchvision 0.20, (dx, dy, dw, dh)."""
    y0, x0, y1, x1 = boxes.T
    height, width = SIZES.T
    ex, ey = x0 + 0.5 * (x1 - x0), y0 + 0.5 * (y1 - y0)
    return np.stack(
        [
            wx * (ex - CENTERS[:, 1]) / width,
            wy * (ey - CENTERS[:, 0]) / height,
            ww * np.log((x1 - x0) / width),
            wh * np.log((y1 - y0) / height),
        ],
        axis=1,
    )


def sides(boxes):
    """(left, top, right, bottom) in pixels from the anchors' centres."""
    (y0, x0, y1, x1), (y, x) = boxes.T, CENTERS.T
    return np.stack([x - x0, y - y0, x1 - x, y1 - y], axis=1)


def distributions(distances, bins):
    """Logits whose softmax has the distance as its mean: `bbox2dist` and the two bins of GFL's loss."""
    low = np.minimum(np.floor(distances), bins - 2)
    high = distances - low
    shares = np.full((*distances.shape, bins), 1e-12)
    np.put_along_axis(shares, low[..., None].astype(int), 1 - high[..., None] + 1e-12, -1)
    np.put_along_axis(shares, low[..., None].astype(int) + 1, high[..., None] + 1e-12, -1)
    return np.log(shares).reshape(len(distances), -1)


ENCODERS = {
    "ssd": lambda b: deltas_by_torchvision(b, 10, 10, 5, 5)[:, [1, 0, 3, 2]],
    "efficientdet": lambda b: deltas_by_torchvision(b, 1, 1, 1, 1)[:, [1, 0, 3, 2]],
    "keras_hub": lambda b: deltas_by_torchvision(b, 1, 1, 1, 1),
    "keras_hub(variance=(0.1, 0.1, 0.2, 0.2))": lambda b: deltas_by_torchvision(b, 10, 10, 5, 5),
    "torchvision": lambda b: deltas_by_torchvision(b, 10, 10, 5, 5),
    "torchvision(weights=(1, 1, 1, 1))": lambda b: deltas_by_torchvision(b, 1, 1, 1, 1),
    "yolo": lambda b: sides(b) / STRIDES[:, None],
    "yolo(bins=16)": lambda b: distributions(sides(b) / STRIDES[:, None], 16),
    "fcos": lambda b: sides(b) / STRIDES[:, None],
    "fcos(activation='exp', unit='pixel')": lambda b: np.log(sides(b)),
    "fcos(activation='exp')": lambda b: np.log(sides(b) / STRIDES[:, None]),
}


def boxes_around_centers():
    """A box around each anchor's centre, from 2 px to 110 px long."""
    rng = np.random.default_rng(0)
    reach = rng.uniform(1, 6, (len(ANCHORS), 4)) * STRIDES[:, None] / 4
    y, x = CENTERS.T
    return np.stack([y - reach[:, 0], x - reach[:, 1], y + reach[:, 2], x + reach[:, 3]], axis=1)


def test_every_coder_has_a_reference():
    assert {spec.split("(")[0] for spec in ENCODERS} == set(BOX_CODERS)


@pytest.mark.parametrize("spec", ENCODERS)
def test_it_reads_what_the_library_writes(spec):
    boxes, coder = boxes_around_centers(), BOX_CODERS.build(spec)
    raw = ENCODERS[spec](boxes)[None].astype("float32")
    assert raw.shape[-1] == coder.columns
    np.testing.assert_allclose(coder.decode(raw, ANCHORS)[0], boxes, atol=2e-4)
    expected = box_math.encode(boxes.astype("float32"), ANCHORS.centers_and_sizes())
    np.testing.assert_allclose(coder.encodings(raw, coder.units(ANCHORS))[0], expected, atol=2e-4)
    assert coder.is_ours == (spec == "ssd")


def test_values_worked_by_hand():
    anchor = Anchors.from_boxes([[20, 10, 60, 30]], 64)  # 20 wide, 40 high, centre (y 40, x 20)
    log2 = np.log(2)
    for spec, raw in (
        ("torchvision", [1, 2, 5 * log2, 0]),  # x + 2, y + 8, twice as wide
        ("torchvision(weights=(1, 1, 1, 1))", [0.1, 0.2, log2, 0]),
        ("keras_hub", [0.1, 0.2, log2, 0]),
        ("efficientdet", [0.2, 0.1, 0, log2]),
        ("ssd", [2, 1, 0, 5 * log2]),
    ):
        found = BOX_CODERS.build(spec).decode(np.float32([[raw]]), anchor)
        np.testing.assert_allclose(found[0, 0], [28, 2, 68, 42], atol=1e-4, err_msg=spec)
    # The second cell of stride 8: centre (y 4, x 12).
    grid = grid_anchors(64, strides=(8,))
    for spec, raw in (
        ("yolo", [1, 0.25, 2, 3]),
        ("fcos", [1, 0.25, 2, 3]),
        ("fcos(unit='pixel')", [8, 2, 16, 24]),
        ("fcos(activation='exp', unit='pixel')", np.log([8, 2, 16, 24])),
        ("fcos(activation='exp')", np.log([1, 0.25, 2, 3])),
    ):
        raw = np.tile(np.float32(raw), (1, 64, 1))
        found = BOX_CODERS.build(spec).decode(raw, grid)
        np.testing.assert_allclose(found[0, 1], [2, 4, 28, 28], atol=1e-4, err_msg=spec)
    # 1 and 3 with a half each: a distance of 2 strides to every side.
    bins = np.tile(np.float32([-99, 0, -99, 0]), (1, 64, 4))
    found = BOX_CODERS.build("yolo(bins=4)").decode(bins, grid)
    np.testing.assert_allclose(found[0, 1], [-12, -4, 20, 28], atol=1e-4)


def test_the_unit_of_distances_is_that_of_each_anchor():
    coder = BOX_CODERS.build("yolo")
    np.testing.assert_allclose(coder.units(ANCHORS), [[0.25, 0.25]])  # anchors of 4 strides: one row says all
    wide = Anchors.from_boxes(ANCHORS.boxes + np.float32([0, -8, 0, 8]), 64, ANCHORS.level_counts)
    assert coder.units(wide).shape == (len(wide), 2)
    raw = ENCODERS["yolo"](boxes_around_centers())[None].astype("float32")
    np.testing.assert_allclose(coder.decode(raw, wide), coder.decode(raw, ANCHORS), atol=2e-4)
    assert BOX_CODERS.build("torchvision").units(ANCHORS) is None


def test_strides_are_found_with_several_anchors_in_a_cell():
    square = grid_anchors(64, strides=(16, 64))
    tall = square.boxes + np.float32([-3.3, 1.7, 3.3, -1.7])
    both = np.stack([square.boxes, tall], axis=1).reshape(-1, 4)
    anchors = Anchors.from_boxes(both, 64, [32, 2])
    assert grid_strides(anchors).tolist() == [16.0] * 32 + [64.0] * 2
    with pytest.raises(MkdError, match="anchors: expected the centres of one square grid per level, got 34 "):
        grid_strides(Anchors.from_boxes(both, 64))


@pytest.mark.parametrize("spec", ENCODERS)
def test_encodings_and_gradients_stay_finite(spec):
    coder = BOX_CODERS.build(spec)
    rng = np.random.default_rng(0)
    raw = keras.ops.convert_to_tensor(rng.normal(size=(1, len(ANCHORS), coder.columns)).astype("float32"))
    import tensorflow as tf

    for factor in (0.0, 1.0, 1e3, 1e6):  # Also boxes whose edges have changed places.
        with tf.GradientTape() as tape:
            tape.watch(raw)
            found = coder.encodings(raw * factor, coder.units(ANCHORS))
        assert np.isfinite(found).all() and found.shape[-1] == 4
        assert np.isfinite(tape.gradient(found, raw)).all()
        assert np.isfinite(coder.decode(raw * factor, ANCHORS)).all()


def test_half_precision_is_read_in_single():
    raw = np.float16([[[3.3, 1.1, 0.2, 0.1]] * len(ANCHORS)])
    for spec in ("torchvision", "yolo"):
        coder = BOX_CODERS.build(spec)
        found = coder.encodings(raw, coder.units(ANCHORS))
        assert keras.backend.standardize_dtype(found.dtype) == "float32"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("yolov5", "box_coder: expected one of ssd, efficientdet, keras_hub, torchvision, yolo, fcos"),
        ("torchvision(weights=(1, 1))", "weights of box_coder: expected four numbers above 0"),
        ("keras_hub(variance=(0.1, 0.1, 0.2, 0))", "variance of box_coder: expected four numbers above 0"),
        ("yolo(bins=0)", "bins of box_coder: expected an integer of 1 or more"),
        ("fcos(unit='cell')", "unit of box_coder: expected one of stride, pixel"),
        ("fcos(activation='softplus')", "activation of box_coder: expected one of none, relu, exp"),
        ("yolo(reg_max=16)", "box_coder yolo.*takes: bins"),
    ],
)
def test_mistakes_are_told(spec, message):
    with pytest.raises(MkdError, match=message):
        BOX_CODERS.build(spec)
