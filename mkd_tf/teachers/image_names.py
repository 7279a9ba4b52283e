"""Which image of a predictions file is which image of a data set.

With a list of images (file names by id) images go by their file names: the relative name,
else the name without its folder, else without its suffix. Ids decide only for an image
that has no file name. Without a list the ids of the predictions are compared with the
data set's ids and with its file names, as `397133` with `000000397133.jpg`.
"""

import collections
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from mkd_tf.checks import fail
from mkd_tf.teachers.base import TeacherImage
from mkd_tf.teachers.coco_rows import Key


def _clean(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _forms(name: str) -> tuple[str, str, str]:
    path = PurePosixPath(_clean(name))
    return str(path), path.name, path.stem


class ImageNames:
    """Finds the key of an image.

    Args:
      where: the file, in errors.
      names: file name by key; None without a list of images, when keys are names themselves.
      keys: all keys.
    """

    def __init__(self, where: str, names: Mapping[Key, str] | None, keys: Iterable[Key]):
        self._where, self._has_list = where, names is not None
        self._keys: dict[str, Key] = {}
        self._numbers: dict[int, Key] = {}
        owners: list[dict[str, list[Key]]] = [collections.defaultdict(list) for _ in range(3)]
        for key in keys:
            self._keys[str(key)] = key
            name = str(key) if names is None else names.get(key, "")
            if names is None and isinstance(key, int):
                self._numbers[key] = key
            for owner, form in zip(owners, _forms(name), strict=True):
                if name:
                    owner[form].append(key)
        self._names = [dict(owner) for owner in owners]
        self._claims: dict[Key, TeacherImage] = {}

    def find(self, image: TeacherImage) -> Key | None:
        """Returns the key of an image, None if the file does not know it.

        Raises:
          MkdError: if the name fits several images of the file, or another image had the same key.
        """
        key = self._find(image)
        if key is not None:
            other = self._claims.setdefault(key, image)
            if other.id != image.id:
                self._ambiguous(f"image {key}", " and ".join(i.file_name or i.id for i in (other, image)))
        return key

    def _find(self, image: TeacherImage) -> Key | None:
        names = (image.file_name, "" if image.file_name and self._has_list else image.id)
        for name in names:
            if not name:
                continue
            whole, last, stem = _forms(name)
            # A name without suffix may have a dot of its own.
            for place, form in ((0, whole), (1, last), (2, last), (2, stem)):
                found = self._names[place].get(form, [])
                if len(found) > 1:
                    self._ambiguous(f"images {found[0]} and {found[1]}", name)
                if found:
                    return found[0]
        if not image.file_name or not self._has_list:
            if image.id in self._keys:
                return self._keys[image.id]
            for name in (image.id, image.file_name):
                stem = PurePosixPath(_clean(name)).stem
                if stem.isascii() and stem.isdigit() and int(stem) in self._numbers:
                    return self._numbers[int(stem)]
        return None

    def _ambiguous(self, theirs: str, ours: str) -> None:
        expected = "file names that tell every image from every other"
        do = "Write file names with their folders, relative to the images of the data set."
        fail(self._where, expected=expected, got=f"{theirs} for {ours}", do=do)
