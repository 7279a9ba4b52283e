"""Draws what a model sees: `python -m mkd_tf.predict --model=PATH --input=FOLDER --output=FOLDER`."""

from pathlib import Path

from rich.console import Console

from mkd_tf import flags
from mkd_tf.checks import MkdError, fail
from mkd_tf.detectors.files import load_detector
from mkd_tf.evaluation.predicting import predict_folder


def trained_fit(model: str) -> str:
    """Returns how pictures were fitted when a work directory's model was trained; stretch for others."""
    workdir = Path(model).resolve().parents[1]
    stored = (workdir / "flags.cfg").is_file()
    return flags.stored_config(str(workdir)).data.fit if stored else "stretch"


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
        fit=flags.value("fit") or trained_fit(flags.value("model")),
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
    flags.define("fit", "", "stretch or letterbox; empty for the one the model was trained with.")
    flags.run(main)


if __name__ == "__main__":
    console()
