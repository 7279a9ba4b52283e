"""Measures a model: `python -m mkd_tf.evaluate --workdir=runs/quickstart --model=student --split=test`."""

from mkd_tf import flags
from mkd_tf.conversion.model_files import find_model
from mkd_tf.data import open_dataset
from mkd_tf.evaluation.evaluating import evaluate_model, print_metrics
from mkd_tf.evaluation.results import make_console
from mkd_tf.files import write_json


def main() -> None:
    """Evaluates and prints; with --output also writes JSON."""
    config = flags.stored_config(flags.value("workdir"))
    path = find_model(config.run.workdir, flags.value("model"))
    name = flags.value("dataset") or config.data.dataset
    dataset = open_dataset(config.data, name)
    split, console = flags.value("split"), make_console()
    metrics = evaluate_model(str(path), dataset, split, flags.value("fit") or config.data.fit, console)
    print_metrics(metrics, f"{path} on {split} of {name}", console)
    if flags.value("output"):
        write_json(flags.value("output"), {"model": str(path), "dataset": name, "split": split} | metrics)


def console() -> None:
    """The console script `mkd-evaluate`."""
    flags.define("workdir", "runs/default", "Work directory of the training run.")
    flags.define(
        "model", "student", "A role of the run, as student or teacher, or the path of a model's file."
    )
    flags.define("split", "test", "Which split of the data set.")
    flags.define("dataset", "", "Another data set than the run's, with the same classes.")
    flags.define("fit", "", "stretch or letterbox; empty for the run's.")
    flags.define("output", "", "A JSON file for the metrics.")
    flags.run(main)


if __name__ == "__main__":
    console()
