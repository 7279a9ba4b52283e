"""Class maps: the classes of a teacher, as classes of the data set.

Classes go by their names. Case, spaces, hyphens and underscores do not matter: `Traffic_Light`
is `traffic light`. Names in another order are the same names; what only a position could
say, as names that are numbers, is refused.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.detection.postprocess import Detections

_WHERE = "class_map"
_FORM = 'pairs as in "car=vehicle, truck=vehicle"'


@dataclasses.dataclass(frozen=True, eq=False)
class ClassMap:
    """Where each class of a teacher goes.

    Attributes:
      index: `[T]` int32, the data set's class of each class of the teacher, -1 where there is none.
      dropped: names of the teacher's classes that have none.
      missing: names of the data set's classes that no class of the teacher becomes.
    """

    index: np.ndarray
    dropped: tuple[str, ...]
    missing: tuple[str, ...]

    def apply(self, found: Detections) -> Detections:
        """Returns detections with labels of the data set; those of dropped classes are left out."""
        labels = self.index[found.labels]
        keep = labels >= 0
        return Detections(found.boxes[keep], found.scores[keep], labels[keep].astype("int32"))

    def notes(self) -> list[str]:
        """Returns lines for the user: what is dropped, and what the teacher does not know."""
        lines = []
        if self.dropped:
            lines.append(f"classes of the teacher that are dropped: {listed(self.dropped)}")
        if self.missing:
            lines.append(f"classes that the teacher does not know: {listed(self.missing)}")
        return lines


def listed(names: Sequence[str], most: int = 12) -> str:
    """Returns names with commas, the first `most` of them and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def normalised(name: str) -> str:
    """Returns a name as it is compared: lower case, with single spaces for hyphens and underscores."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def parse_class_map(text: str) -> dict[str, str]:
    """Returns the data set's class of each class of a teacher in `"car=vehicle, truck=vehicle"`.

    Raises:
      MkdError: for a pair without a name on both sides, or a class that goes to two.
    """
    pairs: dict[str, str] = {}
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        source, equals, target = (piece.strip() for piece in part.partition("="))
        if not (source and equals and target) or "=" in target:
            do = "Write the teacher's class, =, and the data set's class."
            fail(_WHERE, expected=_FORM, got=repr(part), do=do)
        if pairs.get(source, target) != target:
            got = f"{source} to {pairs[source]} and to {target}"
            fail(_WHERE, expected="each class of the teacher once", got=got, do="Keep one of them.")
        pairs[source] = target
    return pairs


def map_classes(
    teacher_classes: Sequence[str], dataset_classes: Sequence[str], explicit: Mapping[str, str] | None = None
) -> ClassMap:
    """Returns the map from a teacher's classes to those of a data set.

    Args:
      teacher_classes: in the order of the teacher's labels.
      dataset_classes: in the order of the data set's labels.
      explicit: the data set's class by the teacher's, see `parse_class_map`; it goes before names.

    Raises:
      MkdError: if no class matches, names cannot be told apart, only positions could say which
        class is which, or `explicit` names a class that is on neither side.

    Example:
      >>> from mkd_tf.teachers import map_classes
      >>> theirs, ours = ("car", "Traffic_Light", "kite"), ("traffic light", "vehicle")
      >>> found = map_classes(theirs, ours, {"car": "vehicle"})
      >>> found.index.tolist(), found.dropped, found.missing
      ([1, 0, -1], ('kite',), ())
    """
    ours, theirs = _by_name(dataset_classes, "the data set"), _by_name(teacher_classes, "the teacher")
    index = np.full(len(teacher_classes), -1, "int32")
    for name, label in theirs.items():
        index[label] = ours.get(name, -1)
    for source, target in (explicit or {}).items():
        index[_place(source, theirs, teacher_classes, "the teacher")] = _place(
            target, ours, dataset_classes, "the data set"
        )
    unexplained = [n for n in teacher_classes if n not in (explicit or {})]
    _refuse_positions(unexplained, teacher_classes, dataset_classes)
    if not (index >= 0).any():
        expected = f"a class of the data set ({listed(dataset_classes)}) among those of the teacher"
        do = 'Say which is which with --class_map="name of the teacher=name of the data set, ...".'
        fail(_WHERE, expected=expected, got=listed(teacher_classes), do=do)
    dropped = tuple(n for n, label in zip(teacher_classes, index, strict=True) if label < 0)
    missing = tuple(n for label, n in enumerate(dataset_classes) if label not in index)
    return ClassMap(index, dropped, missing)


def _by_name(names: Sequence[str], whose: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for label, name in enumerate(names):
        first = found.setdefault(normalised(name), label)
        if first != label:
            got = f"{names[first]!r} and {name!r}"
            do = "Rename one of them."
            fail(_WHERE, expected=f"names that differ in {whose}", got=got, do=do)
    return found


def _place(name: str, places: Mapping[str, int], names: Sequence[str], whose: str) -> int:
    if normalised(name) not in places:
        do = "Correct the name in the class map."
        fail(_WHERE, expected=f"a class of {whose}: {listed(names)}", got=repr(name), do=do)
    return places[normalised(name)]


def _refuse_positions(unexplained: Sequence[str], theirs: Sequence[str], ours: Sequence[str]) -> None:
    """Refuses names that are numbers: counted from 0 or from 1, they may match the wrong class."""
    numbers = [name for name in unexplained if is_number(name)]
    if not numbers or len(numbers) < len(unexplained):
        return
    if list(map(normalised, theirs)) == list(map(normalised, ours)):
        return  # The same numbered names in the same order, as tfds has them for COCO.
    expected = "names of the teacher's classes"
    do = "Give them with classes='name, name, ...' in the order of the teacher, or map each in --class_map."
    fail(_WHERE, expected=expected, got=f"numbers alone ({listed(numbers, 6)})", do=do)


def is_number(name: str) -> bool:
    """Returns whether a class has no name but a number, as in `7`, `class 7`, `class_07` or `LABEL_7`."""
    return re.fullmatch(r"(class|label|category|id|cls)? ?\d+", normalised(name)) is not None
