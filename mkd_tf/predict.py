"""Draws what a model detects: `python -m mkd_tf.predict --model=PATH --input=FOLDER --output=FOLDER`.

It writes one PNG per image, and `detections.json` with all boxes; or COCO results, which
teach another network and are evaluated by other tools. Examples:

    mkd predict --model=runs/mine/student/best.keras --input=images --output=drawn
    mkd predict --model=student_int8.tflite --input=cat.jpg --output=drawn --score_threshold=0.5
    mkd predict --model=runs/mine/student/best.keras --input=images --output=found --format=coco
"""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from mkd_tf import flags
from mkd_tf.checks import MkdError, check_fraction
from mkd_tf.conversion import format_endings
from mkd_tf.options import DEFAULT_SCORE, FITS, Options, option


@dataclasses.dataclass(frozen=True)
class PredictOptions(Options):
    """Which model draws on which images."""

    model: str = option("", f"A model's file: {', '.join(['.keras', *format_endings()])}.", needs="a path")
    input: str = option("", "An image or a folder of images.", needs="a path")
    output: str = option("", "Folder for the drawn images.", needs="a path")
    score_threshold: float | None = option(
        None,
        "Lowest score that is drawn; empty for the model's operating point (coco: for all detections).",
        check=check_fraction,
    )
    fit: str = option(
        "",
        "How images are brought to the input; empty for the fit that the model was trained with.",
        choices=FITS,
    )
    format: str = option(
        "drawn", "drawn: images and detections.json; coco: predictions.json alone.", choices=("coco",)
    )


def trained_fit(model: str) -> str:
    """Returns the fit that a work directory's model was trained with; stretch for other files."""
    # Not parents[1], which a file in the root folder has not.
    workdir = Path(model).resolve().parent.parent
    stored = (workdir / "flags.cfg").is_file()
    return flags.stored_config(str(workdir)).data.fit if stored else FITS[0]


def own_point(runner: Any, model: str) -> tuple[float, str]:
    """Returns the score from which on a model's detections are drawn, and how it was chosen.

    A `.keras` file and an exported file hold their operating points; that of an exported file of before
    is in the manifest beside it.
    """
    from mkd_tf.deployment.manifest import read_manifest

    point = getattr(runner, "operating_point", None)
    path = Path(model)
    # A manifest.json of something else says nothing of the model.
    with contextlib.suppress(MkdError):
        entry = read_manifest(path.parent)["files"].get(path.name)
        point = point or (entry and entry["recommended_score_threshold"])
    if point is None:
        return DEFAULT_SCORE, "a default: the model has no operating point"
    return point["value"], point["chosen"]


def main(options: PredictOptions) -> None:
    """Writes one PNG per image and `detections.json`, or COCO results."""
    from mkd_tf import import_public
    from mkd_tf.conversion.model_files import load_runner
    from mkd_tf.evaluation.console import make_console, say
    from mkd_tf.evaluation.predicting import predict_folder

    import_public()
    runner = load_runner(options.model)
    # Files of some formats hold the fit; it is valid wherever the file lies.
    fit = options.fit or getattr(runner, "fit", "") or trained_fit(options.model)
    threshold, console = options.score_threshold, make_console()
    if options.format == "coco":
        from mkd_tf.teachers.labelling import write_results

        failed = write_results(runner, options.model, fit, options.input, options.output, threshold, console)
        if failed:
            raise MkdError(f"{len(failed)} images could not be read; the others are written. See above.")
        return
    if threshold is None:
        threshold, chosen = own_point(runner, options.model)
        say(console, f"score threshold {threshold:g}: {chosen}")
    failed = predict_folder(runner, options.input, options.output, threshold, fit, console)
    if failed:
        raise MkdError(f"{len(failed)} images could not be read; the others are drawn. See above.")


def console() -> None:
    """Runs the program on `sys.argv`."""
    flags.run(main, PredictOptions, about=__doc__)


if __name__ == "__main__":
    console()
