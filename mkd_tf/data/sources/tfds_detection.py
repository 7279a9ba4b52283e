"""`voc/2007`, `voc/2012` and `coco/2017` by way of tensorflow-datasets.

| here | voc/2007 | voc/2012 | coco/2017 |
|---|---|---|---|
| train | train | train, less validation | train, less validation |
| validation | validation | taken out of train | taken out of train |
| test | test | validation: test has no public labels | validation |
| unlabelled, if asked for | - | test | test |

A prepared set of any version and file format is read where it lies, at random, with
nothing kept in memory but places of records.
"""

import dataclasses
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mkd_tf.checks import check_one_of, fail
from mkd_tf.data.base import AnnotatedSplit, Dataset, Element, annotation
from mkd_tf.data.image_files import measure_image, read_image
from mkd_tf.data.sources.coco_names import COCO_NAMES
from mkd_tf.data.sources.tfds_preparing import find_prepared, prepare
from mkd_tf.data.sources.tfrecords import TfRecords


@dataclasses.dataclass(frozen=True)
class _Source:
    """One set: its builder in tfds, its splits by our names, and what else would read its files."""

    module: str
    builder: str
    config: str
    splits: dict[str, str]
    read_with: str


_CARVED = {"train": "train", "test": "validation", "unlabelled": "test"}
_VOC, _COCO = "tensorflow_datasets.object_detection.voc", "tensorflow_datasets.object_detection.coco"
_COCO_FILES = "images='train2017', annotations='annotations/instances_train2017.json', ..."
_SOURCES = {
    "voc/2007": _Source(
        _VOC,
        "Voc",
        "2007",
        {"train": "train", "validation": "validation", "test": "test"},
        "voc_folder(path='VOCdevkit/VOC2007')",
    ),
    "voc/2012": _Source(_VOC, "Voc", "2012", _CARVED, "voc_folder(path='VOCdevkit/VOC2012')"),
    "coco/2017": _Source(_COCO, "Coco", "2017", _CARVED, f"coco_json({_COCO_FILES})"),
}


class TfdsDetection(Dataset):
    """A public set, downloaded and prepared by tfds where it is not prepared yet.

    Near-copies are not looked for: the splits are those that others report.

    Args:
      name: one of the table above.
      unlabelled: whether the images without public labels are the split `unlabelled`.
      validation_share: how much of train becomes validation where it has to be taken
        out of it; one in that many records, so that no image has to be read for it.
      split_seed: seed of that choice.
      data_dir: where prepared sets are kept; by default tfds's own folder
        (`TFDS_DATA_DIR`, else `~/tensorflow_datasets`).
      on_bad_example: accepted as by every data set. Boxes without area, of which COCO
        has two, are left out.

    Raises:
      MkdError: for an illegal argument, or a set that is neither prepared nor to be had.
    """

    def __init__(
        self,
        name: str,
        *,
        unlabelled: bool = False,
        validation_share: float = 0.05,
        split_seed: int = 0,
        data_dir: str | os.PathLike[str] | None = None,
        on_bad_example: str = "fail",
    ):
        check_one_of("on_bad_example", on_bad_example, ("fail", "skip"))
        check_one_of("data set", name, tuple(_SOURCES))
        if not 0 < validation_share < 1:
            do = "Correct validation_share."
            fail("validation_share", expected="a share between 0 and 1", got=repr(validation_share), do=do)
        source = _SOURCES[name]
        if unlabelled and "unlabelled" not in source.splits:
            do = "Leave unlabelled out."
            fail(f"{name}: unlabelled", expected="a set with unlabelled images", got="none here", do=do)
        self.name = name
        builder = _prepared(name, source, data_dir)
        names = tuple(builder.info.features["objects"].feature["label"].names)
        self.class_names = COCO_NAMES if names == tuple(map(str, range(len(COCO_NAMES)))) else names
        self._splits: dict[str, _Images] = {}
        for split, theirs in source.splits.items():
            if split != "unlabelled" or unlabelled:
                records = _records(builder, theirs)
                self._splits[split] = _Images(builder, records, range(len(records)), split)
        if "validation" not in self._splits:
            self._take_validation(validation_share, split_seed)
        order = ("train", "validation", "test", "unlabelled")
        self.split_names = tuple(split for split in order if split in self._splits)

    def _take_validation(self, share: float, seed: int) -> None:
        train = self._splits["train"]
        count = max(1, round(len(train) * share))
        chosen = np.random.default_rng(seed).permutation(len(train))[:count]
        rest = np.setdiff1d(np.arange(len(train)), chosen)
        for split, indices in (("train", rest), ("validation", np.sort(chosen))):
            self._splits[split] = _Images(train.builder, train.records, indices.tolist(), split)

    def _split(self, name: str) -> Sequence[Element]:
        return self._splits[name]


