"""Measures a model: `python -m mkd_tf.evaluate --workdir=runs/quickstart --model=student --split=test`.

Examples:

    mkd evaluate --workdir=runs/mine --model=teacher --split=validation
    mkd evaluate --workdir=runs/mine --model=runs/mine/export/student_int8.tflite --output=ap.json
    mkd evaluate --model=student_int8.tflite --dataset="coco_json(path='images')"

An exported file first says what it is: version, source, fit, threshold, labels. It needs no work directory.
"""

import dataclasses
from pathlib import Path

from mkd_tf import flags
from mkd_tf.checks import fail
from mkd_tf.options import FITS, Options, option


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(Options):
    """Which model is measured, and on what."""

    workdir: str = option("runs/default", "Work directory of the training run.")
    model: str = option("student", "A role of the run, as student or teacher, or the path of a model's file.")
    split: str = option("test", "Which split of the data set.")
    dataset: str = option("", "Another data set than the run's, with the same classes.")
    fit: str = option("", "How images are brought to the input; empty for the run's fit.", choices=FITS)
    output: str = option("", "A JSON file for the metrics.")


def main(options: EvaluateOptions) -> None:
    """Evaluates and prints; with `output` also writes JSON."""
    from mkd_tf import import_public, schemas
    from mkd_tf.config import DataConfig
    from mkd_tf.conversion.model_files import find_model, load_runner
    from mkd_tf.data import open_dataset
    from mkd_tf.evaluation.console import make_console, say
    from mkd_tf.evaluation.evaluating import evaluate_model, print_metrics
    from mkd_tf.schemas.training import EvaluationFile
    from mkd_tf.training.workdir import FLAGS_FILE

    import_public()
    console = make_console()
    is_alone = Path(options.model).is_file() and not Path(options.workdir, FLAGS_FILE).is_file()
    data = DataConfig() if is_alone else flags.stored_config(options.workdir).data
    path = find_model(options.workdir, options.model)
    runner = load_runner(path)
    facts = getattr(runner, "facts", None)
    for line in facts.lines() if facts else ():
        say(console, line)
    if is_alone and not options.dataset:
        # Not before: what the file says is told whether there are images or not.
        do = "Give --dataset, or the --workdir of the run."
        fail(f"evaluate {path}", expected="a data set", got=f"none, and no run in {options.workdir}", do=do)
    name = options.dataset or data.dataset
    dataset = open_dataset(data, name)
    # An exported file knows how its network was trained to see images.
    fit = options.fit or getattr(runner, "fit", "") or data.fit
    metrics = evaluate_model(runner, dataset, options.split, fit, console)
    print_metrics(metrics, f"{path} on {options.split} of {name}", console)
    if options.output:
        found: EvaluationFile = {"model": str(path), "dataset": name, "split": options.split, **metrics}
        schemas.write(options.output, found, EvaluationFile)


def console() -> None:
    """Runs the program on `sys.argv`."""
    flags.run(main, EvaluateOptions, about=__doc__)


if __name__ == "__main__":
    console()
