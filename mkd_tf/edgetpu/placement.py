"""The static check: whether a TFLite file runs on an Edge TPU, and where each operator runs.

The compiler makes one Edge TPU program: all operators after one that is not mapped run on
the CPU too. A detector is accepted if no operators are left to the CPU but QUANTIZE,
DEQUANTIZE and, as the last one, TFLite_Detection_PostProcess; CAST and QUANTIZE may convert the
input before the first operator that is mapped. It is doubtful if it would be accepted but for an
operator beyond the sizes seen mapped (`seen`).

The check goes by the documented rules in `rules`. If the compiler is on PATH, `compiler`
runs it, and its verdict decides.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from mkd_tf.edgetpu.compiler import COMPILER
from mkd_tf.edgetpu.operators import Graph, Operator, read_graph
from mkd_tf.edgetpu.rules import EIGHT_BIT, PARSER_VERSION, POSTPROCESS, doubt, map_problem, parse_problem
from mkd_tf.edgetpu.seen import unseen

# Places of operators, and verdicts on a file.
EDGE_TPU, CPU, REJECTED = "Edge TPU", "CPU", "rejected"
ACCEPTED, DOUBTFUL, PARTLY = "accepted", "doubtful", "partly on the CPU"
ALLOWED_ON_CPU = ("QUANTIZE", "DEQUANTIZE", POSTPROCESS)
# What may convert the input on the CPU before operators that are mapped.
_ENTRY = ("CAST", "QUANTIZE")

MEBIBYTE = 2**20
# The chip has about 8 MiB of memory, a part of which the program takes.
MEMORY = 8 * MEBIBYTE
PARAMETER_BUDGET = 6 * MEBIBYTE


@dataclass(frozen=True)
class Placement:
    """Where one operator runs, and the reason if that is not the Edge TPU.

    `passes` is False if the file is not accepted because of it; `follows` is True if the
    operator itself could be mapped and one before it could not.
    """

    operator: Operator
    place: str
    reason: str = ""
    passes: bool = True
    follows: bool = False


@dataclass(frozen=True)
class EdgeTpuReport:
    """The result of the static check.

    `parameter_bytes` counts the constants of operators that belong on the Edge TPU, each
    once. An estimated `on_chip_bytes` of them are kept on the chip, the rest are streamed at
    every run. `problems` is empty if and only if `verdict` is accepted.
    """

    verdict: str
    placements: tuple[Placement, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    parameter_bytes: int
    runtime: tuple[int, ...]

    @property
    def passes(self) -> bool:
        """Whether the file is accepted."""
        return self.verdict == ACCEPTED

    @property
    def on_chip_bytes(self) -> int:
        """An estimate; only the compiler knows how much memory its program takes."""
        return min(self.parameter_bytes, PARAMETER_BUDGET)

    @property
    def off_chip_bytes(self) -> int:
        """An estimate of the bytes that are streamed from the host at every run."""
        return self.parameter_bytes - self.on_chip_bytes

    def versions(self) -> dict[str, int]:
        """Returns every operator by name with its highest version."""
        found: dict[str, int] = {}
        for p in self.placements:
            found[p.operator.name] = max(p.operator.version, found.get(p.operator.name, 0))
        return found


def place(graph: Graph) -> list[Placement]:
    """Returns the placement of every operator, in the order of execution."""
    placements: list[Placement] = []
    # Tensors that come from the CPU, with the operator that caused it.
    from_cpu: dict[int, Operator] = {}
    # Tensors that depend on more than conversions of the input.
    computed: set[int] = set()
    for op in graph.operators:
        blamed = next((from_cpu[t.index] for t in op.inputs if t is not None and t.index in from_cpu), None)
        # The input is converted on the CPU first; operators after it can still be mapped.
        enters = op.name in _ENTRY and not any(t and t.index in computed for t in op.inputs)
        placement = _place(op, blamed, op is graph.operators[-1], enters)
        if not enters:
            computed |= {t.index for t in op.outputs}
        if placement.place != EDGE_TPU and not enters:
            cause = op if blamed is None or op.name == POSTPROCESS else blamed
            from_cpu |= {t.index: cause for t in op.outputs}
        placements.append(placement)
    return placements


def _place(op: Operator, blamed: Operator | None, is_last: bool, enters: bool) -> Placement:
    if problem := parse_problem(op):
        return Placement(op, REJECTED, problem, passes=False)
    if op.name == POSTPROCESS and is_last:
        return Placement(op, CPU, "as it should: the last step, in float")
    if op.name == POSTPROCESS:
        return Placement(op, CPU, "it must be the last operator", passes=False)
    if any(t.dynamic for t in op.computed()):
        return Placement(op, REJECTED, "a tensor has a dynamic shape: export with batch 1", passes=False)
    if blamed is not None and blamed.name == POSTPROCESS:
        return Placement(op, CPU, f"follows {POSTPROCESS}, which must be last", passes=False)
    if op.name == "DEQUANTIZE":
        return Placement(op, CPU, "as it should: the way back to float")
    if problem := map_problem(op):
        return Placement(op, CPU, problem, passes=enters or op.name in ALLOWED_ON_CPU)
    if blamed is not None:
        reason = f"follows {blamed.name} (operator {blamed.index}), which is not mapped"
        return Placement(op, CPU, reason, passes=op.name in ALLOWED_ON_CPU, follows=True)
    return Placement(op, EDGE_TPU)


def parameter_bytes(graph: Graph) -> int:
    """Returns the bytes of all constants except those that operators on the CPU read, as the anchors."""
    tensors = (t for op in graph.operators if op.name not in ALLOWED_ON_CPU for t in op.inputs)
    return sum({t.buffer: t.size for t in tensors if t is not None}.values())


def _constant_bytes(op: Operator) -> int:
    return sum(t.size for t in op.inputs if t is not None)


def _file_problems(graph: Graph, size: int) -> list[str]:
    """Returns the reasons to reject the file as a whole."""
    problems = []
    core = [op for op in graph.operators if op.name not in ALLOWED_ON_CPU]
    kinds = Counter(t.type for op in core for t in op.computed())
    if not any(kind in EIGHT_BIT for kind in kinds):
        most = kinds.most_common(1)[0][0] if kinds else "none"
        problems.append(f"model not quantized: its tensors are {most}, not INT8")
    if graph.subgraphs != 1:
        problems.append(f"{graph.subgraphs} subgraphs, not 1")
    if graph.runtime > PARSER_VERSION:
        runtime, limit = (".".join(map(str, v)) for v in (graph.runtime, PARSER_VERSION))
        problems.append(f"min_runtime_version {runtime} is above {limit}, which the compiler reads")
    if size > MEMORY:
        held = MEMORY // MEBIBYTE
        largest = max(core, key=_constant_bytes)
        total, most = (f"{x / MEBIBYTE:.1f} MiB" for x in (size, _constant_bytes(largest)))
        problems.append(
            f"{total} of parameters, more than the {held} MiB on the chip: the most of them, {most}, "
            f"in {largest.name} (operator {largest.index})"
        )
    return problems


def _operator_problems(placements: list[Placement]) -> list[str]:
    """Returns one line for each kind of operator and reason, and one for all operators after them."""
    groups: dict[tuple[str, int, str], list[Operator]] = {}
    following: list[Placement] = []
    # Reasons to reject the file come first.
    for p in sorted(placements, key=lambda p: p.place != REJECTED):
        if p.follows and not p.passes:
            following.append(p)
        elif not p.passes:
            groups.setdefault((p.operator.name, p.operator.version, p.reason), []).append(p.operator)
    lines = []
    for (name, version, reason), found in groups.items():
        tensor = f", {found[0].outputs[0].name}" if found[0].outputs else ""
        times = f", {len(found)} times" if len(found) > 1 else ""
        lines.append(f"operator {name} v{version} (operator {found[0].index}{tensor}{times}): {reason}")
    if following:
        names = ", ".join(dict.fromkeys(p.operator.name for p in following))
        lines.append(f"{len(following)} more would run on the CPU ({names}): the first {following[0].reason}")
    return lines


def _repeated(placements: list[Placement], reason_of: Callable[[Operator], str | None]) -> list[str]:
    """Returns a line for each kind of mapped operator and reason that `reason_of` finds."""
    found: dict[tuple[str, str], list[int]] = {}
    for p in placements:
        if p.place == EDGE_TPU and (reason := reason_of(p.operator)):
            found.setdefault((p.operator.name, reason), []).append(p.operator.index)
    lines = []
    for (name, reason), indices in found.items():
        times = f", {len(indices)} times" if len(indices) > 1 else ""
        lines.append(f"operator {name} (operator {indices[0]}{times}) {reason}")
    return lines


def _warnings(graph: Graph, placements: list[Placement], size: int) -> list[str]:
    warnings = []
    if PARAMETER_BUDGET < size <= MEMORY:
        warnings.append(
            f"{size / MEBIBYTE:.1f} MiB of parameters: above {PARAMETER_BUDGET // MEBIBYTE} MiB a part may be"
            " streamed from the host at every run"
        )
    if not graph.runtime:
        warnings.append("the file names no min_runtime_version")
    reshaped = {t.index for op in graph.operators if op.name == "RESHAPE" for t in op.outputs}
    return warnings + _repeated(placements, lambda op: doubt(op, reshaped))


def check(content: bytes, where: str = "model") -> EdgeTpuReport:
    """Checks the bytes of a TFLite file by the rules, without the compiler.

    Raises:
      MkdError: if the bytes are not a whole TFLite file; it begins with `where`.
    """
    graph = read_graph(content, where)
    placements, size = place(graph), parameter_bytes(graph)
    fatal = _file_problems(graph, size)
    problems, doubts = _operator_problems(placements) + fatal, _repeated(placements, unseen)
    rejected = bool(fatal) or any(p.place == REJECTED for p in placements)
    verdict = REJECTED if rejected else PARTLY if problems else DOUBTFUL if doubts else ACCEPTED
    problems += [f"{line}: only {COMPILER} can decide" for line in doubts]
    return EdgeTpuReport(
        verdict=verdict,
        placements=tuple(placements),
        problems=tuple(problems),
        warnings=tuple(_warnings(graph, placements, size)),
        parameter_bytes=size,
        runtime=graph.runtime,
    )
