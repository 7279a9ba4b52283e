"""Draws what a model sees: `python -m mkd_tf.predict --model=PATH --input=FOLDER --output=FOLDER`."""

from rich.console import Console

from mkd_tf import flags
from mkd_tf.checks import MkdError, fail
from mkd_tf.detectors.files import load_detector
from mkd_tf.evaluation.predicting import predict_folder


def main() -> None:
    """Writes one PNG per picture and `detections.json`."""
    for name in ("model", "input", "output"):
        if not flags.value(name):
            fail(f"flag --{name}", expected="a path", got="nothing", do=f"Give --{name}=...")
    outcome = predict_folder(
        load_detector(flags.value("model")),
        flags.value("input"),
        flags.value("output"),
        score_threshold=flags.value("score_threshold"),
        fit=flags.value("fit"),
        console=Console(),
    )
    if outcome.failed:
        raise MkdError(f"{len(outcome.failed)} pictures could not be read; the others are drawn. See above.")


def console() -> None:
    """The console script `mkd-predict`."""
    flags.define("model", "", "A detector's .keras file.")
    flags.define("input", "", "A picture or a folder of pictures.")
    flags.define("output", "", "Folder for the drawn pictures.")
    flags.define("score_threshold", 0.3, "Lowest score that is drawn.")
    flags.define("fit", "stretch", "How a picture is brought to the input: stretch or letterbox.")
    flags.run(main)


if __name__ == "__main__":
    console()
