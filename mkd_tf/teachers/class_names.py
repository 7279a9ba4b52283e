"""Names of a teacher's classes, out of what the user and the file say of them.

COCO's 80 classes have the ids 1 to 90 with gaps. A network trained on it gives either the
position of a class, 0 to 79, or its id; both are known here, and a count that fits neither is
refused.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mkd_tf.checks import fail
from mkd_tf.data.sources.coco_names import COCO_NAMES
from mkd_tf.teachers.class_map import listed

_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = dict(zip((i for i in range(1, 91) if i not in _GAPS), COCO_NAMES, strict=True))
"""Name of each of COCO's 80 classes by its category id."""
COCO = "coco"


def given_names(where: str, classes: Any) -> tuple[str, ...] | dict[int, str] | None:
    """Returns what `classes=` says: names in order, or names by id; None if it is empty.

    Args:
      where: for errors.
      classes: names with commas; a list; a dict by id; `coco`, which gives names by COCO's
        ids; or the path of a text file with a name per line.
    """
    if not classes:
        return None
    if isinstance(classes, Mapping):
        named = {k: v for k, v in classes.items() if type(k) is int and isinstance(v, str) and v}
        if len(named) < len(classes):
            do = "Write classes={1: 'cat', 3: 'dog'}."
            fail(f"{where}, classes", expected="names by integer ids", got=repr(classes), do=do)
        return dict(sorted(named.items()))
    if isinstance(classes, str):
        if classes == COCO:
            return dict(COCO_IDS)
        path = Path(classes).expanduser()
        if path.suffix == ".txt":
            if not path.is_file():
                fail(f"{where}, classes", expected=f"the file {path}", got="none", do="Correct the path.")
            classes = path.read_text(encoding="utf-8").splitlines()
        else:
            classes = classes.split(",")
    names = tuple(str(name).strip() for name in classes)
    while names and not names[-1]:
        names = names[:-1]
    twice = sorted({name for name in names if names.count(name) > 1 and is_name(name)})
    if twice or not any(map(is_name, names)):
        got = f"{twice[0]!r} twice" if twice else repr(classes)
        fail(f"{where}, classes", expected="names, each once", got=got, do="Correct classes=.")
    return names


def is_name(name: str) -> bool:
    """Returns whether a line of a label file is a class; `???` stands in the gaps of COCO's ids."""
    return bool(name) and name != "???"


def category_names(
    where: str, known: Mapping[int, str] | None, classes: Any, used: Sequence[int]
) -> dict[int, str]:
    """Returns names by category id, in the order of the ids.

    Args:
      where: for errors.
      known: names by id of a list of images, None without one.
      classes: as the user wrote it, see `given_names`.
      used: the ids in the predictions.

    Raises:
      MkdError: if an id has no name, or names in order could begin at 0 as well as at 1.
    """
    given = known if known is not None else given_names(where, classes)
    if given is None:
        do = "Give the COCO file with images=..., or names with classes={id: 'name', ...} or classes='coco'."
        got = f"category ids alone ({listed([str(i) for i in used])})"
        fail(where, expected="names of the categories", got=got, do=do)
    if not isinstance(given, Mapping):
        last = len(given) - 1
        fits = [start for start in (0, 1) if min(used) >= start and max(used) <= last + start]
        if len(fits) != 1:
            expected = f"{len(given)} categories whose ids begin at 0 or at 1"
            got = f"the ids {listed([str(i) for i in used])}, which {'fit both' if fits else 'fit neither'}"
            do = f"Write the ids: classes={{{used[0]}: {given[0]!r}, ...}}."
            fail(where, expected=expected, got=got, do=do)
        given = {i + fits[0]: name for i, name in enumerate(given)}
    strange = [str(i) for i in used if i not in given]
    if strange:
        expected = f"category ids among {listed([str(i) for i in given])}"
        do = "Give the list of images of these predictions, or the names of all ids."
        fail(where, expected=expected, got=listed(strange), do=do)
    return dict(sorted(given.items()))
