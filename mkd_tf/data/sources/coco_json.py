"""`coco_json`: a user's own images with COCO instances annotations.

    images/a.jpg   instances.json                        split by seed
    train2017/  instances_train2017.json  val2017/  instances_val2017.json  unlabeled2017/

Labels follow the order of the categories' ids, without gaps. A listed image without
annotations is an image without objects (a negative); an image that no file lists is not
used, unless it is in `unlabelled_images`.
"""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mkd_tf.checks import fail
from mkd_tf.data.image_files import IMAGE_SUFFIXES, Scan, measure_image, scan_image
from mkd_tf.data.sources.coco_file import CocoFile, CocoImage, read_coco_file
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
from mkd_tf.data.sources.file_dataset import ALL, FileDataset

Source = str | os.PathLike[str]
ScanFunction = Callable[[Path], Scan]
# An image that several files list belongs to the first of these: the split furthest from training.
_PRECEDENCE = ("test", "validation", "train")
_NUMBERING = "Images and annotations go by their ids, other files by their paths."


class CocoJson(FileDataset):
    """Images in folders and COCO instances annotations in one file, or in one for each split.

    Args:
      images: the folder that the file names in `annotations` are relative to.
      annotations: the file of all images, or of train if others are given.
      validation_annotations, test_annotations: files of their own. With one of them,
        `annotations` is train; validation is taken out of train if only test is given.
      validation_images, test_images: their folders; by default `images`.
      unlabelled_images: a folder of images without labels, without its subfolders; images
        that an annotation file lists are left out.
      check_images: True decodes every image, JPEG at an eighth of its size, which finds
        damaged images and near-copies. False reads headers alone, which saves minutes on
        a set of 100,000 images: damaged ones then fail in training, and near-copies are
        not found.
      **options: of `FileDataset`.

    Raises:
      MkdError: as `FileDataset`; for a file that is not a COCO instances file, or files
        that differ in their categories.
    """

    def __init__(
        self,
        images: Source,
        annotations: Source,
        *,
        validation_images: Source | None = None,
        validation_annotations: Source | None = None,
        test_images: Source | None = None,
        test_annotations: Source | None = None,
        unlabelled_images: Source | None = None,
        check_images: bool = True,
        **options: Any,
    ):
        super().__init__(**options)
        folders, files = _sources(
            train=(images, annotations),
            validation=(validation_images, validation_annotations),
            test=(test_images, test_annotations),
        )
        where = f"coco_json {files['train'].path}"
        self.name = files["train"].path.stem
        self.class_names = _class_names(files)

        scan = scan_image if check_images else measure_image
        examples, problems = _examine(files, folders, scan)
        unlabelled: list[Example] = []
        if unlabelled_images is not None:
            folder = existing_folder("unlabelled_images", unlabelled_images)
            listed = {(folders[s] / i.file_name).resolve() for s in files for i in files[s].images}
            paths = [p for p in visible_files(folder, IMAGE_SUFFIXES) if p.resolve() not in listed]
            found, more = survey([_unlabelled_job(path, scan) for path in paths])
            unlabelled = [example for example in found if example]
            problems += more
        self.report(where, problems, _NUMBERING)
        if examples["train"] and not any(e.objects for found in examples.values() for e in found):
            fail(where, expected="annotated objects", got="none", do="Annotate some objects.")
        labelled = {ALL: examples["train"]} if len(files) == 1 else examples
        self.assign_splits(where, labelled, unlabelled)


def _sources(**given: tuple[Source | None, Source | None]) -> tuple[dict[str, Path], dict[str, CocoFile]]:
    """Returns the folder and the file of each split that has one, from (folder, file) by split."""
    folders: dict[str, Path] = {}
    paths: dict[str, Path] = {}
    for split, (folder, file) in given.items():
        if file is not None:
            folders[split] = (
                folders["train"] if folder is None else existing_folder(f"{split} images", folder)
            )
            paths[split] = Path(file).expanduser()
        elif folder is not None:
            do = f"Pass {split}_annotations, or unlabelled_images for images without."
            fail(f"{split}_images", expected="annotations of these images", got="none", do=do)
    alike = len({path.name for path in paths.values()}) < len(paths)
    names = {s: f"{path.parent.name}/{path.name}" if alike else path.name for s, path in paths.items()}
    return folders, {split: read_coco_file(path, names[split]) for split, path in paths.items()}


def _class_names(files: Mapping[str, CocoFile]) -> tuple[str, ...]:
    train = files["train"]
    for file in files.values():
        if file.categories != train.categories:
            differing = sorted(set(train.categories.items()) ^ set(file.categories.items()))
            number, name = differing[0]
            expected, do = f"the categories of {train.path}", "Write both files with the same categories."
            got = f"a difference in {len(differing)}, such as {number}: {name!r}"
            fail(f"annotations {file.path}", expected=expected, got=got, do=do)
    return tuple(train.categories.values())


def _examine(
    files: Mapping[str, CocoFile], folders: Mapping[str, Path], scan: ScanFunction
) -> tuple[dict[str, list[Example]], list[Problem]]:
    """Returns the sound examples by split, and all problems in the order of the files."""
    problems = [problem for file in files.values() for problem in file.problems]
    owners: dict[Path, str] = {}
    splits: list[str] = []
    jobs: list[Job] = []
    for split in (s for s in _PRECEDENCE if s in files):
        name, folder = files[split].name, folders[split]
        for image in files[split].images:
            owner = owners.setdefault((folder / image.file_name).absolute(), split)
            message = f"is also in {files[owner].name}"
            problem = Problem(name, image.image_id, message, image.file_name, "image")
            if owner != split:
                problems.append(problem)
            else:
                splits.append(split)
                jobs.append((problem, functools.partial(_read_example, image, name, folder, scan)))
    found, more = survey(jobs)
    owned = [(split, example) for split, example in zip(splits, found, strict=True) if example]
    return {split: [e for s, e in owned if s == split] for split in files}, problems + more


def _read_example(
    image: CocoImage, file: str, folder: Path, scan: ScanFunction
) -> tuple[Example, list[Problem]]:
    path = _image_path(folder, image.file_name)
    seen = scanned(path, folder.parent, scan)
    check_size(image.size, seen, "the file says")
    good, bad = check_objects(image.objects, file, seen.width, seen.height, "annotation")
    return Example(image.file_name, path, seen, tuple(good)), bad


def _unlabelled_job(path: Path, scan: ScanFunction) -> Job:
    def read() -> tuple[Example, list[Problem]]:
        return Example(path.name, path, scanned(path, path.parent.parent, scan)), []

    return Problem(path.name, None, ""), read


def _image_path(folder: Path, file_name: str) -> Path:
    """Returns the path of an image; a path out of the folder is never opened."""
    windows = PureWindowsPath(file_name)  # knows / and \\ and drives
    if windows.anchor or PurePosixPath(file_name).is_absolute() or ".." in windows.parts:
        raise BadExample("its file_name leads out of the folder")
    path = folder / file_name
    if not path.is_file():
        raise BadExample(f"no image {file_name} in {folder.name}/")
    return path
