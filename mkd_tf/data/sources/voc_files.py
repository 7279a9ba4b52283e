"""The files of a VOC folder: which there are, which belong together, which are sound."""

from collections.abc import Collection
from pathlib import Path, PureWindowsPath

from mkd_tf.checks import MkdError, fail
from mkd_tf.data.image_files import IMAGE_SUFFIXES, scan_image
from mkd_tf.data.sources.examples import BadAnnotation, Example, Problem, check_objects, check_size, survey
from mkd_tf.data.sources.voc_annotation import read_annotation

_LAYOUT = "Put images into JPEGImages and VOC XML files into Annotations, or both into one folder."


class VocFiles:
    """The annotation and image files of a folder, by name without suffix.

    Nothing outside the folder is read: images are looked up among those listed
    here, never opened by what an annotation or a list says.

    Args:
      root: holds `Annotations` and `JPEGImages`, or all files directly.

    Raises:
      MkdError: if the folder does not exist or holds no annotation or no image.
    """

    def __init__(self, root: Path):
        self.root = root
        if not root.is_dir():
            got = "a file" if root.exists() else "nothing there"
            fail(f"voc_folder {root}", expected="a folder", got=got, do="Correct path.")
        self.annotations: dict[str, Path] = {}
        self.images: dict[str, list[Path]] = {}
        for path in _visible_files(_folder(root, "Annotations")):
            if path.suffix.lower() == ".xml":
                self.annotations[path.stem] = path
        self._image_folder = _folder(root, "JPEGImages")
        for path in _visible_files(self._image_folder):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                self.images.setdefault(path.stem, []).append(path)
        for what, found in (("annotations", self.annotations), ("images", self.images)):
            if not found:
                fail(f"voc_folder {root}", expected=f"some {what}", got="none", do=_LAYOUT)

    def relative(self, path: Path) -> str:
        """Returns how problems call a file."""
        return path.relative_to(self.root).as_posix()

    def image(self, name: str, filename: str | None = None) -> Path:
        """Returns the image of a name, or where there is none the one called `filename`.

        Raises:
          BadAnnotation: if there is none or one cannot tell which.
        """
        found = self.images.get(name, [])
        if not found and filename:
            if filename != PureWindowsPath(filename).name:  # knows / and \\ and drives
                raise BadAnnotation(f"no image {name}.*, and <filename> {filename!r} leads elsewhere")
            stem = Path(filename).stem
            found = self.images.get(stem, []) if stem not in self.annotations else []
        if len(found) > 1:
            found = [path for path in found if path.name == filename] or found
        if len(found) > 1:
            raise BadAnnotation(f"several images of one name: {', '.join(path.name for path in found)}")
        if not found:
            raise BadAnnotation(f"no image {name}.* in {self.relative(self._image_folder)}/")
        return found[0]


def examine(
    files: VocFiles, labelled: Collection[str], unlabelled: Collection[str], classes: Collection[str] | None
) -> tuple[dict[str, Example], list[Problem]]:
    """Reads annotations and decodes every image once.

    Args:
      files: of the folder.
      labelled: names with an annotation that counts.
      unlabelled: names of which only the image counts.
      classes: which there may be; None for any.

    Returns:
      The sound images by name, and all problems, both in the order of the names.
    """

    def one(job: tuple[str, bool]) -> tuple[Example | None, list[Problem]]:
        name, is_labelled = job
        return _examine_labelled(files, name, classes) if is_labelled else _examine_image(files, name)

    jobs = [(name, True) for name in sorted(labelled)] + [(name, False) for name in sorted(unlabelled)]
    examples: dict[str, Example] = {}
    problems: list[Problem] = []
    for (name, _), (example, found) in zip(jobs, survey(one, jobs), strict=True):
        problems += found
        if example:
            examples[name] = example
    return examples, problems


def _examine_image(files: VocFiles, name: str) -> tuple[Example | None, list[Problem]]:
    try:
        path = files.image(name)
        return Example(name, path, scan_image(path)), []
    except BadAnnotation as error:
        return None, [Problem(name, None, str(error))]
    except MkdError as error:
        return None, [_image_problem(files, path, error)]


def _examine_labelled(
    files: VocFiles, name: str, classes: Collection[str] | None
) -> tuple[Example | None, list[Problem]]:
    annotation_path = files.annotations[name]
    file = files.relative(annotation_path)
    path = annotation_path
    try:
        annotation = read_annotation(annotation_path, file)
        path = files.image(name, annotation.filename)
        scan = scan_image(path)
        check_size(annotation.size, scan, "<size> says")
    except BadAnnotation as error:
        return None, [Problem(file, None, str(error))]
    except MkdError as error:
        return None, [_image_problem(files, path, error)]
    good, bad = check_objects(annotation.objects, file, scan.width, scan.height)
    problems = [*annotation.problems, *bad]
    if classes is not None:
        strange = [item for item in good if item.name not in classes]
        problems += [Problem(file, i.index, "class is not among those given", i.name) for i in strange]
        good = [item for item in good if item.name in classes]
    problems.sort(key=lambda problem: int(problem.object_index or 0))
    return Example(name, path, scan, tuple(good)), problems


def _image_problem(files: VocFiles, path: Path, error: MkdError) -> Problem:
    return Problem(files.relative(path), None, str(error).removeprefix(f"image {path}: "))


def _folder(root: Path, name: str) -> Path:
    return root / name if (root / name).is_dir() else root


def _visible_files(folder: Path) -> list[Path]:
    """Lists files by name; hidden ones are leftovers of file managers (`._a.xml`)."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
