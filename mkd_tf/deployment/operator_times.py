"""The suite `latency` of the program `benchmark`: how long each operator of a TFLite file takes.

The interpreter tells Python no times of its own. Each operator is therefore cut out as a model of one
operator, with its constants and with the inputs that it has on a real image, and timed with
XNNPACK (the interpreter's default kernels) and without it. What the whole file takes stands
beside the sum: in one piece XNNPACK saves the calls, about a microsecond each, and some copies.
"""

import copy
import dataclasses
import platform
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import OpResolverType
from rich.table import Table

from mkd_tf.checks import fail
from mkd_tf.conversion.tflite.model_file import operator_code, operator_name, to_content, unpack
from mkd_tf.conversion.tflite.runner import TFLiteRunner, open_interpreter
from mkd_tf.data.image_files import fit_image
from mkd_tf.evaluation.cost import interleaved_ms
from mkd_tf.schemas.deployment import OperatorLatency, OperatorTime, Processor

RESOLVERS = {"xnnpack": OpResolverType.AUTO, "plain": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
CPU_INFO = Path("/proc/cpuinfo")
SLOWEST = 12
"""Operators that are listed one by one."""
_SPARE = 65536
# What the kernels choose by: x86 and Arm.
_X86 = ("sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni")
_FEATURES = (*_X86, "avx512_fp16", "amx_int8", "asimd", "asimddp", "asimdhp", "i8mm", "sve")


def processor() -> Processor:
    """Returns the processor's name, and those of its features that kernels are chosen by."""
    told = CPU_INFO.read_text(encoding="utf-8", errors="replace") if CPU_INFO.is_file() else ""
    name = re.search(r"^model name\s*: (.+)$", told, flags=re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.+)$", told, flags=re.MULTILINE)
    has = set(flags[1].split()) if flags else set()
    found = name[1] if name else platform.processor() or platform.machine()
    return {"name": found, "features": [f for f in _FEATURES if f in has]}


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """A model of one operator.

    Attributes:
      operator: its kind, as in `CONV_2D`.
      name: of its first output.
      shape: of that output.
      content: a TFLite file.
      inputs: values of the inputs that are no constants, in the model's order.
    """

    operator: str
    name: str
    shape: tuple[int, ...]
    content: bytes
    inputs: tuple[np.ndarray, ...]


def check_models(models: Iterable[str]) -> None:
    """Raises `MkdError` unless all are TFLite files."""
    for path in models:
        if Path(path).suffix.lower() != ".tflite":
            fail("suite latency", expected="files that end in .tflite", got=path, do="Leave the others out.")


def _piece(model: schema.ModelT, operator: schema.OperatorT, value_of: Callable[[int], np.ndarray]) -> Piece:
    whole = model.subgraphs[0]
    alone, graph = schema.ModelT(), schema.SubGraphT()
    code = copy.copy(model.operatorCodes[operator.opcodeIndex])
    alone.version, alone.operatorCodes = model.version, [code]
    alone.buffers, alone.subgraphs, graph.tensors = [schema.BufferT()], [graph], []
    places: dict[int, int] = {-1: -1}  # An input that is left out stays left out.
    given, values = [], []
    for index in map(int, [*operator.inputs, *operator.outputs]):
        if index in places:
            continue
        tensor = copy.copy(whole.tensors[index])
        data = model.buffers[tensor.buffer].data
        is_constant = data is not None and len(data) > 0
        places[index], tensor.buffer = len(graph.tensors), 0
        if is_constant:
            tensor.buffer = len(alone.buffers)
            alone.buffers.append(model.buffers[whole.tensors[index].buffer])
        elif index in map(int, operator.inputs):
            given.append(places[index])
            values.append(value_of(index))
        graph.tensors.append(tensor)
    copied = copy.copy(operator)
    copied.opcodeIndex = 0
    copied.inputs = [places[int(i)] for i in operator.inputs]
    copied.outputs = [places[int(i)] for i in operator.outputs]
    graph.operators, graph.inputs, graph.outputs = [copied], given, copied.outputs
    is_custom = operator_code(model, operator) == schema.BuiltinOperator.CUSTOM
    kind = code.customCode.decode() if is_custom else operator_name(model, operator)
    first = whole.tensors[int(operator.outputs[0])]
    name, shape = (first.name or b"").decode(), tuple(int(n) for n in first.shape)
    return Piece(kind, name, shape, to_content(alone, _SPARE), tuple(values))


def pieces(content: bytes, image: np.ndarray) -> list[Piece]:
    """Returns a file's operators, each as a model of its own with its inputs on `image`.

    Args:
      content: a TFLite file of mkd_tf.
      image: `[S, S, 3]` uint8 at the model's size.
    """
    interpreter = open_interpreter(
        "model",
        content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=RESOLVERS["plain"],
    )
    (entry,) = interpreter.get_input_details()
    interpreter.set_tensor(entry["index"], TFLiteRunner(content).prepare(image))
    interpreter.invoke()
    model = unpack(content)
    return [_piece(model, operator, interpreter.get_tensor) for operator in model.subgraphs[0].operators]


def _call(content: bytes, inputs: Sequence[np.ndarray], kernels: str, threads: int) -> Callable[[], None]:
    interpreter = open_interpreter(
        "operator", content, num_threads=threads, experimental_op_resolver_type=RESOLVERS[kernels]
    )
    for entry, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(entry["index"], value)

    def invoke(kept: bytes = content) -> None:  # The interpreter does not keep the content alive.
        interpreter.invoke()

    return invoke


def operator_times(path: str, image: np.ndarray, *, threads: int, runs: int) -> OperatorLatency:
    """Times a file and each of its operators, with XNNPACK and without.

    Args:
      path: of a TFLite file.
      image: `[H, W, 3]` uint8, fitted as the network was trained to, or stretched.
      threads: of each interpreter.
      runs: calls of each, in turns of bursts.

    Returns:
      Medians in milliseconds: of the whole file's `invoke`, and of each operator in its order.

    Raises:
      MkdError: for a file that cannot be read.
    """
    runner = TFLiteRunner(path)
    content, fitted = Path(path).read_bytes(), fit_image(image, runner.image_size, runner.fit or "stretch")
    found, taken = pieces(content, fitted), [runner.prepare(fitted)]
    whole = {kernels: _call(content, taken, kernels, threads) for kernels in RESOLVERS}
    medians = {k: statistics.median(v) for k, v in interleaved_ms(whole, runs=runs).items()}
    operators: list[OperatorTime] = []
    for piece in found:
        calls = {kernels: _call(piece.content, piece.inputs, kernels, threads) for kernels in RESOLVERS}
        times = {k: statistics.median(v) for k, v in interleaved_ms(calls, runs=runs).items()}
        operators.append(
            {"operator": piece.operator, "name": piece.name, "shape": list(piece.shape), "ms": times}
        )
    return {"ms": medians, "operators": operators}


def _sum(times: Iterable[Mapping[str, float]]) -> dict[str, float]:
    listed = list(times)
    return {kernels: sum(t[kernels] for t in listed) for kernels in RESOLVERS}


def operator_table(path: str, found: OperatorLatency) -> Table:
    """Returns the times by kind of operator, of all, of the whole file, and of the slowest operators."""
    kinds: dict[str, list[OperatorTime]] = {}
    for entry in found["operators"]:
        kinds.setdefault(entry["operator"], []).append(entry)
    sums = {kind: _sum(e["ms"] for e in entries) for kind, entries in kinds.items()}
    total = _sum(sums.values())
    table = Table(title=path, title_justify="left", caption="microseconds, medians; operators one by one")
    table.add_column("operator", overflow="fold")
    for column in ("count", "XNNPACK", "without", "% of sum"):
        table.add_column(column, justify="right", no_wrap=True)

    def row(name: str, count: int, times: Mapping[str, float]) -> None:
        shown = [f"{1000 * times[kernels]:.1f}" for kernels in RESOLVERS]
        table.add_row(name, str(count), *shown, f"{100 * times['xnnpack'] / total['xnnpack']:.0f}")

    for kind, times in sorted(sums.items(), key=lambda item: -item[1]["xnnpack"]):
        row(kind, len(kinds[kind]), times)
    table.add_section()
    row("sum", len(found["operators"]), total)
    row("whole file", 1, found["ms"])
    table.add_section()
    for entry in sorted(found["operators"], key=lambda e: -e["ms"]["xnnpack"])[:SLOWEST]:
        row(f"{entry['operator']} {'x'.join(map(str, entry['shape']))}", 1, entry["ms"])
    return table
