"""The files of a VOC folder: lists them, pairs images with annotations, and checks both."""

import functools
import os
from collections.abc import Collection, Mapping
from pathlib import Path, PureWindowsPath

from mkd_tf.checks import fail
from mkd_tf.data.image_files import IMAGE_SUFFIXES, scan_image
from mkd_tf.data.sources.examples import Example, Job, existing_folder, scanned, survey
from mkd_tf.data.sources.finishing import finish_example
from mkd_tf.data.sources.notices import BadExample, Notices, Problem
from mkd_tf.data.sources.paths import ImageFolder, name_unused, nfc, relative_stem, visible_tree
from mkd_tf.data.sources.split_names import split_of
from mkd_tf.data.sources.voc_annotation import read_annotation
from mkd_tf.data.tree import SKIPPED_FOLDERS

_LAYOUT = "Put images into JPEGImages and VOC XML files into Annotations, or both into one folder."
_ANNOTATIONS = ("annotations", "annotation", "annots", "xml", "xmls", "labels")
_IMAGES = ("jpegimages", "images", "image", "imgs", "img", "pngimages")
LISTS = "imagesets"


class VocFiles:
    """The annotation and image files of a folder, by path below their folder without suffix, in NFC.

    Nothing outside the folder is read: images are looked up among those listed here, and
    never opened by a path that an annotation or a list gives.

    Args:
      root: holds `Annotations` and `JPEGImages`, in any case, or `images`, or all files
        directly; each with sub-folders.
      notices: hears of files that are not read.

    Raises:
      MkdError: if the folder does not exist or holds no annotation or no image.
    """

    def __init__(self, root: str | os.PathLike[str], notices: Notices):
        self.root = root = existing_folder("voc_folder", root)
        self.notices = notices
        folders = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
        self._annotation_folder = _first(folders, _ANNOTATIONS) or root
        self.image_folder = _first(folders, _IMAGES) or root
        self.lists = list_folder(root, folders.get(LISTS), notices)
        self.annotations: dict[str, Path] = {}
        self.images: dict[str, list[Path]] = {}
        unused = []
        for path in visible_tree(self._annotation_folder):
            if path.suffix.lower() == ".xml":
                name = relative_stem(path, self._annotation_folder)
                if other := self.annotations.pop(name, None):  # of another Unicode form: both keep their own
                    self.annotations[self._written(other)] = other
                    name = self._written(path)
                    name = f"{name}.xml" if name in self.annotations else name
                self.annotations[name] = path
            elif self._annotation_folder != self.image_folder:
                unused.append(path)
        for path in visible_tree(self.image_folder):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                self.images.setdefault(relative_stem(path, self.image_folder), []).append(path)
            elif path.suffix.lower() != ".xml" and not self._is_of_lists(path):
                unused.append(path)
        for what, found in (("annotations", self.annotations), ("images", self.images)):
            if not found:
                fail(f"voc_folder {root}", expected=f"some {what}", got="none", do=_LAYOUT)
        name_unused(unused, root, notices)
        if root not in (self._annotation_folder, self.image_folder):
            used = {self._annotation_folder.name, self.image_folder.name, *SKIPPED_FOLDERS}
            for folder in folders.values():
                name = folder.name
                if name not in used and name.lower() != LISTS and not name.startswith("."):
                    notices.add("unused", "./", "folders are not read", name)
        self._by_base: dict[str, list[str]] = {}
        for name in self.images:
            self._by_base.setdefault(name.rpartition("/")[2], []).append(name)
        self._names = ImageFolder(self.image_folder, notices, self.relative(self.image_folder) + "/")

    def _written(self, path: Path) -> str:
        return path.relative_to(self._annotation_folder).with_suffix("").as_posix()

    def _is_of_lists(self, path: Path) -> bool:
        """Returns whether the lists name it: what they do not use they tell themselves."""
        if self.lists == self.root:
            return path.parent == self.root and is_list(path)
        return LISTS in (part.lower() for part in path.relative_to(self.root).parts[:-1])

    def relative(self, path: Path) -> str:
        """Returns a file's path within the folder, as problems give it."""
        return path.relative_to(self.root).as_posix()

    def image(self, name: str, filename: str | None = None) -> Path:
        """Returns the image of a name, or if there is none the image called `filename`.

        Raises:
          BadExample: if there is none, or several fit.
        """
        found = self.images.get(nfc(name), [])
        if not found and filename:
            found = self._called(name, filename)
        if not found:
            found = self._elsewhere(name)
        if len(found) > 1:
            own = self.annotations.get(name, Path(name)).stem
            several = found
            found = [path for path in found if nfc(path.name) == nfc(filename or "")] or found
            found = [path for path in found if path.stem == own] or found
            for path in several if len(found) == 1 else ():
                if path not in found:
                    message = "images of the name of a labelled one, with another suffix, are not used"
                    self.notices.add("unused", f"{self.relative(self.image_folder)}/", message, path.name)
        if len(found) > 1:
            raise BadExample(f"several images of one name: {', '.join(path.name for path in found)}")
        if not found:
            raise BadExample(f"no image {name}.* in {self.relative(self.image_folder)}/")
        return found[0]

    def _called(self, name: str, filename: str) -> list[Path]:
        """Returns the image that a <filename> means, unless it is that of another annotation."""
        try:
            path = self._names.find(filename)
        except BadExample as error:
            if filename != PureWindowsPath(filename).name:  # knows / and \\ and drives
                message = f"no image {name}.*, and <filename> {filename!r} leads elsewhere"
                raise BadExample(message) from error
            stem = nfc(Path(filename).stem)  # images are converted, and <filename> keeps the old suffix
            return self.images.get(stem, []) if stem not in self.annotations else []
        is_free = relative_stem(path, self.image_folder) not in self.annotations
        return [path] if is_free and path.suffix.lower() in IMAGE_SUFFIXES else []

    def _elsewhere(self, name: str) -> list[Path]:
        """Returns the image of that name in another sub-folder, unless it has an annotation there."""
        others = [n for n in self._by_base.get(name.rpartition("/")[2], ()) if n not in self.annotations]
        if len(others) > 1:
            shown = ", ".join(sorted(self.relative(self.images[other][0]) for other in others)[:3])
            raise BadExample(f"no image {name}.*, and several in sub-folders: {shown}")
        if others:
            message = "images are found in another sub-folder than their annotations"
            self.notices.add("changed", "images", message, name)
        return self.images[others[0]] if others else []


