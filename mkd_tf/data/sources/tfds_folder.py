"""`tfds`: any detection set that tensorflow-datasets has prepared, from its folder.

    name/1.0.0/dataset_info.json   name/1.0.0/features.json   name/1.0.0/name-train.array_record-...

Its features are those of `base`: an `image`, and `objects` with `bbox` and `label`. Splits have
its names; missing ones are taken out of train by record number, without a search for near-copies.
"""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from mkd_tf.checks import check_one_of, fail
from mkd_tf.data.base import SPLITS, Dataset
from mkd_tf.data.sources.notices import Notices
from mkd_tf.data.sources.split_names import split_of
from mkd_tf.data.sources.tfds_detection import TfdsImages, records_of
from mkd_tf.data.sources.tfds_preparing import find_prepared, quiet_tfds
from mkd_tf.data.sources.voc_splits import check_fractions
from mkd_tf.data.tree import Found, Tree
from mkd_tf.registry import Spec

_INFO, _FEATURES = "dataset_info.json", "features.json"
_LOOKED_AT = 200  # images of a test split that are searched for an object


class TfdsFolder(Dataset):
    """A prepared set in a folder.

    Args:
      path: the folder of a version, or that of a set, whose newest version is read.
      fractions: shares of train, validation and test, for those that are missing.
      split_seed: seed of the choice.
      data_dir: accepted as by every data set; the set is read where it is.
      on_bad_example: accepted as by every data set. Boxes without area are left out.

    Raises:
      MkdError: if the folder holds no prepared set, or one without objects.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fractions: Sequence[float] = (0.7, 0.15, 0.15),
        split_seed: int = 0,
        data_dir: str | os.PathLike[str] | None = None,
        on_bad_example: str = "fail",
    ):
        del data_dir
        check_one_of("on_bad_example", on_bad_example, ("fail", "skip"))
        shares = dict(zip(SPLITS, check_fractions(fractions), strict=False))
        folder = Path(path).expanduser()
        folder = folder if (folder / _INFO).is_file() else find_prepared(folder) or folder
        where = f"tfds {folder}"
        if not (folder / _FEATURES).is_file():
            do = f"Give the folder with {_INFO} and {_FEATURES}."
            fail(where, expected="a prepared set of tfds", got="none", do=do)
        import tensorflow_datasets as tfds

        quiet_tfds()
        try:
            builder = tfds.builder_from_directory(folder)
            features = dict(builder.info.features.items())
        except Exception as error:  # of JSON, protocol buffers and classes that a file names
            got = f"{type(error).__name__}: {' '.join(str(error).split()):.200}"
            fail(where, expected="a prepared set of tfds", got=got, do="Prepare the set again.")
        objects = getattr(features.get("objects"), "feature", {})
        has_names = "label" in objects and getattr(objects["label"], "names", None)
        if "image" not in features or "bbox" not in objects or not has_names:
            got, do = ", ".join(features), "Prepare a detection set."
            fail(where, expected="features image and objects with bbox and label with names", got=got, do=do)
        self.name = builder.info.name
        self.class_names = tuple(objects["label"].names)
        notices = Notices()
        self._splits: dict[str, TfdsImages] = {}
        for theirs in builder.info.splits:
            if (split := split_of(theirs)) and split not in self._splits:
                records = records_of(builder, theirs)
                images = TfdsImages(builder, records, range(len(records)), split)
                if split == "test" and not _has_objects(images):  # published without labels
                    split = "unlabelled"
                    notices.add("unused", theirs, "no object in its first images: it is read as unlabelled")
                    images = TfdsImages(builder, records, range(len(records)), split)
                self._splits[split] = images
        self.notices = tuple(notices)
        if "train" not in self._splits:
            got = ", ".join(builder.info.splits)
            fail(where, expected="a split train", got=got or "no split", do="Prepare one.")
        self._make_missing(shares, split_seed)
        self.split_names = tuple(split for split in SPLITS if split in self._splits)

    @classmethod
    def recognise(cls, tree: Tree) -> list[Found]:
        """Returns the prepared sets of a folder, of each the newest version."""
        folders = [str(PurePosixPath(n).parent) for n in tree.files if PurePosixPath(n).name == _INFO]
        folders = [f for f in folders if f"{f}/{_FEATURES}".removeprefix("./") in tree.files]
        newest: dict[str, str] = {}
        for folder in folders:
            parent = Path(tree.path(folder)).resolve().parent
            version = find_prepared(parent)
            key = str(parent) if version is not None else folder
            is_newest = version is None or version.name == Path(tree.path(folder)).resolve().name
            if folder == "." or is_newest:
                newest[key] = folder
        return [
            Found("tfds", Spec("tfds", {"path": tree.path(f)}), str(PurePosixPath(f, _INFO)))
            for f in newest.values()
        ]

    def _make_missing(self, shares: dict[str, float], seed: int) -> None:
        """Takes the missing ones of validation and test out of train."""
        train = self._splits["train"]
        missing = [split for split in ("validation", "test") if split not in self._splits]
        order = np.random.default_rng(seed).permutation(len(train))
        total = shares["train"] + sum(shares[split] for split in missing)
        first = 0
        for split in missing:
            count = min(max(1, round(len(train) * shares[split] / total)), len(train) - first - 1)
            chosen = np.sort(order[first : first + count])
            first += count
            if count > 0:
                self._splits[split] = TfdsImages(train.builder, train.records, chosen.tolist(), split)
        rest = np.sort(order[first:])
        self._splits["train"] = TfdsImages(train.builder, train.records, rest.tolist(), "train")


def _has_objects(images: TfdsImages) -> bool:
    return any(len(images.annotation(i)["objects"]["label"]) for i in range(min(_LOOKED_AT, len(images))))
