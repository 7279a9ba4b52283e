"""Batches are a function of the step's number: what is drawn, in which order, with which targets."""

import dataclasses

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.config import AugmentationConfig, Config, DataConfig, OptimizerConfig
from mkd_tf.data.base import element
from mkd_tf.data.pipeline.batches import Stream, batches_of, training_batches
from mkd_tf.data.pipeline.image_store import ImageStore, pad_boxes
from mkd_tf.detection import targets as target_math
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.training.images import Images

STILL = AugmentationConfig(
    flips="none", scale_min=1.0, scale_max=1.0, aspect=0.0, brightness=0.0, contrast=0.0, saturation=0.0
)
COUNT, SIDE = 10, 64


@pytest.fixture(scope="module")
def store():
    """Ten plain images; image i has brightness 20 i, and i objects at most three."""
    split = []
    for i in range(COUNT):
        boxes = np.float32([[0.2, 0.1, 0.6, 0.5], [0.5, 0.5, 0.9, 0.9], [0.1, 0.6, 0.3, 0.9]])[: i % 4]
        image = np.full((48, 64, 3), 20 * i, "uint8")
        split.append(element(image, f"{i}", boxes, np.arange(len(boxes)), is_labelled=i < 8))
    return ImageStore([split], SIDE, "stretch", 1.0)


