"""Tells whether a file runs on an Edge TPU: `python -m export.edgetpu --model=student_int8.tflite`."""

from rich.console import Console

from mkd_tf import flags
from mkd_tf.checks import fail
from mkd_tf.edgetpu.report import check_file


def main() -> int:
    """Checks the file; 0 if nothing but the float steps at its ends is left to the CPU, else 1."""
    model = flags.value("model")
    if not model:
        fail("flag --model", expected="a .tflite file", got="nothing", do="Name the file to check.")
    return int(not check_file(model, flags.value("compiler"), flags.value("timeout_s"), Console()).passes)


def console() -> None:
    """The console script's entry."""
    flags.define("model", "", "The .tflite file to check.")
    flags.define("compiler", "auto", "auto: ask edgetpu_compiler where it is on PATH; never.")
    flags.define("timeout_s", 300.0, "Seconds edgetpu_compiler may take.")
    flags.run(main)


if __name__ == "__main__":
    console()
