"""The files of a VOC folder: lists them, pairs images with annotations, and checks both."""

import functools
import os
from collections.abc import Collection
from pathlib import Path, PureWindowsPath

from mkd_tf.checks import fail
from mkd_tf.data.image_files import IMAGE_SUFFIXES, scan_image
from mkd_tf.data.sources.examples import (
    BadExample,
    Example,
    Job,
    Problem,
    check_objects,
    check_size,
    existing_folder,
    scanned,
    survey,
    visible_files,
)
from mkd_tf.data.sources.voc_annotation import read_annotation

_LAYOUT = "Put images into JPEGImages and VOC XML files into Annotations, or both into one folder."


class VocFiles:
    """The annotation and image files of a folder, by name without suffix.

    Nothing outside the folder is read: images are looked up among those listed here, and
    never opened by a path that an annotation or a list gives.

    Args:
      root: holds `Annotations` and `JPEGImages`, or all files directly.

    Raises:
      MkdError: if the folder does not exist or holds no annotation or no image.
    """

    def __init__(self, root: str | os.PathLike[str]):
        self.root = root = existing_folder("voc_folder", root)
        self.annotations = {
            path.stem: path for path in visible_files(_folder(root, "Annotations"), (".xml",))
        }
        self.images: dict[str, list[Path]] = {}
        self._image_folder = _folder(root, "JPEGImages")
        for path in visible_files(self._image_folder, IMAGE_SUFFIXES):
            self.images.setdefault(path.stem, []).append(path)
        for what, found in (("annotations", self.annotations), ("images", self.images)):
            if not found:
                fail(f"voc_folder {root}", expected=f"some {what}", got="none", do=_LAYOUT)

    def relative(self, path: Path) -> str:
        """Returns a file's path within the folder, as problems give it."""
        return path.relative_to(self.root).as_posix()

    def image(self, name: str, filename: str | None = None) -> Path:
        """Returns the image of a name, or if there is none the image called `filename`.

        Raises:
          BadExample: if there is none, or several fit.
        """
        found = self.images.get(name, [])
        if not found and filename:
            if filename != PureWindowsPath(filename).name:  # knows / and \\ and drives
                raise BadExample(f"no image {name}.*, and <filename> {filename!r} leads elsewhere")
            stem = Path(filename).stem
            found = self.images.get(stem, []) if stem not in self.annotations else []
        if len(found) > 1:
            found = [path for path in found if path.name == filename] or found
        if len(found) > 1:
            raise BadExample(f"several images of one name: {', '.join(path.name for path in found)}")
        if not found:
            raise BadExample(f"no image {name}.* in {self.relative(self._image_folder)}/")
        return found[0]


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
        annotation = read_annotation(annotation_path, file)
        path = files.image(name, annotation.filename)
        scan = scanned(path, files.root, scan_image)
        check_size(annotation.size, scan, "<size> says")
        good, bad = check_objects(annotation.objects, file, scan.width, scan.height)
        problems = [*annotation.problems, *bad]
        if classes is not None:
            strange = [item for item in good if item.name not in classes]
            problems += [Problem(file, i.index, "class is not among those given", i.name) for i in strange]
            good = [item for item in good if item.name in classes]
        problems.sort(key=lambda problem: int(problem.object_index or 0))
        return Example(name, path, scan, tuple(good)), problems

    return Problem(file, None, ""), read


def _folder(root: Path, name: str) -> Path:
    return root / name if (root / name).is_dir() else root
