"""Times exported files: `python -m mkd_tf.benchmark --models=teacher_float32.tflite,student_int8.tflite`.

All run in one process and in turns, so that other work on the machine falls on all alike;
the first is what the others are compared with.
"""

from mkd_tf import flags
from mkd_tf.checks import fail
from mkd_tf.deployment.benchmarking import file_latencies, latency_table, some_image
from mkd_tf.evaluation.results import make_console
from mkd_tf.files import write_json


def main() -> None:
    """Times and prints; with --output also writes JSON."""
    models = [m.strip() for m in flags.value("models").split(",") if m.strip()]
    if not models:
        fail("flag --models", expected="one or several files", got="nothing", do="Give --models=A,B.")
    threads, runs = flags.value("threads"), flags.value("runs")
    image = some_image(flags.value("input"))
    entries = file_latencies(models, image, threads=threads, runs=runs)
    make_console().print(latency_table(f"{runs} calls of each in turns, threads: {threads}", entries))
    if flags.value("output"):
        write_json(flags.value("output"), {"threads": threads, "runs": runs, "models": entries})


def console() -> None:
    """The console script `mkd-benchmark`."""
    flags.define("models", "", "Exported files, .tflite or .onnx, comma-separated.")
    flags.define("input", "", "An image to run them on; empty for noise.")
    flags.define("threads", 1, "Threads of each.")
    flags.define("runs", 200, "Calls of each.")
    flags.define("output", "", "A JSON file for the figures.")
    flags.run(main)


if __name__ == "__main__":
    console()