def batches(
    store, streams, first_step=0, steps=4, config=STILL, sizes=(("student", SIDE),), seed=0, boxes=None
):
    made = training_batches(
        store,
        store.truth if boxes is None else boxes,
        [Stream(np.array(stream[0]), *stream[1:]) for stream in streams],
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
    """Which images a batch shows, by their brightness."""
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
def test_an_epoch_shows_every_image_once(store, per_batch):
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
    found = batches(store, [(range(4), 2), (range(4, COUNT), 3, False)], steps=6)
    assert found[0]["targets"]["student"]["labelled"].tolist() == [1, 1, 0, 0, 0]
    first, second = ([i for batch in found for i in drawn(batch)[part]] for part in (slice(2), slice(2, 5)))
    for shown, pool in ((first, range(4)), (second, range(4, COUNT))):
        for start in range(0, 12, len(pool)):
            assert sorted(shown[start : start + len(pool)]) == list(pool)


def test_each_use_of_an_image_is_another_one(store):
    config = dataclasses.replace(STILL, scale_min=0.5, scale_max=1.5)
    found = batches(store, [((7,), 1)], steps=4, config=config)
    found += batches(store, [((7,), 1)], steps=1, config=config, seed=1)
    places = [tuple(batch["targets"]["student"]["boxes"][0].sum(axis=0)) for batch in found]
    assert len(set(places)) == 5, "epochs or seeds share their augmentation"
    # Images 3 and 7 have the same boxes.
    pair = batches(store, [((3, 7), 2)], steps=1, config=config)[0]["targets"]["student"]["boxes"]
    assert not np.array_equal(pair[0], pair[1]), "images share their augmentation"


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
    with pytest.raises(MkdError, match="stream: expected images to draw, got none"):
        batches(store, [stream])


MIXING = AugmentationConfig(mosaic=0.5, mixup=0.25, mixed_images="all")
MIXED = [(range(8), 8), (range(8), 8, False)]
GRIDS = {"student": grid_anchors(SIDE)}


def test_a_mixed_step_is_the_same_wherever_the_run_began(store):
    whole = batches(store, MIXED, 0, 4, MIXING)
    rest = batches(store, MIXED, 2, 4, MIXING)
    for a, b in zip(whole[2:], rest, strict=True):
        assert_equal(a, b)
    other = batches(store, MIXED, 0, 1, MIXING, seed=1)[0]
    assert not np.array_equal(whole[0]["images"], other["images"])
    # Two streams of the same images in the same places have draws of their own, and so have steps.
    mosaics = [b["images"][start : start + 4] for b in whole for start in (0, 8)]
    for i, a in enumerate(mosaics):
        assert not any(np.array_equal(a, b) for b in mosaics[:i])


def test_only_what_is_to_be_mixed_changes(store):
    plain = batches(store, MIXED, steps=2, config=AugmentationConfig())
    for which, mixed in (("all", (0, 8)), ("labelled", (0,)), ("unlabelled", (8,))):
        found = batches(store, MIXED, steps=2, config=dataclasses.replace(MIXING, mixed_images=which))
        for a, b in zip(plain, found, strict=True):
            same = (a["images"] == b["images"]).all(axis=(1, 2, 3))
            # Of eight, the first four are mosaics and the last two mixups.
            changed = {start + i for start in mixed for i in (0, 1, 2, 3, 6, 7)}
            assert {i for i in range(16) if not same[i]} == changed
            for name, values in a["targets"]["student"].items():
                np.testing.assert_array_equal(values[same], b["targets"]["student"][name][same])


def test_without_labels_to_mix_nothing_changes(store):
    labelled = [(range(8), 8)]
    config = dataclasses.replace(MIXING, mixed_images="unlabelled")
    for a, b in zip(
        batches(store, labelled, config=config),
        batches(store, labelled, config=AugmentationConfig()),
        strict=True,
    ):
        assert_equal(a, b)


def test_a_mixture_is_known_where_all_of_it_is(store):
    config = dataclasses.replace(STILL, mosaic=1.0, mixed_images="all")
    streams = [((0, 1, 2, 3, 4, 5, 6, 8), 8, False)]  # Image 8 has no labels.
    order = drawn(batches(store, streams, steps=1)[0])
    found = batches(store, streams, steps=1, config=config)[0]["targets"]["student"]
    expected = [float(8 not in [order[(i + k) % 8] for k in range(4)]) for i in range(8)]
    assert found["known"].tolist() == expected
    assert expected.count(0.0) == 4


def test_mixtures_keep_a_teachers_weights(store):
    rows = [(np.float32([[0.0, 0.0, 1.0, 1.0]]), np.int32([2]), np.float32([0.4]))] * COUNT
    boxes = pad_boxes(rows, np.ones(COUNT, bool))
    config = dataclasses.replace(STILL, mosaic=0.5, mixup=0.5)
    found = batches(store, [(range(8), 8, False)], boxes=boxes, config=config, steps=1)[0]["targets"][
        "student"
    ]
    weights = [set(np.unique(row[row > 0]).tolist()) for row in found["weights"]]
    assert set().union(*weights[:4]) == {np.float32(0.4)}
    for row in weights[4:]:
        # Both objects fill the image: its locations go to the first of them, which weighs lambda.
        assert row
        assert max(row) < 0.4


@pytest.mark.parametrize("labelled", [0, 6])
def test_the_student_alone_sees_the_same_mixtures(store, labelled):
    """All images labelled: both see the same batches. A few: each is mixed within its own labels."""
    known = np.arange(8)
    chosen = known[: labelled or None]
    config = Config(
        data=DataConfig(labelled=labelled, unlabelled_share=0.5),
        augmentation=MIXING,
        optimizer=OptimizerConfig(batch_size=8),
    )
    images = Images(store, known, chosen, np.setdiff1d(known, chosen), SIDE, 3, config)
    both = [
        list(images.batches(role, store.truth, GRIDS, 0, 3).as_numpy_iterator())
        for role in ("student", "student_alone")
    ]
    unmixed = dataclasses.replace(config, augmentation=AugmentationConfig())
    plain = Images(store, known, chosen, images.unlabelled, SIDE, 3, unmixed)
    for role, found in zip(("student", "student_alone"), both, strict=True):
        (expected,) = plain.batches(role, store.truth, GRIDS, 0, 1).as_numpy_iterator()
        same = (found[0]["images"] == expected["images"]).all(axis=(1, 2, 3))
        # Half are mosaics, a quarter is left, a quarter are mixups: of each stream.
        parts = [8] if role == "student_alone" or not labelled else [4, 4]
        assert same.tolist() == [n // 2 <= i < n - n // 4 for n in parts for i in range(n)]
    if not labelled:
        for a, b in zip(*both, strict=True):
            assert_equal(a, b)


def test_a_run_mixes_what_it_calls_unlabelled(store):
    """Images whose labels are kept from the student count as unlabelled; the labelled ones stay."""
    known = np.arange(8)
    config = Config(
        data=DataConfig(labelled=4, unlabelled_share=0.5), optimizer=OptimizerConfig(batch_size=8)
    )
    batch = {}
    for mosaic in (0.0, 1.0):
        changed = dataclasses.replace(config, augmentation=dataclasses.replace(STILL, mosaic=mosaic))
        images = Images(store, known, known[:4], known[4:], SIDE, 3, changed)
        (batch[mosaic],) = images.batches("student", store.truth, GRIDS, 0, 1).as_numpy_iterator()
    same = (batch[0.0]["images"] == batch[1.0]["images"]).all(axis=(1, 2, 3))
    assert same.tolist() == [True] * 4 + [False] * 4


def test_mixing_only_what_is_not_there_is_told():
    split = [element(np.zeros((8, 8, 3), "uint8"), "a", np.zeros((0, 4)), np.zeros(0))]
    with pytest.raises(MkdError, match="mixed_images: expected images to mix, got unlabelled"):
        batches_of(split, grid_anchors(SIDE), 3, steps=1, augmentation_config=AugmentationConfig(mixup=0.5))


def test_a_crowd_is_no_background(store):
    """One in the right half of image 3, which has an object in the left."""
    box = np.float32([[0.2, 0.1, 0.6, 0.5], [0.0, 0.5, 1.0, 1.0]])
    rows = [(box[:1], np.int32([1]), np.float32([1]))] * COUNT
    without = pad_boxes(rows, np.ones(COUNT))
    rows[3] = box, np.int32([1, 0]), np.float32([1, -1])
    plain, found = (
        batches(store, [(range(8), 8)], steps=1, boxes=b)[0]
        for b in (without, pad_boxes(rows, np.ones(COUNT)))
    )
    np.testing.assert_array_equal(found["images"], plain["images"])
    targets = dict(found["targets"]["student"])
    ignored = targets.pop("ignored")
    for name, values in plain["targets"]["student"].items():
        np.testing.assert_array_equal(targets.pop(name), values)
    assert not targets, "and nothing else"
    for i, which in enumerate(drawn(found)):
        fine = ignored[i, :64].reshape(8, 8)
        # Anchors of 32 px with centres 28 and 36 px from the left: 12/32 and 20/32 lie inside.
        assert fine.tolist() == [[float(which == 3 and x >= 4) for x in range(8)]] * 8
    mixed = batches(store, MIXED, 0, 1, MIXING, boxes=pad_boxes(rows, np.ones(COUNT)))[0]
    assert mixed["targets"]["student"]["ignored"].shape == (16, len(GRIDS["student"]))
