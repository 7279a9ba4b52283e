"""The folder layouts in which data sets of Pascal VOC and COCO are handed on."""

import itertools
import json
import mmap
import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from mkd_tf.data.sources.paths import nfc, parts_of
from mkd_tf.data.sources.split_names import split_of, split_of_path
from mkd_tf.data.tree import Found, Tree
from mkd_tf.registry import Spec

_ANNOTATIONS = ("annotations", "annotation", "annots", "xml", "xmls", "labels")
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')
_MADE = {"test_from_train": True}  # a training needs all three splits
_PEEK = 20  # names of images that decide which folder they are in
_TRAINVAL = {"train", "validation"}


def voc_layouts(tree: Tree) -> list[Found]:
    """Returns the VOC folders below a folder.

    That is the parent of each folder called Annotations; the folder itself where there is
    none, or where the parents are named after splits.
    """
    files = tree.xml.get("annotation", [])
    if not files or tree.chosen:
        return []
    roots: dict[str, str] = {}
    for name in files:
        parents = PurePosixPath(name).parents
        own = next((p for p in parents if p.name.lower() in _ANNOTATIONS), None)
        root = "." if own is None else own.parent.as_posix()
        roots.setdefault(root, "XML files" if own is None else own.as_posix())
    if "." in roots or all(split_of_path(f"{root}/a.xml") for root in roots):
        roots = {".": roots.get(".", "folders named after splits")}
    return [
        Found(
            "Pascal VOC",
            Spec("voc_folder", {"path": tree.path(root)} | _MADE),
            _voc_source(tree, root, source),
        )
        for root, source in roots.items()
    ]


def _voc_source(tree: Tree, root: str, source: str) -> str:
    prefix = "" if root == "." else f"{root}/"
    lists = [n for n in tree.files if n.lower().startswith(f"{prefix}imagesets/".lower())]
    return f"{source} and {PurePosixPath(lists[0]).parent}" if lists else source


def coco_layouts(tree: Tree) -> list[Found]:
    """Returns the COCO data sets of a folder: one with a file for each split, or one for each file."""
    files = tree.json.get("coco", [])
    # Of the files that hold the same images, those of COCO's detection are meant.
    instances = [name for name in files if PurePosixPath(name).name.startswith("instances")]
    files = instances or files
    splits = {name: _split_of_file(name) for name in files}
    by_split = {split: name for name, split in splits.items()}
    if len(files) > 1 and "train" in by_split and None not in by_split and len(by_split) == len(files):
        return [_coco_by_split(tree, by_split)]
    return [
        Found(
            "COCO",
            Spec("coco_json", {"images": _images_of(tree, name), "annotations": tree.path(name)}),
            name,
        )
        for name in files
    ]


def _coco_by_split(tree: Tree, files: Mapping[str | None, str]) -> Found:
    arguments: dict[str, str | bool] = {}
    for split in ("train", "validation", "test"):
        if name := files.get(split):
            prefix = "" if split == "train" else f"{split}_"
            arguments[f"{prefix}images"] = _images_of(tree, name)
            arguments[f"{prefix}annotations"] = tree.path(name)
    bare = [f for f in sorted(tree.folders()) if split_of(PurePosixPath(f).name) == "unlabelled"]
    if bare:
        arguments["unlabelled_images"] = tree.path(bare[0])
    source = f"{files['train']} and {len(files) - 1} beside it"
    return Found("COCO", Spec("coco_json", arguments | _MADE), source)


def _split_of_file(name: str) -> str | None:
    """Returns the split that a word of a file's name means, else one of its folders."""
    words = re.split(r"[ _.-]+", PurePosixPath(name).stem)
    found = {split for word in words if (split := split_of(word))}
    if found == _TRAINVAL:
        return "train"
    return found.pop() if len(found) == 1 else split_of_path(name)


def _images_of(tree: Tree, name: str) -> str:
    """Returns the folder that most of the first images of a COCO file are in."""
    counts: dict[str, int] = {}
    for wanted in _first_names(tree.root / name):
        for folder in _folders_with(tree.files, wanted):
            counts[folder] = counts.get(folder, 0) + 1
    if not counts:
        near = PurePosixPath(name).parent
        places = [(near / "images").as_posix(), (near.parent / "images").as_posix(), near.as_posix()]
        folders = tree.folders()
        return tree.path(next((place for place in places if place in folders), near.as_posix()))
    split = _split_of_file(name)
    own = PurePosixPath(name).parent

    def preference(folder: str) -> tuple[int, bool, int, str]:
        shared = len(set(PurePosixPath(folder).parts) & set(own.parts))
        return -counts[folder], split_of_path(f"{folder}/a") != split, -shared, folder

    return tree.path(min(counts, key=preference))


def _folders_with(files: Collection[str], wanted: str) -> list[str]:
    end = f"/{wanted}"
    return [n[: -len(end)] if n != wanted else "." for n in files if n == wanted or n.endswith(end)]


def _first_names(path: Path) -> list[str]:
    """Returns the names of the first images of a COCO file, without reading all of it."""
    try:
        with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            texts = [found[1] for found in itertools.islice(_FILE_NAME.finditer(content), _PEEK)]
        names = [json.loads(text) for text in texts]
    except (OSError, ValueError):
        return []
    return [nfc("/".join(parts)) for name in names if (parts := parts_of(name))]
