"""Draws what a model detects: `python -m mkd_tf.predict --model=PATH --input=FOLDER --output=FOLDER`.

It writes one PNG per image, and `detections.json` with all boxes. Examples:

    mkd predict --model=runs/mine/student/best.keras --input=images --output=drawn
    mkd predict --model=student_int8.tflite --input=cat.jpg --output=drawn --score_threshold=0.5
"""

import dataclasses
from pathlib import Path

from mkd_tf import flags
from mkd_tf.checks import MkdError, check_fraction
from mkd_tf.conversion import format_endings
from mkd_tf.options import FITS, Options, option


@dataclasses.dataclass(frozen=True)
class PredictOptions(Options):
    """Which model draws on which images."""

    model: str = option("", f"A model's file: {', '.join(['.keras', *format_endings()])}.", needs="a path")
    input: str = option("", "An image or a folder of images.", needs="a path")
    output: str = option("", "Folder for the drawn images.", needs="a path")
    score_threshold: float = option(0.3, "Lowest score that is drawn.", check=check_fraction)
    fit: str = option(
        "",
        "How images are brought to the input; empty for the fit that the model was trained with.",
        choices=FITS,
    )


def trained_fit(model: str) -> str:
    """Returns the fit that a work directory's model was trained with; stretch for other files."""
    # Not parents[1], which a file in the root folder has not.
    workdir = Path(model).resolve().parent.parent
    stored = (workdir / "flags.cfg").is_file()
    return flags.stored_config(str(workdir)).data.fit if stored else FITS[0]


def main(options: PredictOptions) -> None:
    """Writes one PNG per image and `detections.json`."""
    from mkd_tf import import_public
    from mkd_tf.conversion.model_files import load_runner
    from mkd_tf.evaluation.predicting import predict_folder
    from mkd_tf.evaluation.results import make_console

    import_public()
    runner = load_runner(options.model)
    # Files of some formats hold the fit; it is valid wherever the file lies.
    fit = options.fit or getattr(runner, "fit", "") or trained_fit(options.model)
    outcome = predict_folder(
        runner, options.input, options.output, options.score_threshold, fit, make_console()
    )
    if outcome.failed:
        raise MkdError(f"{len(outcome.failed)} images could not be read; the others are drawn. See above.")


def console() -> None:
    """Runs the program on `sys.argv`."""
    flags.run(main, PredictOptions, about=__doc__)


if __name__ == "__main__":
    console()
