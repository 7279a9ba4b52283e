"""Times exported files: `python -m mkd_tf.benchmark --models=teacher_float32.tflite,student_int8.tflite`.

All run in one process and in turns, so that other work on the machine falls on all alike;
the others are compared with the first. `--suite=latency` adds the times of each operator; another
suite times the method itself, each case in processes of its own and beside other libraries where
they are installed. Examples:

    mkd benchmark --models=a.tflite,b.onnx --threads=2 --output=latency.json
    mkd benchmark --models=int8.tflite,int8_raw.tflite --input=runs/mine
    mkd benchmark --models=a.tflite --suite=latency
    mkd benchmark --suite=step --runs=20 --threads=2 --output=step.json
"""

import dataclasses
from pathlib import Path

from mkd_tf import flags
from mkd_tf.benchmarks.cases import SUITES
from mkd_tf.checks import check_positive, fail
from mkd_tf.conversion import format_endings
from mkd_tf.options import Options, option

_OPERATORS = "latency"


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions(Options):
    """Which files are timed, or which suite, and how."""

    models: str = option("", f"Exported files ({', '.join(format_endings())}), comma-separated.")
    input: str = option(
        "",
        "An image to run them on, a folder of images, or the work directory of a run, for those of its "
        "test split; empty for noise.",
    )
    suite: str = option(
        "",
        "latency: also each operator of TFLite files, with XNNPACK and without; or training steps, input "
        "or evaluation instead of files.",
        choices=(_OPERATORS, *SUITES),
    )
    case: str = option("", "One case of the suite, timed in this process.")
    rounds: int = option(3, "Processes of each case of a suite.", check=check_positive)
    threads: int = option(1, "Threads of each.", check=check_positive)
    runs: int = option(200, "Calls of each.", check=check_positive)
    output: str = option("", "A JSON file for the figures; of a suite also a table with the ending .md.")


def main(options: BenchmarkOptions) -> None:
    """Times and prints; with `output` also writes JSON."""
    if options.suite in SUITES:
        _time_suite(options)
        return
    from mkd_tf import schemas
    from mkd_tf.deployment.benchmarking import file_latencies, latency_table, run_images, some_images
    from mkd_tf.deployment.operator_times import check_models, operator_table, operator_times, processor
    from mkd_tf.evaluation.console import make_console
    from mkd_tf.schemas.deployment import BenchmarkFile
    from mkd_tf.training.workdir import FLAGS_FILE

    models = [m.strip() for m in options.models.split(",") if m.strip()]
    if not models:
        do = "Give --models=... or --suite=..."
        fail("models", expected="one or several files, or a suite", got="nothing", do=do)
    threads, runs = options.threads, options.runs
    if options.suite == _OPERATORS:
        check_models(models)
    is_run = Path(options.input, FLAGS_FILE).is_file()
    images = run_images(flags.stored_config(options.input).data) if is_run else some_images(options.input)
    entries = file_latencies(models, images, threads=threads, runs=runs)
    console = make_console()
    console.print(latency_table(f"{runs} calls of each in turns, threads: {threads}", entries))
    found: BenchmarkFile = {"threads": threads, "runs": runs, "models": entries, "processor": processor()}
    if options.suite == _OPERATORS:
        found["operators"] = operators = {}
        for model in entries:
            operators[model] = operator_times(model, images[0], threads=threads, runs=runs)
            console.print(operator_table(model, operators[model]))
    if options.output:
        schemas.write(options.output, found, BenchmarkFile)


def _time_suite(options: BenchmarkOptions) -> None:
    from mkd_tf.benchmarks import running
    from mkd_tf.evaluation.console import make_console, say

    if options.case:
        print(running.answer(options.suite, options.case, options.runs))
        return
    console = make_console()
    found = running.run_suite(
        options.suite,
        rounds=options.rounds,
        calls=options.runs,
        threads=options.threads,
        on_case=lambda case, number: say(console, f"round {number} of {options.rounds}: {case}"),
    )
    say(console, running.markdown(found))
    if options.output:
        running.write(options.output, found)


def console() -> None:
    """Runs the program on `sys.argv`."""
    flags.run(main, BenchmarkOptions, about=__doc__)


if __name__ == "__main__":
    console()
