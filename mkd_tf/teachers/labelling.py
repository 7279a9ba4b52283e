"""Labels a folder of images with a teacher: the body of `mkd label` and `mkd predict --format=coco`."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from mkd_tf.checks import MkdError, check_fraction, check_one_of
from mkd_tf.data.image_files import measure_image, read_image
from mkd_tf.evaluation.console import say
from mkd_tf.evaluation.predicting import find_images
from mkd_tf.evaluation.runners import Runner
from mkd_tf.options import LOWEST_SCORE
from mkd_tf.schemas.training import Failure
from mkd_tf.teachers.base import OutputsTeacher, TeacherImage
from mkd_tf.teachers.class_map import ClassMap, map_classes
from mkd_tf.teachers.label_files import RESULTS, WRITERS
from mkd_tf.teachers.own import RunnerTeacher


@dataclasses.dataclass
class Labelled:
    """What was labelled.

    Attributes:
      images: how many images have labels, or none because nothing is in them.
      objects: how many objects they have.
      unknown: names of images of which the teacher says nothing; they are not written.
      failed: images that could not be read.
    """

    images: int = 0
    objects: int = 0
    unknown: list[str] = dataclasses.field(default_factory=list)
    failed: list[Failure] = dataclasses.field(default_factory=list)


def folder_image(path: Path, needs_pixels: bool) -> TeacherImage:
    """Returns an image of a folder; it is decoded at once if pixels are needed.

    Raises:
      MkdError: if it cannot be read.
    """
    if not needs_pixels:
        scan = measure_image(path)
        return TeacherImage(path.name, path.name, (scan.height, scan.width), lambda: read_image(path))
    pixels = read_image(path)
    return TeacherImage(path.name, path.name, (pixels.shape[0], pixels.shape[1]), lambda: pixels)


def target_classes(
    teacher: OutputsTeacher, classes: Sequence[str], explicit: dict[str, str]
) -> tuple[tuple[str, ...], ClassMap]:
    """Returns the classes of the labels and the map to them.

    Args:
      teacher: whose classes are mapped.
      classes: the classes of the labels; empty for all of the teacher's, under their new names.
      explicit: new names, see `class_map.parse_class_map`.
    """
    if not classes:
        classes = list(dict.fromkeys(explicit.get(name, name) for name in teacher.class_names))
    return tuple(classes), map_classes(teacher.class_names, classes, explicit)


def write_results(
    runner: Runner,
    model: str,
    fit: str,
    input_path: str | Path,
    output_dir: str | Path,
    score_threshold: float | None,
    console: Console,
) -> list[Failure]:
    """Writes what a runner detects in images as COCO results, with the list of these images.

    Args:
      runner: of the model.
      model: its file.
      fit: how images are fitted to it.
      input_path, output_dir, console: as of `label_folder`.
      score_threshold: detections below it are left out; None for all that the runner gives.

    Returns:
      The images that could not be read, which are not in the list.
    """
    teacher = RunnerTeacher(runner, Path(model).stem, fit, "")
    threshold = LOWEST_SCORE if score_threshold is None else score_threshold
    done = label_folder(teacher, input_path, output_dir, ["results"], threshold, console=console)
    path = Path(output_dir, RESULTS)
    say(console, f"{done.objects} detections in {done.images} images: {path}")
    return done.failed


def label_folder(
    teacher: OutputsTeacher,
    input_path: str | Path,
    output_dir: str | Path,
    formats: Sequence[str],
    score_threshold: float,
    *,
    classes: Sequence[str] = (),
    explicit: dict[str, str] | None = None,
    console: Console | None = None,
) -> Labelled:
    """Writes what a teacher detects in images as files of labels; one image is in memory at a time.

    Args:
      teacher: it answers for each image.
      input_path: an image or a folder of them.
      output_dir: where the files go; made if missing.
      formats: of `label_files.WRITERS`.
      score_threshold: detections below it are left out.
      classes: of the labels, see `target_classes`.
      explicit: new names of the teacher's classes.
      console: where progress goes; standard error when None.

    Raises:
      MkdError: if there is no image, classes do not fit, or the teacher knows none of the images.
    """
    check_fraction("score_threshold", score_threshold)
    for name in formats:
        check_one_of("formats", name, tuple(WRITERS))
    names, class_map = target_classes(teacher, classes, explicit or {})
    output, done = Path(output_dir), Labelled()
    paths = find_images(input_path)
    console = console or Console(stderr=True)
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(WRITERS[name](output, names)) for name in formats]
        for path in track(paths, "Labelling", console=console):
            try:
                image = folder_image(path, teacher.needs_pixels)
            except MkdError as error:
                done.failed.append({"file": path.name, "reason": str(error)})
                say(console, f"skipped {path.name}: {error}")
                continue
            answer = teacher.detect([image])[0]
            if answer is None:
                done.unknown.append(path.name)
                continue
            found = class_map.apply(answer).above(score_threshold)
            done.images, done.objects = done.images + 1, done.objects + len(found)
            for append in writers:
                append(image, found)
        if not done.images:
            few = ", ".join((done.unknown or [f["file"] for f in done.failed])[:3])
            raise MkdError(
                f"labels of {input_path}: expected images that the teacher {teacher.name} knows, got none "
                f"of {len(paths)} ({few}, ...). Give predictions of these images, or their list with images=."
            )
    for line in class_map.notes():
        say(console, line)
    return done