class _Images(AnnotatedSplit):
    """A split: some of a sequence of serialised records, read one by one."""

    def __init__(self, builder: Any, records: Sequence[bytes], indices: Sequence[int], split: str):
        import tensorflow_datasets as tfds

        self.builder, self.records = builder, records
        self._indices, self._split = indices, split
        # tfds would decode with OpenCV where it is installed, to slightly other pixels.
        self._decoders = {"image": tfds.decode.SkipDecoding()}

    def __len__(self) -> int:
        return len(self._indices)

    def _record(self, index: int) -> dict[str, Any]:
        serialised = self.records[self._indices[index]]
        return self.builder.info.features.deserialize_example_np(serialised, decoders=self._decoders)

    def image(self, index: int) -> np.ndarray:
        return _decoded(self._record(index))

    def annotation(self, index: int) -> Element:
        return self._annotation(self._record(index))

    def whole(self, index: int) -> Element:
        record = self._record(index)
        return {"image": _decoded(record)} | self._annotation(record)

    def _annotation(self, record: dict[str, Any]) -> Element:
        name, objects = _name(record), record["objects"]
        scan = measure_image(name, record["image"])
        bbox = np.asarray(objects["bbox"], "float32").reshape(-1, 4)
        keep = (bbox[:, 2] > bbox[:, 0]) & (bbox[:, 3] > bbox[:, 1]) & (self._split != "unlabelled")
        details = {
            key: np.asarray(objects[key])[keep] for key in ("is_difficult", "is_crowd") if key in objects
        }
        if "area" in objects:
            area = np.asarray(objects["area"], "float32")[keep]
            details["area"] = np.where(area > 0, area, np.float32(np.nan))
        return annotation(
            (scan.height, scan.width),
            Path(name).stem,
            bbox[keep],
            np.asarray(objects["label"])[keep],
            is_labelled=self._split != "unlabelled",
            **details,
        )


def _name(record: dict[str, Any]) -> str:
    name = record["image/filename"]
    return name.decode() if isinstance(name, bytes) else str(name)


def _decoded(record: dict[str, Any]) -> np.ndarray:
    return read_image(_name(record), record["image"])


def _prepared(name: str, source: _Source, data_dir: str | os.PathLike[str] | None) -> Any:
    """Returns a builder of the set as it lies on disk, preparing it first where it is missing."""
    import tensorflow_datasets as tfds

    home = None if data_dir is None else os.path.expanduser(data_dir)
    made = getattr(importlib.import_module(source.module), source.builder)(
        config=source.config, data_dir=home
    )
    folder = Path(made.data_dir).parent
    found = find_prepared(folder)
    if found is None:
        known = made.url_infos or {}
        addresses = [u for u in known if source.config in u and "panoptic" not in u]
        way_out = (
            f"Prepare it where there is a network and copy {name} into the --data_dir of this run, "
            f"or use --dataset with {source.read_with} on the unpacked files."
        )
        prepare(made, name, addresses, way_out)
        found = Path(made.data_dir)
    return tfds.builder_from_directory(found)


def _records(builder: Any, split: str) -> Sequence[bytes]:
    """Returns a split's serialised records, of any format that tfds writes."""
    import tensorflow_datasets as tfds

    info = builder.info.splits[split]
    if builder.info.file_format is tfds.core.FileFormat.TFRECORD:
        return TfRecords([Path(path) for path in info.filepaths])
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    return builder.as_data_source(split=split, deserialize_method=raw)
