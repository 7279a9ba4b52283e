"""Which TFLite runtime runs a model, on an Edge TPU or a CPU; `detect.py` asks it.

A libedgetpu that does not fit its runtime ends the program in a segmentation fault, which no `except`
catches. Each way to an Edge TPU is therefore tried in a child process first:

    python3 runtimes.py "tflite_runtime with libedgetpu.so.1" model_edgetpu.tflite
"""

import ctypes
import importlib
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

LIBRARY = "libedgetpu.so.1"
ON_EDGE_TPU = ("pycoral", f"tflite_runtime with {LIBRARY}", f"ai_edge_litert with {LIBRARY}")
ON_CPU = ("ai_edge_litert", "tflite_runtime")
PROBE_SECONDS = 60


class DetectError(Exception):
    """What a user can mend; shown as one line."""


def attach(way: str, content: bytes, threads: int):
    """Returns an interpreter made in one of the ways above."""
    if way == "pycoral":
        return importlib.import_module("pycoral.utils.edgetpu").make_interpreter(content)
    runtime = importlib.import_module(way.split()[0] + ".interpreter")
    if not way.endswith(LIBRARY):
        return runtime.Interpreter(model_content=content, num_threads=threads)
    ctypes.CDLL(LIBRARY)  # where it is missing this says so; load_delegate would leave noise on stderr
    return runtime.Interpreter(model_content=content, experimental_delegates=[runtime.load_delegate(LIBRARY)])


def run_once(way: str, path: Path) -> None:
    """Attaches the Edge TPU and runs the model on an image of zeros."""
    content = path.read_bytes()
    interpreter = attach(way, content, 1)
    interpreter.allocate_tensors()
    for entry in interpreter.get_input_details():
        interpreter.set_tensor(entry["index"], np.zeros(entry["shape"], entry["dtype"]))
    interpreter.invoke()


def probe(way: str, path: Path) -> str:
    """Returns why a way does not work, tried in a child process; an empty text if it does."""
    command = [sys.executable, str(Path(__file__).resolve()), way, str(path)]
    try:
        done = subprocess.run(  # noqa: S603, this very file
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_SECONDS} s; plug the device in again"
    if done.returncode < 0:
        try:
            name = signal.Signals(-done.returncode).name
        except ValueError:
            name = f"signal {-done.returncode}"
        return f"crashed ({name}): {LIBRARY} and this runtime do not fit together, see the table in README.md"
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"ended with {done.returncode}")


def open_interpreter(path: Path, content: bytes, threads: int):
    """Returns the first interpreter that takes the model, and what to call it."""
    is_compiled, failures = b"edgetpu-custom-op" in content, []
    for way in ON_EDGE_TPU if is_compiled else ON_CPU:
        try:
            problem = probe(way, path) if is_compiled else ""
            if problem:
                failures.append(f"{way}: {problem}")
                continue
            interpreter = attach(way, content, threads)
            interpreter.allocate_tensors()
            return interpreter, f"{way}, {'Edge TPU' if is_compiled else 'CPU (model not compiled)'}"
        except Exception as error:  # the next way may do; tflite_runtime beside NumPy 2: SystemError
            failures.append(f"{way}: {error}")
    what = "is compiled for an Edge TPU, and none was found" if is_compiled else "could not be opened"
    raise DetectError(f"model {path} {what} ({'; '.join(failures)})")


if __name__ == "__main__":
    try:
        run_once(sys.argv[1], Path(sys.argv[2]))
    except Exception as error:
        sys.exit(" ".join(str(error).split()) or type(error).__name__)
