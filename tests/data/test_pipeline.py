"""Batches are a function of the step's number: what is drawn, in which order, with which targets."""

import dataclasses

import numpy as np
import pytest

from mkd_tf import targets as target_math
from mkd_tf.anchors import grid_anchors
from mkd_tf.checks import MkdError
from mkd_tf.config import AugmentationConfig
from mkd_tf.data.base import element
from mkd_tf.data.pipeline import Stream, training_batches
from mkd_tf.data.store import PictureStore, pad_boxes

STILL = AugmentationConfig(
    flips="none", scale_min=1.0, scale_max=1.0, aspect=0.0, brightness=0.0, contrast=0.0, saturation=0.0
)
COUNT, SIDE = 10, 64


@pytest.fixture(scope="module")
def store():
    """Ten plain pictures; picture i has brightness 20 i, and i objects at most three."""
    split = []
    for i in range(COUNT):
        boxes = np.float32([[0.2, 0.1, 0.6, 0.5], [0.5, 0.5, 0.9, 0.9], [0.1, 0.6, 0.3, 0.9]])[: i % 4]
        image = np.full((48, 64, 3), 20 * i, "uint8")
        split.append(element(image, f"{i}", boxes, np.arange(len(boxes)), is_labelled=i < 8))
    return PictureStore([split], SIDE, "stretch", 1.0)


def batches(
    store, streams, first_step=0, steps=4, config=STILL, sizes=(("student", SIDE),), seed=0, boxes=None
):
    made = training_batches(
        store,
        store.truth if boxes is None else boxes,
        [Stream(np.array(indices), per_batch) for indices, per_batch in streams],
        {role: grid_anchors(size) for role, size in sizes},
        3,
        config,
        seed=seed,
        image_size=SIDE,
        first_step=first_step,
        steps=steps,
    )
    return list(made.as_numpy_iterator())


def drawn(found):
    """Which pictures a batch shows, by their brightness."""
    return np.round(found["images"][:, SIDE // 2, SIDE // 2, 0] / 20).astype(int).tolist()


def assert_equal(a, b):
    np.testing.assert_array_equal(a["images"], b["images"])
    for role in a["targets"]:
        for name in a["targets"][role]:
            np.testing.assert_array_equal(a["targets"][role][name], b["targets"][role][name])


def test_a_step_is_the_same_wherever_the_run_began(store):
    streams, config = [(range(8), 3), ((8, 9), 2)], AugmentationConfig()
    whole = batches(store, streams, 0, 7, config)
    rest = batches(store, streams, 5, 7, config)
    assert (len(whole), len(rest)) == (7, 2)
    for a, b in zip(whole[5:], rest, strict=True):
        assert_equal(a, b)
    assert not np.array_equal(whole[5]["images"], whole[6]["images"])
    assert batches(store, streams, 7, 7) == []


@pytest.mark.parametrize("per_batch", [1, 3, 10])
def test_an_epoch_shows_every_picture_once(store, per_batch):
    epochs = 3
    found = batches(store, [(range(COUNT), per_batch)], steps=epochs * COUNT // per_batch)
    order = [i for batch in found for i in drawn(batch)]
    orders = [tuple(order[e * COUNT : (e + 1) * COUNT]) for e in range(epochs)]
    for shown in orders:
        assert sorted(shown) == list(range(COUNT))
    assert len(set(orders)) == epochs, "epochs repeat their order"


def test_a_stream_smaller_than_its_share_goes_round(store):
    found = batches(store, [((1, 4, 6), 8)], steps=3)
    order = [i for batch in found for i in drawn(batch)]
    assert len(order) == 24
    for epoch in range(8):
        assert sorted(order[3 * epoch : 3 * epoch + 3]) == [1, 4, 6]
    assert len(batches(store, [((5,), 4)], steps=1)[0]["images"]) == 4


def test_streams_keep_their_shares_and_epochs(store):
    found = batches(store, [(range(4), 2), (range(4, COUNT), 3)], steps=6)
    first = [i for batch in found for i in drawn(batch)[:2]]
    second = [i for batch in found for i in drawn(batch)[2:]]
    for shown, pool in ((first, range(4)), (second, range(4, COUNT))):
        for start in range(0, 12, len(pool)):
            assert sorted(shown[start : start + len(pool)]) == list(pool)


def test_each_use_of_a_picture_is_another_one(store):
    config = dataclasses.replace(STILL, scale_min=0.5, scale_max=1.5)
    found = batches(store, [((7,), 1)], steps=4, config=config)
    found += batches(store, [((7,), 1)], steps=1, config=config, seed=1)
    places = [tuple(batch["targets"]["student"]["boxes"][0].sum(axis=0)) for batch in found]
    assert len(set(places)) == 5, "epochs or seeds share their augmentation"
    # Pictures 3 and 7 have the same boxes.
    pair = batches(store, [((3, 7), 2)], steps=1, config=config)[0]["targets"]["student"]["boxes"]
    assert not np.array_equal(pair[0], pair[1]), "pictures share their augmentation"


def test_targets_are_those_of_the_assignment(store):
    found = batches(store, [(range(COUNT), 5)], steps=2)
    for batch in found:
        which = np.array(drawn(batch))
        expected = target_math.assign(
            grid_anchors(SIDE),
            store.truth.boxes[which] * SIDE,
            store.truth.labels[which],
            store.truth.weights[which],
            3,
        )
        for name, values in expected.items():
            np.testing.assert_allclose(batch["targets"]["student"][name], values, rtol=1e-5, err_msg=name)
        np.testing.assert_array_equal(batch["targets"]["student"]["known"], which < 8)
        assert batch["images"].dtype == np.float32
        assert batch["images"].shape == (5, SIDE, SIDE, 3)


def test_each_role_gets_targets_at_its_own_size(store):
    found = batches(store, [(range(1, 8), 4)], steps=1, sizes=(("student", 32), ("guide", 64)))[0]["targets"]
    small, large = found["student"], found["guide"]
    for targets, size in ((small, 32), (large, 64)):
        assert targets["boxes"].shape == (4, len(grid_anchors(size)), 4)
    for i in range(4):
        boxes = [
            {tuple(np.round(b / size, 3)) for b, w in zip(t["boxes"][i], t["weights"][i], strict=True) if w}
            for t, size in ((small, 32), (large, 64))
        ]
        assert boxes[0] == boxes[1], "an object is another one at another size"


def test_a_teachers_boxes_carry_their_weights(store):
    rows = [(np.float32([[0.2, 0.2, 0.7, 0.7]]), np.int32([2]), np.float32([0.4]))] * COUNT
    boxes = pad_boxes(rows, np.arange(COUNT) != 9)
    found = batches(store, [(range(8, COUNT), 2)], steps=1, boxes=boxes)[0]
    targets = found["targets"]["student"]
    assert set(np.unique(targets["weights"])) == {np.float32(0), np.float32(0.4)}
    assert (targets["labels"][targets["weights"] > 0] == 2).all()
    assert targets["known"].tolist() == [float(i != 9) for i in drawn(found)]


@pytest.mark.parametrize("stream", [((), 2), ((1, 2), 0)])
def test_a_stream_of_nothing_is_told(store, stream):
    with pytest.raises(MkdError, match="stream: expected pictures to draw, got none"):
        batches(store, [stream])
