"""Times exported files: `python -m mkd_tf.benchmark --models=teacher_float32.tflite,student_int8.tflite`.

All run in one process and in turns, so that other work on the machine falls on all alike;
the others are compared with the first. Example:

    mkd benchmark --models=a.tflite,b.onnx --threads=2 --output=latency.json
"""

import dataclasses

from mkd_tf import flags
from mkd_tf.checks import check_positive
from mkd_tf.conversion import format_endings
from mkd_tf.options import Options, option


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions(Options):
    """Which files are timed, and how."""

    models: str = option(
        "",
        f"Exported files ({', '.join(format_endings())}), comma-separated.",
        needs="one or several files",
    )
    input: str = option("", "An image to run them on; empty for noise.")
    threads: int = option(1, "Threads of each.", check=check_positive)
    runs: int = option(200, "Calls of each.", check=check_positive)
    output: str = option("", "A JSON file for the figures.")


def main(options: BenchmarkOptions) -> None:
    """Times and prints; with `output` also writes JSON."""
    from mkd_tf import schemas
    from mkd_tf.deployment.benchmarking import file_latencies, latency_table, some_image
    from mkd_tf.evaluation.console import make_console
    from mkd_tf.schemas.deployment import BenchmarkFile

    models = [m.strip() for m in options.models.split(",") if m.strip()]
    threads, runs = options.threads, options.runs
    entries = file_latencies(models, some_image(options.input), threads=threads, runs=runs)
    make_console().print(latency_table(f"{runs} calls of each in turns, threads: {threads}", entries))
    if options.output:
        found: BenchmarkFile = {"threads": threads, "runs": runs, "models": entries}
        schemas.write(options.output, found, BenchmarkFile)


def console() -> None:
    """Runs the program on `sys.argv`."""
    flags.run(main, BenchmarkOptions, about=__doc__)


if __name__ == "__main__":
    console()
