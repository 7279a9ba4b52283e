"""`voc/2007`, `voc/2012` and `coco/2017` by way of tensorflow-datasets.

| here | voc/2007 | voc/2012 | coco/2017 |
|---|---|---|---|
| train | train | train, less validation | train, less validation |
| validation | validation | taken out of train | taken out of train |
| test | test | validation: test has no public labels | validation |
| unlabelled, if asked for | - | test | test |

A prepared set of any version and file format is read in place, with random access; only
the positions of its records are kept in memory.
"""

import dataclasses
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mkd_tf.checks import check_one_of, fail
from mkd_tf.data.base import SPLITS, WHOLE, AnnotatedSplit, Dataset, Element, annotation
from mkd_tf.data.image_files import measure_image, read_image
from mkd_tf.data.sources.coco_names import COCO_NAMES
from mkd_tf.data.sources.notices import Notice
from mkd_tf.data.sources.tfds_preparing import find_prepared, prepare, quiet_tfds
from mkd_tf.data.sources.tfrecords import TfRecords


@dataclasses.dataclass(frozen=True)
class _Source:
    """One set: its builder in tfds, its splits by our names, and a spec that reads its files."""

    module: str
    builder: str
    config: str
    splits: dict[str, str]
    read_with: str


_PUBLISHED = {"train": "train", "validation": "validation", "test": "test"}
_CARVED = {"train": "train", "test": "validation", "unlabelled": "test"}
_VOC, _COCO = "tensorflow_datasets.object_detection.voc", "tensorflow_datasets.object_detection.coco"
_COCO_FILES = "images='train2017', annotations='annotations/instances_train2017.json', ..."
_SOURCES = {
    "voc/2007": _Source(_VOC, "Voc", "2007", _PUBLISHED, "voc_folder(path='VOCdevkit/VOC2007')"),
    "voc/2012": _Source(_VOC, "Voc", "2012", _CARVED, "voc_folder(path='VOCdevkit/VOC2012')"),
    "coco/2017": _Source(_COCO, "Coco", "2017", _CARVED, f"coco_json({_COCO_FILES})"),
}


class TfdsDetection(Dataset):
    """A public set, downloaded and prepared by tfds where it is not prepared yet.

    Near-copies are not searched: the splits are those of published results.

    Args:
      name: one of the table above.
      unlabelled: whether the images without public labels are the split `unlabelled`.
      validation_share: the share of train that becomes validation, for the sets without
        a validation split of their own. Records are chosen by number, without reading images.
      split_seed: seed of that choice.
      data_dir: where prepared sets are kept; by default tfds's own folder
        (`TFDS_DATA_DIR`, else `~/tensorflow_datasets`).
      on_bad_example: accepted as by every data set. Boxes without area (COCO has two)
        are left out, and their images are unknown outside of their other objects.

    Raises:
      MkdError: for an illegal argument, or a set that is not prepared and cannot be
        downloaded.
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
        if source.module == _COCO:
            message = "images with a box without area are unknown outside of their other objects"
            self.notices = (Notice("unknown", name, 1, message),)
        self.class_names = COCO_NAMES if names == tuple(map(str, range(len(COCO_NAMES)))) else names
        self._splits: dict[str, TfdsImages] = {}
        for split, theirs in source.splits.items():
            if split != "unlabelled" or unlabelled:
                records = records_of(builder, theirs)
                self._splits[split] = TfdsImages(builder, records, range(len(records)), split)
        if "validation" not in self._splits:
            self._take_validation(validation_share, split_seed)
        self.split_names = tuple(split for split in SPLITS if split in self._splits)

    def _take_validation(self, share: float, seed: int) -> None:
        train = self._splits["train"]
        count = max(1, round(len(train) * share))
        chosen = np.random.default_rng(seed).permutation(len(train))[:count]
        rest = np.setdiff1d(np.arange(len(train)), chosen)
        for split, indices in (("train", rest), ("validation", np.sort(chosen))):
            self._splits[split] = TfdsImages(train.builder, train.records, indices.tolist(), split)


class TfdsImages(AnnotatedSplit):
    """A split: serialised records, chosen by `indices`, read one by one."""

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

    def _name(self, record: dict[str, Any], index: int) -> str:
        """Returns the name of a record's image, or of its place where its set has no names."""
        name = record.get("image/filename", record.get("image/id", f"{self._split}-{self._indices[index]}"))
        return name.decode() if isinstance(name, bytes) else str(name)

    def image(self, index: int) -> np.ndarray:
        record = self._record(index)
        return read_image(self._name(record, index), record["image"])

    def annotation(self, index: int) -> Element:
        record = self._record(index)
        name, objects = self._name(record, index), record["objects"]
        scan = measure_image(name, record["image"])
        bbox = np.asarray(objects["bbox"], "float32").reshape(-1, 4)
        label = np.asarray(objects["label"], "int32").reshape(-1)
        is_inside = (bbox >= 0).all(1) & (bbox <= 1).all(1)  # and no NaN
        has_area = is_inside & (bbox[:, 2] > bbox[:, 0]) & (bbox[:, 3] > bbox[:, 1])
        keep = has_area & (label >= 0) & (self._split != "unlabelled")
        flags = [key for key in ("is_difficult", "is_crowd") if key in objects]
        details: dict[str, Any] = {key: np.asarray(objects[key])[keep] for key in flags}
        if "area" in objects:
            area = np.asarray(objects["area"], "float32")[keep]
            details["area"] = np.where(area > 0, area, np.float32(np.nan))
        size = (scan.height, scan.width)
        details["is_labelled"] = self._split != "unlabelled"
        if details["is_labelled"]:
            # An object without a box may be anywhere; -1 is a class that is not known.
            details["unknown"] = bbox[has_area & (label < 0)] if has_area.all() else [WHOLE]
        return annotation(size, Path(name).stem, bbox[keep], label[keep], **details)


def _prepared(name: str, source: _Source, data_dir: str | os.PathLike[str] | None) -> Any:
    """Returns a builder of the prepared set, which is prepared first if it is missing."""
    import tensorflow_datasets as tfds

    quiet_tfds()
    home = None if data_dir is None else os.path.expanduser(data_dir)
    builder = getattr(importlib.import_module(source.module), source.builder)
    made = builder(config=source.config, data_dir=home)
    folder = Path(made.data_dir).parent
    found = find_prepared(folder)
    if found is None:
        addresses = [u for u in made.url_infos or () if source.config in u and "panoptic" not in u]
        way_out = (
            f"Prepare it where there is a network and copy {name} into the --data_dir of this run, "
            f"or use --dataset with {source.read_with} on the unpacked files."
        )
        prepare(made, name, addresses, way_out)
        found = Path(made.data_dir)
    return tfds.builder_from_directory(found)


def records_of(builder: Any, split: str) -> Sequence[bytes]:
    """Returns a split's serialised records, for any file format that tfds writes."""
    import tensorflow_datasets as tfds

    info = builder.info.splits[split]
    if builder.info.file_format is tfds.core.FileFormat.TFRECORD:
        return TfRecords([Path(path) for path in info.filepaths])
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    return builder.as_data_source(split=split, deserialize_method=raw)
