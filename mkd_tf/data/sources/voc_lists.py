"""The lists of splits in a VOC folder: `ImageSets/Main/*.txt`, else those in `ImageSets`, else `train.txt`.

| list | split |
|---|---|
| `train`, `val`, `validation`, `test`, `unlabelled`, in any case, also with a year | as it says |
| `trainval` | train, where there is no list for train |
| `default` of CVAT | none: it lists all images |
| `cat_train`, `cat_val`, ... of each class | train, validation, ... where there is no list for all classes |

Every other list is named in a notice.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from mkd_tf.checks import fail
from mkd_tf.data.image_files import IMAGE_SUFFIXES
from mkd_tf.data.sources.notices import Problem
from mkd_tf.data.sources.paths import leads_out, nfc, parts_of, readings
from mkd_tf.data.sources.split_names import split_of
from mkd_tf.data.sources.voc_files import VocFiles, is_list
from mkd_tf.data.text_files import read_text

# A name in several lists belongs to the one furthest from training.
_PRECEDENCE = ("test", "validation", "train", "unlabelled")
_TRAINVAL = "trainval"


def read_lists(files: VocFiles) -> tuple[dict[str, list[str]], list[Problem]]:
    """Reads the lists of splits that exist.

    A line is the name of an image, with or without suffix and folder; VOC's numbers after it
    (`1`, `-1`) are ignored. A name in several lists belongs to the one furthest from training:
    test, then validation, train, unlabelled.

    Returns:
      The names by split, each name once; and the problems in the lists.

    Raises:
      MkdError: if two files are for one split, a list is empty, or there is a list for
        validation or test but none for train.
    """
    chosen = _choose(files)
    lists: dict[str, list[str]] = {}
    problems: list[Problem] = []
    taken: dict[str, str] = {}
    for split in (s for s in _PRECEDENCE if s in chosen):
        names: dict[str, str] = {}
        for path in chosen[split]:
            where = files.relative(path)
            found = _read(path, files, where, problems)
            if not found and not problems:
                do = "Fill it or remove it."
                fail(str(path), expected="names of images, one a line", got="none", do=do)
            for name in found:
                names.setdefault(name, where)
        is_bare = split == "unlabelled"
        what, present = ("image", files.images) if is_bare else ("annotation", files.annotations)
        # A list for train and validation holds the names of validation too.
        is_rest = split == "train" and _split_of(chosen[split][0].stem) == _TRAINVAL
        for name, where in names.items():
            if name in taken and is_rest and name in lists.get("validation", ()):
                continue
            if name in taken:
                problems.append(Problem(where, None, f"names {name!r}, which is also in {taken[name]}"))
            elif name not in present:
                problems.append(Problem(where, None, f"names {name!r}, which has no {what}"))
        lists[split] = [name for name in names if name not in taken]
        taken.update({name: names[name] for name in lists[split]})
    if lists.keys() & {"validation", "test"} and "train" not in lists:
        do = "Add train.txt, or remove the lists for a seeded split."
        fail(str(files.lists), expected="a list for train", got=f"only {', '.join(lists)}", do=do)
    return lists, problems


def _choose(files: VocFiles) -> dict[str, list[Path]]:
    """Returns the lists that give each split; adds notices of the others."""
    folder = files.lists
    if not os.path.isdir(folder):
        return {}
    whole: dict[str, list[Path]] = {}
    by_class: dict[str, list[Path]] = {}
    others: list[Path] = []
    is_root = folder == files.root  # where other texts lie too
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() == ".txt" and not path.name.startswith(".") and (is_list(path) or not is_root):
            last = path.stem.rpartition("_")[2]
            if split := _split_of(path.stem):
                whole.setdefault(split, []).append(path)
            elif split := _split_of(last):
                by_class.setdefault(split, []).append(path)
            else:
                others.append(path)
    for split, paths in whole.items():
        if len(paths) > 1:
            got = " and ".join(path.name for path in paths)
            fail(str(folder), expected=f"one list for {split}", got=got, do="Remove one of them.")
    chosen = {split: paths for split, paths in whole.items() if split != _TRAINVAL}
    unused = {"lists are not used: their names are no splits": others}
    if "train" in chosen:
        unused["lists are not used: another one gives train"] = whole.get(_TRAINVAL, [])
    elif _TRAINVAL in whole:
        chosen["train"] = whole[_TRAINVAL]
    if "train" not in chosen and (of_train := by_class.get("train") or by_class.get(_TRAINVAL)):
        joined = {**by_class, "train": of_train}
        joined = {split: paths for split, paths in joined.items() if split not in (_TRAINVAL, *chosen)}
        chosen |= joined
        for split, paths in joined.items():
            _tell("changed", f"lists of one class each are joined to the list for {split}", paths, files)
    unused["lists of one class each are not used"] = [path for paths in by_class.values() for path in paths]
    for message, paths in unused.items():
        _tell("unused", message, [path for path in paths if not _is_chosen(path, chosen)], files)
    return chosen


def _tell(kind: str, message: str, paths: Collection[Path], files: VocFiles) -> None:
    for path in paths:
        files.notices.add(kind, files.relative(files.lists), message, path.name)


def _is_chosen(path: Path, chosen: Mapping[str, Collection[Path]]) -> bool:
    return any(path in paths for paths in chosen.values())


def _split_of(stem: str) -> str | None:
    return _TRAINVAL if stem.lower().startswith(_TRAINVAL) else split_of(stem)


def _read(path: Path, files: VocFiles, where: str, problems: list[Problem]) -> list[str]:
    """Returns the names in a list, and adds the problems in it."""
    names: dict[str, None] = {}
    for line in read_text(path, errors="replace").splitlines():
        entry = line.strip()
        if not entry:
            continue
        name = _name_of(entry, files)
        if name is None:
            problems.append(Problem(where, None, f"names {entry!r}, a path instead of an image's name"))
        else:
            names[name] = None
    return list(names)


def _name_of(entry: str, files: VocFiles) -> str | None:
    """Returns the name that a line means; None for a path that leads out of the folder."""
    texts = (entry, entry.split()[0])
    for text in texts:
        for parts, _ in readings(text, files.image_folder):
            name = "/".join(parts)
            stem, dot, suffix = name.rpartition(".")
            is_file = dot and f".{suffix.lower()}" in (*IMAGE_SUFFIXES, ".xml")
            for candidate in (name, stem) if is_file else (name,):
                if candidate in files.annotations or candidate in files.images:
                    return candidate
    if any(leads_out(text) for text in texts) or not parts_of(entry):
        return None
    return nfc(entry)
