"""200 images written in every format come back from a plain path: the same boxes, classes and splits."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mkd_tf.config import DataConfig
from mkd_tf.data import open_dataset
from mkd_tf.data.base import annotation_of
from mkd_tf.data.sources.voc_folder import VocFolder
from tests.data.sources.format_writers import NAMES, WRITERS, Sample
from tests.data.sources.voc_maker import noise_image

COUNT = 200
TOLERANCE_PX = 0.5


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[Sample]:
    """200 images of blood cells where they are at hand, else drawn ones."""
    shared = Path(__file__).resolve().parents[4] / "shared/data/bccd_320"
    return _blood_cells(shared) if shared.is_dir() else _drawn(tmp_path_factory.mktemp("images"))


def _blood_cells(folder: Path) -> list[Sample]:
    data = VocFolder(folder)
    found = []
    for split in NAMES:
        images = data.split(split)
        for index in range(len(images)):
            example = images.example(index)
            objects = tuple((item.name, item.box) for item in example.objects)
            found.append(Sample(example.path, example.scan.width, example.scan.height, split, objects))
    return [found[i * len(found) // COUNT] for i in range(COUNT)]


def _drawn(folder: Path) -> list[Sample]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(COUNT):
        width, height = (int(side) for side in rng.integers(40, 90, 2))
        path = folder / f"a{number:03d}.jpg"
        noise_image(number, width, height).save(path)
        low = rng.uniform(0, 0.6, (5, 2)) * [width, height]
        high = low + rng.uniform(0.1, 0.4, (5, 2)) * [width, height]
        objects = tuple(
            (("cell", "plate let", "Zelle é")[i % 3], (*low[i].tolist(), *high[i].tolist())) for i in range(5)
        )
        split = ("train", "train", "train", "validation", "test")[number % 5]
        found.append(Sample(path, width, height, split, objects[: number % 6]))
    return found


@pytest.mark.parametrize("format_name", WRITERS)
def test_round_trip(format_name: str, samples: Sequence[Sample], tmp_path, caplog):
    WRITERS[format_name](samples, tmp_path / "set")
    with caplog.at_level(logging.INFO):
        data = open_dataset(DataConfig(dataset=str(tmp_path / "set")))
    classes = {name for sample in samples for name, _ in sample.objects}
    assert data.class_names == tuple(sorted(classes))
    counts = {split: sum(sample.split == split for sample in samples) for split in NAMES}
    shown = " / ".join(f"{split} {count}" for split, count in counts.items())
    assert f"dataset: {format_name}, {len(classes)} classes, {shown}, from " in caplog.text
    assert data.split_names == tuple(counts)
    for split in NAMES:
        images = data.split(split)
        expected = {sample.image.stem: sample for sample in samples if sample.split == split}
        found = [annotation_of(images, index) for index in range(len(images))]
        assert sorted(Path(each["image/id"]).stem for each in found) == sorted(expected)
        for each in found:
            sample = expected[Path(each["image/id"]).stem]
            labels = [data.class_names[label] for label in each["objects"]["label"]]
            assert labels == [name for name, _ in sample.objects]
            pixels = each["objects"]["bbox"][:, [1, 0, 3, 2]] * ([sample.width, sample.height] * 2)
            boxes = np.array([box for _, box in sample.objects]).reshape(-1, 4)
            np.testing.assert_allclose(pixels, boxes, atol=TOLERANCE_PX)
            assert not len(each["unknown"])
