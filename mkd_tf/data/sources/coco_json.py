"""`coco_json`: a user's own images with COCO instances annotations.

    images/a.jpg   instances.json                        split by seed
    train2017/  instances_train2017.json  val2017/  instances_val2017.json  unlabeled2017/

Labels follow the categories' ids, without the gaps. An image that its file lists and
no annotation names is a negative; an image that no file lists is not used, unless it
lies in `unlabelled_images`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from mkd_tf.checks import MkdError, check_one_of, fail
from mkd_tf.data.base import Dataset, Element
from mkd_tf.data.image_files import IMAGE_SUFFIXES, measure_image, scan_image
from mkd_tf.data.sources import voc_splits
from mkd_tf.data.sources.assign_splits import ALL, assign_splits
from mkd_tf.data.sources.coco_file import CocoFile, CocoImage, read_coco_file
from mkd_tf.data.sources.examples import (
    BadAnnotation,
    Example,
    ExampleImages,
    Problem,
    check_objects,
    check_size,
    report,
    survey,
)

Source = str | os.PathLike[str]
# One of an image, in the order of who keeps an image that two files list: the one
# furthest from training.
_KEEPERS = ("test", "validation", "train")
_COUNTED = "Images and annotations go by their ids, other files by their paths."


class CocoJson(Dataset):
    """Images in folders and COCO instances annotations in one file, or in one for each split.

    Every image is decoded once at construction, at an eighth of its size where it is
    a JPEG, so that a damaged one is found before training and not in the middle of it,
    and near-copies are seen.

    Args:
      images: the folder that the file names in `annotations` are relative to.
      annotations: the file of all images, or of train where others are given.
      validation_annotations, test_annotations: files of their own. With one of them,
        `annotations` is train; validation is taken out of train where only test is given.
      validation_images, test_images: their folders; by default `images`.
      unlabelled_images: a folder of images without labels, its subfolders left alone;
        those that an annotation file lists are left out.
      split_seed: seed of what is split here.
      fractions: shares of train, validation and test, as in `voc_folder`.
      check_images: False reads headers alone, which saves minutes on a set of
        100,000 images: damaged ones then show in training, and near-copies not at all.
      drop_copies: leaves out unlabelled images that resemble one of validation or test.
      data_dir: accepted as by every data set; files are read where they are.
      on_bad_example: `fail` raises one error that lists what is wrong; `skip` leaves
        out bad objects, and images that are bad as a whole, with a warning.

    Attributes:
      problems: what is wrong, and was left out.

    Raises:
      MkdError: for bad examples, a file that is no COCO instances file, files that
        disagree in their categories, illegal arguments.
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
        split_seed: int = 0,
        fractions: Sequence[float] = (0.7, 0.15, 0.15),
        check_images: bool = True,
        drop_copies: bool = True,
        data_dir: Source | None = None,
        on_bad_example: str = "fail",
    ):
        del data_dir
        check_one_of("on_bad_example", on_bad_example, ("fail", "skip"))
        shares = voc_splits.check_fractions(fractions)
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
        bare: list[Example] = []
        if unlabelled_images is not None:
            folder = _folder("unlabelled_images", unlabelled_images)
            listed = {(folders[s] / i.file_name).resolve() for s in files for i in files[s].images}
            paths = [path for path in _images_in(folder) if path.resolve() not in listed]
            bare, more = _examine_bare(paths, folder, scan)
            problems += more
        self.problems = tuple(problems)
        report(where, self.problems, on_bad_example, _COUNTED)
        if not examples["train"]:
            fail(where, expected="usable images for train", got="none", do="Add or repair some.")
        if not any(example.objects for found in examples.values() for example in found):
            fail(where, expected="annotated objects", got="none", do="Annotate some objects.")

        labelled = {ALL: examples["train"]} if len(files) == 1 else examples
        splits = assign_splits(labelled, bare, shares, split_seed, drop_copies)
        labels = {name: label for label, name in enumerate(self.class_names)}
        self._splits = {
            split: ExampleImages(splits[split], labels, split != "unlabelled")
            for split in voc_splits.SPLITS
            if splits.get(split)
        }
        self.split_names = tuple(self._splits)

    def _split(self, name: str) -> Sequence[Element]:
        return self._splits[name]


