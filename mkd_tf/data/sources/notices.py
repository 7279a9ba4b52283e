"""What a reader says of a data set: problems, which stop it, and notices, which do not.

Nothing is silent: what a reader leaves out, joins, or reads otherwise than it is written
becomes a `Problem` or a `Notice`. A data set's `notices` are printed when it is opened, before a
training and by `mkd inspect_data`.
"""

import bisect
import dataclasses
import threading
from collections.abc import Iterable, Iterator

from mkd_tf.checks import check_one_of

KINDS = {
    "unknown": "areas and images that are neither object nor background",
    "unused": "files, lists and images that are not read",
    "merged": "entries that mean the same and are read as one",
    "changed": "entries that are read otherwise than they are written",
    "suspect": "entries that are read as written and probably mean something else",
}
"""Kinds of notices, in the order in which they are shown."""
_EXAMPLES = 3


class BadExample(Exception):
    """The reason why an image, or one of its objects, cannot be used.

    Attributes:
      file: the file that is wrong; empty for the one that the image's reader names.
    """

    def __init__(self, message: str, file: str = ""):
        super().__init__(message)
        self.file = file


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong in a data set, which cannot be used as it is.

    Attributes:
      file: the file that is wrong, relative to the data set.
      object_index: the object (or image) of the file: its position from 0, or its id if
        the format has ids; None for the whole file.
      message: what is wrong.
      class_name: the object's class, if it has one; of an image, its file name.
      kind: what `object_index` counts: objects, annotations or images.
    """

    file: str
    object_index: int | str | None
    message: str
    class_name: str | None = None
    kind: str = "object"

    def __str__(self) -> str:
        if self.object_index is None:
            return f"{self.file}: {self.message}"
        name = f" ({self.class_name})" if self.class_name else ""
        return f"{self.file} {self.kind} {self.object_index}{name}: {self.message}"


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """Something that a user should know of a data set that was read.

    Attributes:
      kind: one of `KINDS`.
      where: the file, list or folder, relative to the data set.
      count: how many entries it is true of.
      message: what was done, or what is suspected.
      examples: the names of up to three of the entries, sorted.
    """

    kind: str
    where: str
    count: int
    message: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = ", ".join(self.examples)
        if self.count > len(self.examples) and shown:
            shown = f"{self.count}: {shown}{', ...' if len(self.examples) == _EXAMPLES else ''}"
        elif self.count > 1 and not shown:
            shown = f"{self.count} times"
        return f"{self.where}: {self.message}{f' ({shown})' if shown else ''}"


class Notices:
    """Collects notices; safe to use from several threads, its result does not depend on their order.

    Example:
      >>> notices = Notices()
      >>> for name in ("b.heic", "a.heic"):
      ...     notices.add("unused", "images", "no reader for .heic", name)
      >>> [str(notice) for notice in notices]
      ['images: no reader for .heic (a.heic, b.heic)']
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str, str], tuple[int, list[str]]] = {}

    def add(self, kind: str, where: str, message: str, example: str = "", *, count: int = 1) -> None:
        """Adds a notice; those of equal kind, place and message become one.

        Args:
          kind: one of `KINDS`.
          where: the file, list or folder, relative to the data set.
          message: without the names of single entries.
          example: the entry's name, if it has one.
          count: of entries.
        """
        check_one_of("kind of notice", kind, tuple(KINDS))
        with self._lock:
            before, examples = self._found.get((kind, where, message), (0, []))
            if example and example not in examples:
                bisect.insort(examples, example)
                del examples[_EXAMPLES:]
            self._found[kind, where, message] = (before + count, examples)

    def extend(self, others: Iterable[Notice]) -> None:
        """Adds notices of another collector."""
        for other in others:
            self.add(other.kind, other.where, other.message, count=other.count)
            for example in other.examples:
                self.add(other.kind, other.where, other.message, example, count=0)

    def __iter__(self) -> Iterator[Notice]:
        order = {kind: place for place, kind in enumerate(KINDS)}
        for key in sorted(self._found, key=lambda key: (order[key[0]], *key[1:])):
            kind, where, message = key
            count, examples = self._found[key]
            yield Notice(kind, where, count, message, tuple(examples))

    def __len__(self) -> int:
        return len(self._found)
