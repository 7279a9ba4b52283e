"""Runs `edgetpu_compiler` if it is on PATH, and reads its log.

The compiler ends with status 0 in many failures; its log and the file that it wrote show
whether it succeeded. It runs in a temporary folder, so that a failing or stopped run leaves
no file beside the model.
"""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mkd_tf.checks import MkdError

COMPILER = "edgetpu_compiler"
SUFFIX = "_edgetpu.tflite"
MAPPED = "Mapped to Edge TPU"
_LONGEST_LOG = 2**20

# The log of a failure has one of these; the rest of the line is kept.
_FATAL = (
    "Model not quantized",
    "Model could not be parsed",
    "Internal compiler error",
    "Compilation timeout",
    "Compilation failed: ",
    "Compilation failed!",
)
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True)
class CompilerLog:
    """The content of a log; a number that is missing in it is None.

    `failure` is empty if the file was compiled. `operations` are the lines of its table:
    operator, count, status.
    """

    version: str = ""
    failure: str = ""
    on_chip_bytes: int | None = None
    off_chip_bytes: int | None = None
    on_edge_tpu: int | None = None
    on_cpu: int | None = None
    operations: tuple[tuple[str, int, str], ...] = ()

    def unmapped(self) -> list[tuple[str, int, str]]:
        """Returns the lines of the table for operators on the CPU."""
        return [line for line in self.operations if line[2] != MAPPED]


def _size(log: str, label: str) -> int | None:
    found = re.search(rf"^{label}: *([\d.]+) *(B|KiB|MiB|GiB)\s*$", log, flags=re.MULTILINE)
    with contextlib.suppress(ValueError):
        return round(float(found[1]) * _UNITS[found[2]]) if found else None
    return None


def _count(log: str, label: str) -> int | None:
    found = re.search(rf"^{label}: *(\d{{1,9}})\s*$", log, flags=re.MULTILINE)
    return int(found[1]) if found else None


def _failure(log: str) -> str:
    lines = [line.strip() for line in log.splitlines()]
    failed = next((line for fatal in _FATAL for line in lines if fatal in line), "")
    # The cause is on a line before.
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return f"{failed} ({errors[0]})" if failed and errors else failed


def parse_log(log: str) -> CompilerLog:
    """Parses a log of the compiler.

    Raises:
      MkdError: if it shows neither success nor failure.
    """
    version = re.search(r"^Edge TPU Compiler version (\S+)", log, flags=re.MULTILINE)
    failure = _failure(log)
    # The table: a name in capitals, its count, its status, separated by spaces.
    table = re.findall(r"^([A-Z][A-Z0-9_]*) {2,}(\d{1,9}) {2,}(\S.*?)\s*$", log, flags=re.MULTILINE)
    on_cpu = _count(log, "Number of operations that will run on CPU")
    compiled = re.search(r"^Model (compiled successfully|successfully compiled)", log, flags=re.MULTILINE)
    # A log of a part on the CPU is complete only with the number of its operators.
    whole = table or on_cpu is not None or "not all operations are supported" not in log
    if not failure and not (compiled and whole):
        start = " ".join("".join(c if c.isprintable() else " " for c in log[:200]).split())
        raise MkdError(
            f"{COMPILER}: expected a log that tells success or failure, got {start or 'nothing'!r}."
            " Run it by hand, or check without it (--compiler=never)."
        )
    return CompilerLog(
        version=version[1] if version else "",
        failure=failure,
        on_chip_bytes=_size(log, "On-chip memory used for caching model parameters"),
        off_chip_bytes=_size(log, "Off-chip memory used for streaming uncached model parameters"),
        on_edge_tpu=_count(log, "Number of operations that will run on Edge TPU"),
        on_cpu=on_cpu,
        operations=tuple((name, int(count), status) for name, count, status in table),
    )


def _run(command: list[str], folder: Path, timeout_s: float) -> str:
    with open(folder / "output", "w+b") as output:
        process = subprocess.Popen(  # noqa: S603, the command is found on PATH and has no shell
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise MkdError(
                f"{COMPILER}: expected an end within {timeout_s:g} s, got none. Raise --timeout_s, or check"
                " without it (--compiler=never)."
            ) from None
        finally:
            if process.poll() is None:
                # It compiles in a child process, which must end as well.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        return output.read(_LONGEST_LOG).decode("utf-8", "replace")


def compile_model(content: bytes, compiler: str, timeout_s: float) -> tuple[CompilerLog, bytes]:
    """Compiles the .tflite file `content` in a temporary folder with the program `compiler`.

    Returns:
      Its log, and the bytes of the compiled file, empty if it failed.

    Raises:
      MkdError: if it cannot be started, writes a log that cannot be parsed, reports success
        without writing a file, or runs longer than `timeout_s` and was stopped with its children.
    """
    with tempfile.TemporaryDirectory(prefix="edgetpu") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(content)
        command = [compiler, "--show_operations", "--out_dir", str(folder), str(folder / "model.tflite")]
        try:
            printed = _run(command, folder, timeout_s)
        except OSError as error:
            raise MkdError(
                f"{compiler}: cannot be started: {error.strerror}. Repair it or remove it from PATH."
            ) from None
        log = parse_log(printed)
        compiled = folder / f"model{SUFFIX}"
        if log.failure:
            return log, b""
        if not compiled.is_file() or not compiled.stat().st_size:
            raise MkdError(f"{compiler}: expected the file {compiled.name}, got none. Run it by hand.")
        return log, compiled.read_bytes()
