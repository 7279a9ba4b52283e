"""`coco_json`: a user's own images with COCO instances annotations.

    images/a.jpg   instances.json                        split by seed
    train2017/  instances_train2017.json  val2017/  instances_val2017.json  unlabeled2017/

Labels follow the order of the categories' ids, without gaps. A listed image without
annotations is an image without objects (a negative); an image that no file lists is not
used, unless it is in `unlabelled_images`.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mkd_tf.checks import fail
from mkd_tf.data.image_files import IMAGE_SUFFIXES, Scan, measure_image, scan_image
from mkd_tf.data.sources.coco_categories import joined_classes
from mkd_tf.data.sources.coco_file import CocoFile, CocoImage, read_coco_file
from mkd_tf.data.sources.examples import Example, Job, existing_folder, scanned, survey
from mkd_tf.data.sources.file_dataset import ALL, FileDataset
from mkd_tf.data.sources.finishing import finish_example
from mkd_tf.data.sources.layouts import coco_layouts
from mkd_tf.data.sources.notices import BadExample, Notices, Problem
from mkd_tf.data.sources.paths import ImageFolder, name_unused, visible_tree
from mkd_tf.data.sources.values import box_fault
from mkd_tf.data.tree import Found, Tree

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
      unlabelled_images: a folder of images without labels, with its sub-folders; images
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

    @classmethod
    def recognise(cls, tree: Tree) -> list[Found]:
        return coco_layouts(tree)

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
            self.collector,
            train=(images, annotations),
            validation=(validation_images, validation_annotations),
            test=(test_images, test_annotations),
        )
        where = f"coco_json {files['train'].path}"
        self.name = files["train"].path.stem
        categories = {split: file.categories for split, file in files.items()}
        paths = {split: file.path for split, file in files.items()}
        self.class_names = joined_classes(categories, paths, self.collector)

        scan = scan_image if check_images else measure_image
        rows = _rows(files, folders, self.collector)
        examples, problems = _examine(rows, files, folders, scan, self.collector)
        unlabelled: list[Example] = []
        used = {row.path for row in rows if isinstance(row.path, Path)}
        if unlabelled_images is not None:
            bare = ImageFolder(existing_folder("unlabelled_images", unlabelled_images), self.collector)
            listed = {path.resolve() for path in used}
            free = [path for path in bare.images() if path.resolve() not in listed]
            found, more = survey([_unlabelled_job(path, bare, scan) for path in free])
            unlabelled = [example for example in found if example]
            problems += more
            used |= set(free)
        _name_unlisted(folders, used | set(paths.values()), self.collector)
        hint = _corners(files.values(), self.collector) if problems else ""
        self.report(where, problems, f"{_NUMBERING}{hint}")
        if examples["train"] and not any(e.objects for found in examples.values() for e in found):
            fail(where, expected="annotated objects", got="none", do="Annotate some objects.")
        labelled = {ALL: examples["train"]} if len(files) == 1 else examples
        self.assign_splits(where, labelled, unlabelled)


@dataclasses.dataclass(frozen=True)
class _Row:
    """An image of a file: its split, what was read, its path or why it has none."""

    split: str
    image: CocoImage
    path: Path | BadExample


def _sources(
    notices: Notices, **given: tuple[Source | None, Source | None]
) -> tuple[dict[str, ImageFolder], dict[str, CocoFile]]:
    """Returns the folder and the file of each split that has one, from (folder, file) by split."""
    folders: dict[str, ImageFolder] = {}
    paths: dict[str, Path] = {}
    for split, (folder, file) in given.items():
        if file is not None:
            own = None if folder is None else existing_folder(f"{split} images", folder)
            folders[split] = folders["train"] if own is None else ImageFolder(own, notices)
            paths[split] = Path(file).expanduser()
        elif folder is not None:
            do = f"Pass {split}_annotations, or unlabelled_images for images without."
            fail(f"{split}_images", expected="annotations of these images", got="none", do=do)
    alike = len({path.name for path in paths.values()}) < len(paths)
    names = {s: f"{path.parent.name}/{path.name}" if alike else path.name for s, path in paths.items()}
    return folders, {split: read_coco_file(path, names[split], notices) for split, path in paths.items()}


def _rows(files: Mapping[str, CocoFile], folders: Mapping[str, ImageFolder], notices: Notices) -> list[_Row]:
    """Returns the images of all files, rows of one file that mean the same image as one."""
    rows: dict[tuple[str, object], _Row] = {}
    for split in (s for s in _PRECEDENCE if s in files):
        for image in files[split].images:
            path = _located(image, folders[split])
            key = (split, path if isinstance(path, Path) else image.image_id)
            if (first := rows.get(key)) is None:
                rows[key] = _Row(split, image, path)
                continue
            message = "images that are listed several times are one, with the objects of all rows"
            notices.add("merged", files[split].name, message, image.file_name)
            both = dataclasses.replace(
                first.image,
                size=first.image.size or image.size,
                objects=first.image.objects + image.objects,
                lost=first.image.lost + image.lost,
            )
            rows[key] = dataclasses.replace(first, image=both)
    return list(rows.values())


def _located(image: CocoImage, folder: ImageFolder) -> Path | BadExample:
    try:
        return folder.find(image.file_name)
    except BadExample as error:
        return error


def _examine(
    rows: list[_Row],
    files: Mapping[str, CocoFile],
    folders: Mapping[str, ImageFolder],
    scan: ScanFunction,
    notices: Notices,
) -> tuple[dict[str, list[Example]], list[Problem]]:
    """Returns the sound examples by split, and all problems in the order of the files."""
    problems = [problem for file in files.values() for problem in file.problems]
    owners: dict[Path, str] = {}
    splits: list[str] = []
    jobs: list[Job] = []
    for row in rows:
        file, image = files[row.split], row.image
        owner = owners.setdefault(row.path, row.split) if isinstance(row.path, Path) else row.split
        problem = Problem(
            file.name, image.image_id, f"is also in {files[owner].name}", image.file_name, "image"
        )
        if owner != row.split:
            problems.append(problem)
        else:
            splits.append(row.split)
            read = functools.partial(_read_example, row, file, folders[row.split], scan, notices)
            jobs.append((problem, read))
    found, more = survey(jobs)
    owned = [(split, example) for split, example in zip(splits, found, strict=True) if example]
    return {split: [e for s, e in owned if s == split] for split in files}, problems + more


def _corners(files: Iterable[CocoFile], notices: Notices) -> str:
    """Returns a sentence for files whose boxes fit their images as corners alone, and adds a notice."""
    found = ""
    for file in files:
        sized = [(item.box, image.size) for image in file.images if image.size for item in image.objects]
        beyond = sum(box_fault(box, *size) is not None for box, size in sized)
        corners = [((x0, y0, x1 - x0, y1 - y0), size) for (x0, y0, x1, y1), size in sized]
        if beyond and not any(box_fault(box, *size) for box, size in corners):
            message = (
                f"{beyond} of {len(sized)} boxes leave their images, and all fit as xmin, ymin, xmax, ymax"
            )
            notices.add("suspect", file.name, f"{message}; COCO's are x, y, width, height")
            found = f" {file.name}: {message}, while COCO's are x, y, width, height."
    return found


def _read_example(
    row: _Row, file: CocoFile, folder: ImageFolder, scan: ScanFunction, notices: Notices
) -> tuple[Example, list[Problem]]:
    if isinstance(row.path, BadExample):
        raise row.path
    image, path = row.image, row.path
    return finish_example(
        folder.relative(path),
        path,
        scanned(path, folder.folder.parent, scan),
        image.objects,
        file=file.name,
        notices=notices,
        kind="annotation",
        size=image.size,
        lost=image.lost,
        are_fractions=file.are_fractions,
    )


def _unlabelled_job(path: Path, folder: ImageFolder, scan: ScanFunction) -> Job:
    def read() -> tuple[Example, list[Problem]]:
        return Example(folder.relative(path), path, scanned(path, folder.folder.parent, scan)), []

    return Problem(path.name, None, ""), read


def _name_unlisted(folders: Mapping[str, ImageFolder], used: set[Path], notices: Notices) -> None:
    """Adds notices of the files in the images' folders that are not read."""
    for folder in {each.folder: each for each in folders.values()}.values():
        rest = [path for path in visible_tree(folder.folder) if path not in used]
        if rest:  # they may be the used ones by another path
            known = {path.resolve() for path in used}
            rest = [path for path in rest if path.resolve() not in known]
        for path in rest:
            if path.suffix.lower() in IMAGE_SUFFIXES:
                message = "images that no annotation file lists are not used; unlabelled_images takes them"
                notices.add("unused", folder.where, message, folder.relative(path))
            else:
                name_unused([path], folder.folder.parent, notices)
