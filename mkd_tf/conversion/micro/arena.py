"""What a model takes on a microcontroller: its arena, measured, and the summary of Arm's vela.

Both are packages of their own (`tflite-micro`, `ethos-u-vela`) and are run as child processes:
they print their figures, and a crash of theirs does not end an export.
"""

import csv
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from mkd_tf.schemas.deployment import Vela

_TIMEOUT_S = 300
_ALIGNMENT = 16
# From the model's path and an arena in bytes: the memory that was used.
_PROGRAM = """
import sys
import numpy
from tflite_micro.python.tflite_micro import runtime
interpreter = runtime.Interpreter.from_file(sys.argv[1], arena_size=int(sys.argv[2]))
entry = interpreter.get_input_details(0)
interpreter.set_input(numpy.zeros(entry["shape"], entry["dtype"]), 0)
interpreter.invoke()
interpreter.print_allocations()
"""


def _used(path: Path, arena: int) -> int | None:
    """Returns the bytes that a run with this arena took; None if it failed."""
    command = [sys.executable, "-c", _PROGRAM, str(path), str(arena)]
    done = subprocess.run(  # noqa: S603, our own program and paths
        command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    found = re.search(r"Arena allocation total (\d+) bytes", done.stdout + done.stderr)
    return int(found[1]) if found and done.returncode == 0 else None


def arena_bytes(content: bytes) -> int:
    """Returns the bytes of arena with which TFLite Micro runs a model, a sixteenth to spare.

    Args:
      content: a TFLite file.

    Returns:
      0 where the package tflite-micro is not installed, or has no kernel for an operator.
    """
    if importlib.util.find_spec("tflite_micro") is None:
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(content)
        used = _used(path, 64 * 2**20)
        if used is None:
            return 0
        # A build for a board aligns and pads in its own way.
        spared = -(-used * 17 // (16 * _ALIGNMENT)) * _ALIGNMENT
        return spared if _used(path, spared) is not None else 0


def vela_summary(content: bytes, accelerator: str) -> Vela | None:
    """Returns what Arm's compiler for Ethos-U says of a model; None where it is not installed or fails.

    Args:
      content: a TFLite file.
      accelerator: as in `ethos-u55-128`.
    """
    if importlib.util.find_spec("ethosu") is None:
        return None
    program = "import sys; from ethosu.vela.vela import main; sys.exit(main(sys.argv[1:]))"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model.tflite").write_bytes(content)
        command = [sys.executable, "-c", program, "model.tflite", "--output-dir", folder]
        command += ["--accelerator-config", accelerator]
        done = subprocess.run(  # noqa: S603, our own program and paths
            command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        summaries = sorted(Path(folder).glob("*summary*.csv"))
        if done.returncode or not summaries:
            return None
        with open(summaries[0], newline="") as stream:
            row = next(csv.DictReader(stream))
        cpu = re.search(r"CPU operators = (\d+)", done.stdout)
        npu = re.search(r"NPU operators = (\d+)", done.stdout)
        return {
            "accelerator": accelerator,
            "inference_ms": 1000 * float(row["inference_time"]),
            "sram_kib": float(row["sram_memory_used"]),
            "cpu_operators": int(cpu[1]) if cpu else None,
            "npu_operators": int(npu[1]) if npu else None,
        }
