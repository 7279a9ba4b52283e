"""Checks whether a file runs on an Edge TPU: `python -m export.edgetpu --model=student_int8.tflite`.

It exits with 0 if only the float steps at the file's ends are left to the CPU (accepted), else
with 1: doubtful, where only the compiler can decide; partly on the CPU; rejected.
Where `edgetpu_compiler` is on PATH it is asked too, and the compiled file is put beside the
given one. Example:

    mkd edgetpu_check --model=runs/mine/export/student_int8.tflite --compiler=never
"""

import dataclasses

from mkd_tf import flags
from mkd_tf.checks import check_positive
from mkd_tf.edgetpu.report import COMPILER_USES
from mkd_tf.options import Options, option


@dataclasses.dataclass(frozen=True)
class EdgeTpuOptions(Options):
    """Which file is checked, and how."""

    model: str = option("", "The .tflite file to check.", needs="a .tflite file")
    compiler: str = option("auto", "auto: ask edgetpu_compiler where it is on PATH.", choices=COMPILER_USES)
    timeout_s: float = option(300.0, "Seconds edgetpu_compiler may take.", check=check_positive)


def main(options: EdgeTpuOptions) -> int:
    """Checks the file and prints the report; returns the exit status."""
    from rich.console import Console

    from mkd_tf.edgetpu.report import check_file

    return int(not check_file(options.model, options.compiler, options.timeout_s, Console()).passes)


def console() -> None:
    """Runs the program on `sys.argv`."""
    flags.run(main, EdgeTpuOptions, about=__doc__)


if __name__ == "__main__":
    console()
