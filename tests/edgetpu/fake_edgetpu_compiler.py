"""A stand-in for `edgetpu_compiler`: prints a log that is documented or was seen, and acts as it says."""

from pathlib import Path

VERSION = "Edge TPU Compiler version 16.0.384591198\n"
TIMER = "Started a compilation timeout timer of 180 seconds.\n"
COMPILED = """
Model compiled successfully in 3438 ms.

Input model: model.tflite
Input size: 7.31MiB
Output model: model_edgetpu.tflite
Output size: 7.52MiB
On-chip memory used for caching model parameters: 6.89MiB
On-chip memory remaining for caching model parameters: 1.00KiB
Off-chip memory used for streaming uncached model parameters: 175.00KiB
Number of Edge TPU subgraphs: 1
Total number of operations: 7
Operation log: model_edgetpu.log
"""
PARTLY = """
Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the \
model will instead run on the CPU, which is slower. If possible, consider updating your model to use only \
operations supported by the Edge TPU. For details, visit g.co/coral/model-reqs.
"""
COUNTS = """Number of operations that will run on Edge TPU: {}
Number of operations that will run on CPU: {}
"""
TABLE = "\nOperator                       Count      Status\n\n"
END = "Compilation child process completed within timeout period.\nCompilation succeeded! \n"
MAPPED = "Mapped to Edge TPU"
DATA_TYPE = "Operation is working on an unsupported data type"


def _table(*rows: tuple[str, int, str]) -> str:
    return TABLE + "".join(f"{name:<31}{count:<11}{status}\n" for name, count, status in rows)


def _success(edge: int | None, cpu: int, *rows: tuple[str, int, str]) -> str:
    part = PARTLY + COUNTS.format(edge, cpu) if cpu else ""
    return VERSION + TIMER + COMPILED + part + (_table(*rows) if rows else "") + END


LOGS = {
    "all mapped": _success(None, 0, ("CONV_2D", 2, MAPPED), ("LOGISTIC", 1, MAPPED)),
    "ends on the CPU": _success(
        4,
        3,
        ("CONV_2D", 3, MAPPED),
        ("QUANTIZE", 1, MAPPED),
        ("DEQUANTIZE", 2, DATA_TYPE),
        ("CUSTOM", 1, DATA_TYPE),
    ),
    "core on the CPU": _success(
        2,
        5,
        ("CONV_2D", 2, MAPPED),
        ("CONV_2D", 3, "More than one subgraph is not supported"),
        ("TRANSPOSE", 1, "Operation not supported"),
        ("DEQUANTIZE", 1, DATA_TYPE),
    ),
    "nothing mapped": _success(0, 2, ("QUANTIZE", 1, DATA_TYPE), ("DEQUANTIZE", 1, DATA_TYPE)),
    "counts without a table": _success(2, 1),
    "a short table": _success(2, 5, ("CONV_2D", 2, MAPPED), ("DEQUANTIZE", 1, DATA_TYPE)),
    "not quantized": VERSION + "Invalid model: model.tflite\nModel not quantized\n",
    "not parsed": VERSION
    + "ERROR: Didn't find op for builtin opcode 'EXP' version '2'. An older version of this builtin might be"
    " supported. Are you using an old TFLite binary with a newer model?\n\nERROR: Registration failed.\n\n"
    "Invalid model: model.tflite\nModel could not be parsed\n",
    "internal": VERSION + "\nInternal compiler error. Aborting! \n",
    "large activations": VERSION
    + TIMER
    + "ERROR: Restored original execution plan after delegate application failure.\n"
    "Compilation failed: Compilation failed due to large activation tensors in model.\n"
    "Compilation child process completed within timeout period.\nCompilation failed! \n",
    "its own timeout": VERSION
    + TIMER
    + "Compilation timeout. This is usually caused by large activations.\nCompilation failed! \n",
    "garbage": "\x1b[31mSegmentation fault\x00\n" * 3,
    "silence": "",
    "a part without numbers": VERSION + TIMER + COMPILED + PARTLY + END,
    "no file": VERSION + TIMER + COMPILED + END,
    "hang": VERSION + TIMER,
}
# Those after which it leaves a file.
WRITES = {
    "all mapped",
    "ends on the CPU",
    "core on the CPU",
    "nothing mapped",
    "counts without a table",
    "a short table",
}


def install(folder: Path, name: str) -> str:
    """Writes an executable `edgetpu_compiler` into `folder` that behaves as `name` says; returns its path."""
    (folder / "log").write_text(LOGS[name])
    program = folder / "edgetpu_compiler"
    # A child that would outlive it, as the real one compiles in a child.
    hang = f"sleep 300 &\necho $! > {folder}/child\nwait\n" if name == "hang" else ""
    write = 'printf "compiled of " > "$3/model_edgetpu.tflite"\ncat "$4" >> "$3/model_edgetpu.tflite"\n'
    program.write_text(
        f'#!/bin/sh\n[ "$1 $2" = "--show_operations --out_dir" ] || exit 64\ncat {folder}/log\n'
        + (write if name in WRITES else "")
        + hang
    )
    program.chmod(0o755)
    return str(program)
