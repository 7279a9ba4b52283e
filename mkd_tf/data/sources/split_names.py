"""The splits that files and folders are named after: `train`, `val`, `valid2017`, `Test`, `trainval`."""

import re
from pathlib import PurePosixPath

_NAMES = {
    "train": ("train", "training", "trainset", "trainval", "obj_train_data"),
    "validation": ("val", "valid", "validation", "valset", "dev", "obj_valid_data", "obj_validation_data"),
    "test": ("test", "testing", "testset", "obj_test_data"),
    "unlabelled": ("unlabelled", "unlabeled"),
}
_SPLITS = {name: split for split, names in _NAMES.items() for name in names}
_DECORATION = re.compile(r"[ _.-]*\d*$")  # the year, as in `val2017` and `test_2007`


def split_of(name: str) -> str | None:
    """Returns the split that one name of a file or folder means, without suffix; None for any other name.

    Example:
      >>> [split_of(name) for name in ("Train", "val2017", "valid", "images")]
      ['train', 'validation', 'validation', None]
    """
    return _SPLITS.get(_DECORATION.sub("", name.strip().lower()))


def split_of_path(path: str) -> str | None:
    """Returns the split after which one of a path's folders is named, the innermost first; None if none is.

    Example:
      >>> split_of_path("images/val/a.jpg"), split_of_path("a/train.jpg")
      ('validation', None)
    """
    for part in reversed(PurePosixPath(path).parts[:-1]):
        if split := split_of(part):
            return split
    return None