def list_folder(root: Path, sets: Path | None, notices: Notices) -> Path:
    """Returns the folder of the lists of splits: `ImageSets/Main`, else `ImageSets`, else the root.

    Args:
      root: of the data set.
      sets: its folder `ImageSets`, None if it has none.
      notices: hears of folders of lists that are not used.
    """
    if sets is None:
        lists = [path for path in sorted(root.iterdir()) if is_list(path)]
        if any(split_of(path.stem) == "train" for path in lists):
            return root
        for path in lists:
            notices.add("unused", "./", "lists are not used: there is none for train", path.name)
        return root / "ImageSets" / "Main"
    inner = {path.name.lower(): path for path in sorted(sets.iterdir()) if path.is_dir()}
    if "main" in inner:
        return inner["main"]
    for name in inner.values():
        message = "lists are not used: those of detection are in Main"
        notices.add("unused", sets.name, message, f"{name.name}/")
    return sets


def is_list(path: Path) -> bool:
    """Returns whether a file is a list of the images of a split by its name."""
    return path.suffix.lower() == ".txt" and split_of(path.stem) is not None


def examine(
    files: VocFiles, labelled: Collection[str], unlabelled: Collection[str], classes: Collection[str] | None
) -> tuple[dict[str, Example], list[Problem]]:
    """Reads the annotations of `labelled` names, and decodes every image once.

    `classes` are the allowed ones; None for any.

    Returns:
      The sound images by name, and all problems, both in the order of the names.
    """

    def read_unlabelled(name: str) -> tuple[Example, list[Problem]]:
        path = files.image(name)
        return Example(name, path, scanned(path, files.root, scan_image)), []

    jobs: list[Job] = [_labelled_job(files, name, classes) for name in sorted(labelled)]
    for name in sorted(unlabelled):
        jobs.append((Problem(name, None, ""), functools.partial(read_unlabelled, name)))
    examples, problems = survey(jobs)
    return {example.name: example for example in examples if example}, problems


def _labelled_job(files: VocFiles, name: str, classes: Collection[str] | None) -> Job:
    annotation_path = files.annotations[name]
    file = files.relative(annotation_path)

    def read() -> tuple[Example, list[Problem]]:
        annotation = read_annotation(annotation_path, file, files.notices)
        path = files.image(name, annotation.filename)
        example, problems = finish_example(
            name,
            path,
            scanned(path, files.root, scan_image),
            annotation.objects,
            file=file,
            notices=files.notices,
            size=annotation.size,
            said_by="<size> says",
            lost=annotation.problems,
            classes=classes,
        )
        problems.sort(key=lambda problem: int(problem.object_index or 0))
        return example, problems

    return Problem(file, None, ""), read


def _first(folders: Mapping[str, Path], names: Collection[str]) -> Path | None:
    return next((folders[name] for name in names if name in folders), None)
