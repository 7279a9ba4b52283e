"""Labels a folder with a teacher: `python -m mkd_tf.label --teacher=PATH --input=FOLDER --output=FOLDER`.

It writes COCO, Pascal VOC and YOLO files for an annotation tool. The teacher is a `.keras` or
exported file, or any teacher that answers with detections. Examples:

    mkd label --teacher=runs/mine/teacher/best.keras --input=images --output=labels
    mkd label --teacher="onnx(path='yolo26n.onnx', outputs='yolo26')" --input=images --output=labels
    mkd label --teacher="detections(path='predictions.json')" --input=images --output=labels --formats=yolo
"""

import dataclasses
import re

from mkd_tf import flags
from mkd_tf.checks import MkdError, check_fraction, fail
from mkd_tf.options import DEFAULT_SCORE, FITS, Options, option
from mkd_tf.predict import own_point, trained_fit

FORMATS = ("coco", "voc", "yolo")


@dataclasses.dataclass(frozen=True)
class LabelOptions(Options):
    """Which teacher labels which images."""

    teacher: str = option(
        "",
        "A .keras, .tflite or .onnx file of mkd_tf, or specs as in docs/teachers.md.",
        needs="a teacher",
    )
    input: str = option("", "An image or a folder of images.", needs="a path")
    output: str = option("", "Folder for the labels.", needs="a path")
    formats: str = option(
        ",".join(FORMATS), "Formats of the labels, of coco, voc and yolo.", needs="a format"
    )
    score_threshold: float | None = option(
        None,
        f"Lowest score of a label; empty for the model's operating point, or {DEFAULT_SCORE}.",
        check=check_fraction,
    )
    class_map: str = option("", 'New names of classes, as in "car=vehicle, truck=vehicle".')
    classes: str = option(
        "", "Classes of the labels, separated by commas; others are dropped; empty for all."
    )
    views: str = option("none", "A second view of each image.", choices=("flip", "half_turn"))
    fit: str = option(
        "",
        "How images are brought to the input of a file of mkd_tf; empty for that of its training.",
        choices=FITS,
    )


def main(options: LabelOptions) -> None:
    """Writes files of labels."""
    from mkd_tf import import_public
    from mkd_tf.evaluation.console import make_console, say
    from mkd_tf.teachers import build_teacher, parse_class_map
    from mkd_tf.teachers.combined import Viewed
    from mkd_tf.teachers.labelling import label_folder
    from mkd_tf.teachers.own import RunnerTeacher

    formats = [part.strip() for part in options.formats.split(",") if part.strip()]
    for name in formats:
        if name not in FORMATS:
            fail("formats", expected=f"some of {', '.join(FORMATS)}", got=repr(name), do="Correct --formats.")
    explicit = parse_class_map(options.class_map)
    import_public()
    console, threshold = make_console(), options.score_threshold
    spec, file = teacher_spec(options.teacher, options.fit)
    teacher = build_teacher(spec)
    if isinstance(teacher, RunnerTeacher) and file:
        if not options.fit and not getattr(teacher.runner, "fit", ""):
            teacher.fit = trained_fit(file)
        threshold, chosen = own_point(teacher.runner, file) if threshold is None else (threshold, "given")
    elif threshold is None:
        threshold, chosen = DEFAULT_SCORE, f"a default: {teacher.name} has no operating point"
    if options.score_threshold is None:
        say(console, f"score threshold {threshold:g}: {chosen}")
    if options.views != "none":
        teacher = Viewed(teacher, options.views)
    for line in teacher.notes():
        say(console, f"teacher {teacher.name}: {line}")
    classes = [part.strip() for part in options.classes.split(",") if part.strip()]
    done = label_folder(
        teacher,
        options.input,
        options.output,
        formats,
        threshold,
        classes=classes,
        explicit=explicit,
        console=console,
    )
    say(console, f"{done.objects} objects in {done.images} images: {options.output}")
    if done.unknown:
        few = ", ".join(done.unknown[:5])
        console.print(
            f"not labelled, the teacher does not know them: {len(done.unknown)} ({few})", markup=False
        )
    if done.failed:
        raise MkdError(f"{len(done.failed)} images could not be read; the others are labelled. See above.")


def teacher_spec(teacher: str, fit: str) -> tuple[str, str]:
    """Returns the spec of a teacher, and its file if it is a file of mkd_tf by its ending."""
    kind = re.fullmatch(r"\s*([^()]+\.(keras|tflite|onnx))\s*", teacher)
    if kind is None:
        if fit:
            fail("fit", expected="nothing beside specs", got=fit, do="Write fit= or resize= into the spec.")
        return teacher, ""
    return f"{kind[2]}(path={kind[1]!r}, fit={fit!r})", kind[1]


def console() -> None:
    """Runs the program on `sys.argv`."""
    flags.run(main, LabelOptions, about=__doc__)


if __name__ == "__main__":
    console()