def _sources(**given: tuple[Source | None, Source | None]) -> tuple[dict[str, Path], dict[str, CocoFile]]:
    """Returns the folder and the file of each split that has one, from (folder, file) by split."""
    folders: dict[str, Path] = {}
    paths: dict[str, Path] = {}
    for split, (folder, file) in given.items():
        if file is not None:
            folders[split] = folders["train"] if folder is None else _folder(f"{split} images", folder)
            paths[split] = Path(file).expanduser()
        elif folder is not None:
            do = f"Pass {split}_annotations, or unlabelled_images for images without."
            fail(f"{split}_images", expected="annotations of these images", got="none", do=do)
    alike = len({path.name for path in paths.values()}) < len(paths)
    names = {s: f"{path.parent.name}/{path.name}" if alike else path.name for s, path in paths.items()}
    return folders, {split: read_coco_file(path, names[split]) for split, path in paths.items()}


def _folder(where: str, folder: Source) -> Path:
    path = Path(folder).expanduser()
    if not path.is_dir():
        got = "a file" if path.exists() else "nothing there"
        fail(f"{where} {path}", expected="a folder", got=got, do="Correct the path.")
    return path


def _class_names(files: Mapping[str, CocoFile]) -> tuple[str, ...]:
    train = files["train"]
    for file in files.values():
        if file.categories != train.categories:
            differing = sorted(set(train.categories.items()) ^ set(file.categories.items()))
            number, name = differing[0]
            fail(
                f"annotations {file.path}",
                expected=f"the categories of {train.path}",
                got=f"a difference in {len(differing)}, such as {number}: {name!r}",
                do="Write both files with the same categories.",
            )
    return tuple(train.categories.values())


def _examine(files: Mapping[str, CocoFile], folders: Mapping[str, Path], scan):
    """Returns the sound examples by split, and all problems in the order of the files."""
    problems = [problem for file in files.values() for problem in file.problems]
    taken: dict[Path, str] = {}
    jobs: list[tuple[str, CocoImage]] = []
    for split in (s for s in _KEEPERS if s in files):
        for image in files[split].images:
            owner = taken.setdefault((folders[split] / image.file_name).absolute(), split)
            if owner != split:
                fault = f"is also in {files[owner].name}"
                problems.append(Problem(files[split].name, image.image_id, fault, image.file_name, "image"))
            else:
                jobs.append((split, image))

    def one(job: tuple[str, CocoImage]) -> tuple[Example | None, list[Problem]]:
        split, image = job
        return _examine_image(image, files[split].name, folders[split], scan)

    examples: dict[str, list[Example]] = {split: [] for split in files}
    for (split, _), (example, found) in zip(jobs, survey(one, jobs), strict=True):
        problems += found
        if example:
            examples[split].append(example)
    return examples, problems


def _examine_image(image: CocoImage, file: str, folder: Path, scan) -> tuple[Example | None, list[Problem]]:
    try:
        path = _image_path(folder, image.file_name)
        seen = scan(path)
        check_size(image.size, seen, "the file says")
    except BadAnnotation as error:
        return None, [Problem(file, image.image_id, str(error), image.file_name, "image")]
    except MkdError as error:
        return None, [_image_problem(path, folder, error)]
    good, bad = check_objects(image.objects, file, seen.width, seen.height, "annotation")
    return Example(image.file_name, path, seen, tuple(good)), bad


def _examine_bare(paths: Sequence[Path], folder: Path, scan) -> tuple[list[Example], list[Problem]]:
    def one(path: Path) -> Example | Problem:
        try:
            return Example(path.name, path, scan(path))
        except MkdError as error:
            return _image_problem(path, folder, error)

    found = list(survey(one, paths))
    return [f for f in found if isinstance(f, Example)], [f for f in found if isinstance(f, Problem)]


def _image_path(folder: Path, file_name: str) -> Path:
    """Returns an image's file. What leads out of the folder is never opened."""
    windows = PureWindowsPath(file_name)  # knows / and \\ and drives
    if windows.anchor or PurePosixPath(file_name).is_absolute() or ".." in windows.parts:
        raise BadAnnotation("its file_name leads out of the folder")
    path = folder / file_name
    if not path.is_file():
        raise BadAnnotation(f"no image {file_name} in {folder.name}/")
    return path


def _image_problem(path: Path, folder: Path, error: MkdError) -> Problem:
    relative = path.relative_to(folder.parent).as_posix()
    return Problem(relative, None, str(error).removeprefix(f"image {path}: "))


def _images_in(folder: Path) -> list[Path]:
    """Lists images by name; hidden files are leftovers of file managers."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(path for path in found if not path.name.startswith(".") and path.is_file())
