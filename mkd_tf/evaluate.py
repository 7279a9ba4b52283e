"""Measures a model: `python -m mkd_tf.evaluate --workdir=runs/quickstart --model=student --split=test`.

Examples:

    mkd evaluate --workdir=runs/mine --model=teacher --split=validation
    mkd evaluate --workdir=runs/mine --model=runs/mine/export/student_int8.tflite --output=ap.json
"""

import dataclasses

from mkd_tf import flags
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
    data = flags.stored_config(options.workdir).data
    from mkd_tf import import_public, schemas
    from mkd_tf.conversion.model_files import find_model, load_runner
    from mkd_tf.data import open_dataset
    from mkd_tf.evaluation.console import make_console
    from mkd_tf.evaluation.evaluating import evaluate_model, print_metrics
    from mkd_tf.schemas.training import EvaluationFile

    import_public()
    path, console = find_model(options.workdir, options.model), make_console()
    name = options.dataset or data.dataset
    dataset, runner = open_dataset(data, name), load_runner(path)
    facts = getattr(runner, "facts", None)
    for line in facts.lines() if facts else ():
        console.print(line, highlight=False, soft_wrap=True)
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
