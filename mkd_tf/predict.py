"""Draws what a model sees: `python -m mkd_tf.predict --model=PATH --input=FOLDER --output=FOLDER`."""

from pathlib import Path

from mkd_tf import flags
from mkd_tf.checks import MkdError, fail
from mkd_tf.conversion.model_files import RUNNERS, load_runner
from mkd_tf.conversion.onnx.runner import OnnxRunner
from mkd_tf.evaluation.predicting import predict_folder
from mkd_tf.evaluation.results import make_console


def trained_fit(model: str) -> str:
    """Returns how images were fitted when a work directory's model was trained; stretch for others."""
    # Not parents[1], which a file in the root folder has not.
    workdir = Path(model).resolve().parent.parent
    stored = (workdir / "flags.cfg").is_file()
    return flags.stored_config(str(workdir)).data.fit if stored else "stretch"


def main() -> None:
    """Writes one PNG per image and `detections.json`."""
    for name in ("model", "input", "output"):
        if not flags.value(name):
            fail(f"flag --{name}", expected="a path", got="nothing", do=f"Give --{name}=...")
    runner = load_runner(flags.value("model"))
    fit = flags.value("fit")
    if not fit:
        # An ONNX file says itself how its model saw images, wherever it lies.
        fit = runner.fit if isinstance(runner, OnnxRunner) else trained_fit(flags.value("model"))
    outcome = predict_folder(
        runner,
        flags.value("input"),
        flags.value("output"),
        score_threshold=flags.value("score_threshold"),
        fit=fit,
        console=make_console(),
    )
    if outcome.failed:
        raise MkdError(f"{len(outcome.failed)} images could not be read; the others are drawn. See above.")


def console() -> None:
    """The console script `mkd-predict`."""
    flags.define("model", "", f"A model's file: {', '.join(RUNNERS)}.")
    flags.define("input", "", "An image or a folder of images.")
    flags.define("output", "", "Folder for the drawn images.")
    flags.define("score_threshold", 0.3, "Lowest score that is drawn.")
    flags.define("fit", "", "stretch or letterbox; empty for the one the model was trained with.")
    flags.run(main)


if __name__ == "__main__":
    console()
