"""Splits by name: from the lists in a VOC folder, or by seed."""

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PureWindowsPath

from mkd_tf.checks import fail
from mkd_tf.data.image_files import IMAGE_SUFFIXES
from mkd_tf.data.sources.examples import Problem

_LIST_NAMES = {
    "train": ("train",),
    "validation": ("val", "validation"),
    "test": ("test",),
    "unlabelled": ("unlabelled", "unlabeled"),
}
# A group of more images than this, and of more than half of all, is one scene of a fixed camera.
_SCENE_COUNT = 20
_RUN_SHARE = 0.05


def read_lists(
    folder: Path, annotations: Collection[str], images: Collection[str]
) -> tuple[dict[str, list[str]], list[Problem]]:
    """Reads those of `ImageSets/Main/{train,val,test,unlabelled}.txt` that exist.

    A line is the name of an image, with or without suffix; VOC's numbers after it (`1`,
    `-1`) are ignored. A name in several lists belongs to the one furthest from training:
    test, then validation, train, unlabelled.

    Args:
      folder: the data set.
      annotations: the names, without suffix, that have an annotation.
      images: the names that have an image.

    Returns:
      The names by split, each name once; and the problems in the lists.

    Raises:
      MkdError: if two files are for one split, a list is empty, or there is a list for
        validation or test but none for train.
    """
    lists: dict[str, list[str]] = {}
    problems: list[Problem] = []
    taken: dict[str, str] = {}
    for split in ("test", "validation", "train", "unlabelled"):
        files = [folder / "ImageSets" / "Main" / f"{name}.txt" for name in _LIST_NAMES[split]]
        files = [file for file in files if file.is_file()]
        if len(files) > 1:
            got = " and ".join(file.name for file in files)
            fail(str(files[0].parent), expected=f"one list for {split}", got=got, do="Remove one of them.")
        if not files:
            continue
        where = f"ImageSets/Main/{files[0].name}"
        names: dict[str, None] = {}
        for line in files[0].read_text("utf-8-sig", errors="replace").splitlines():
            entry = line.strip()
            if entry and not _is_file_name(entry):
                problems.append(Problem(where, None, f"names {entry!r}, a path instead of an image's name"))
            elif entry:
                names[_name_of(entry, annotations, images)] = None
        if not names and not problems:
            do = "Fill it or remove it."
            fail(str(files[0]), expected="names of images, one a line", got="none", do=do)
        what, present = ("image", images) if split == "unlabelled" else ("annotation", annotations)
        for name in names:
            if name in taken:
                problems.append(Problem(where, None, f"names {name!r}, which is also in {taken[name]}"))
            elif name not in present:
                problems.append(Problem(where, None, f"names {name!r}, which has no {what}"))
        lists[split] = [name for name in names if name not in taken]
        taken.update(dict.fromkeys(lists[split], where))
    if lists.keys() & {"validation", "test"} and "train" not in lists:
        got = ", ".join(lists)
        do = "Add train.txt, or remove the lists for a seeded split."
        fail(str(folder / "ImageSets" / "Main"), expected="a list for train", got=f"only {got}", do=do)
    return lists, problems


def check_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    """Returns the shares of train, validation and test.

    Raises:
      MkdError: unless they are three numbers from 0 to 1 that add up to 1, the first above 0.
    """
    try:
        train, validation, test = map(float, fractions)
    except (TypeError, ValueError):
        train = validation = test = math.nan
    shares = (train, validation, test)
    if not (train > 0 and min(shares) >= 0 and math.isclose(sum(shares), 1, abs_tol=1e-6)):
        expected = "three shares for train, validation and test that add up to 1, as (0.7, 0.15, 0.15)"
        fail("fractions", expected=expected, got=repr(fractions), do="Correct fractions.")
    return shares


def seeded_split(
    groups: Sequence[Sequence[str]], shares: Mapping[str, float], seed: int
) -> dict[str, list[str]]:
    """Assigns images to splits, near-duplicates to the same one.

    The result depends on the names of the images and the seed, not on the order in which a
    file system lists them.

    Every split with a share gets at least one group, if there are enough. The frames of a
    fixed camera are all alike and cannot stay together: a group of over 20 images and over
    half of all, or one that would leave a split empty, is cut into runs of neighbouring
    names.

    Args:
      groups: names of images that belong together.
      shares: split -> share; they are scaled to add up to 1.
      seed: of the assignment.

    Returns:
      The sorted names by split, for every split that got any.
    """
    wanted = [split for split, share in shares.items() if share > 0]
    count = sum(map(len, groups))
    pieces: list[list[str]] = []
    for group in groups:
        ordered = sorted(group)
        too_large = len(ordered) > _SCENE_COUNT or len(groups) < len(wanted)
        is_scene = too_large and len(ordered) > count / 2
        run = math.ceil(count * _RUN_SHARE) if is_scene else len(ordered)
        pieces += [ordered[i : i + run] for i in range(0, len(ordered), run)]
    # The largest first, so that small ones level the shares out.
    pieces.sort(key=lambda piece: (-len(piece), hashlib.sha256(f"{seed}/{piece[0]}".encode()).digest()))
    assigned: dict[str, list[str]] = {split: [] for split in wanted}
    for split in wanted:
        if pieces:
            assigned[split] += pieces.pop(0 if split == wanted[0] else -1)
    targets = {split: count * shares[split] / sum(shares.values()) for split in wanted}
    for piece in pieces:
        neediest = max(wanted, key=lambda split: targets[split] - len(assigned[split]))
        assigned[neediest] += piece
    return {split: sorted(names) for split, names in assigned.items() if names}


def _is_file_name(entry: str) -> bool:
    """Returns whether an entry is a name without a folder, on any system."""
    return entry == PureWindowsPath(entry).name and entry not in (".", "..")


def _name_of(entry: str, annotations: Collection[str], images: Collection[str]) -> str:
    candidates = [entry, entry.split()[0]]
    for text in (entry, entry.split()[0]):
        path = Path(text)
        if path.suffix.lower() in (*IMAGE_SUFFIXES, ".xml"):
            candidates.append(path.stem)
    return next((name for name in candidates if name in annotations or name in images), entry)
