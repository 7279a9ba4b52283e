"""Runs the static check and the compiler on one file, and prints the results as tables."""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mkd_tf.checks import MkdError, check_one_of, check_positive, fail
from mkd_tf.edgetpu.compiler import COMPILER, SUFFIX, CompilerLog, compile_model
from mkd_tf.edgetpu.placement import (
    ACCEPTED,
    ALLOWED_ON_CPU,
    DOUBTFUL,
    MEBIBYTE,
    PARTLY,
    REJECTED,
    EdgeTpuReport,
    check,
)
from mkd_tf.edgetpu.rules import POSTPROCESS
from mkd_tf.files import write_bytes

COMPILER_USES = ("auto", "never")
_COLOURS = {
    ACCEPTED: "green",
    DOUBTFUL: "yellow",
    PARTLY: "yellow",
    REJECTED: "red",
    "CPU": "yellow",
    "Edge TPU": "green",
}


@dataclass(frozen=True)
class Judgement:
    """The verdict on a file: the compiler's if it was run, else the static check's (`log` is None).

    `disagreement` is how the static check differs from the compiler; empty if it does not.
    """

    verdict: str
    problems: tuple[str, ...]
    report: EdgeTpuReport
    log: CompilerLog | None = None
    disagreement: str = ""

    @property
    def passes(self) -> bool:
        """Whether the file is accepted."""
        return self.verdict == ACCEPTED


def _compiler_problems(report: EdgeTpuReport, log: CompilerLog) -> list[str]:
    """Returns the problems in a log of success."""
    custom = {p.operator.name for p in report.placements if p.operator.custom}
    # The compiler's table calls every custom operator by one name.
    allowed = (*ALLOWED_ON_CPU, "CUSTOM") if custom == {POSTPROCESS} else ALLOWED_ON_CPU
    problems = [
        f"{COMPILER}: operator {name} ({count} times) runs on the CPU: {status}"
        for name, count, status in log.unmapped()
        if name not in allowed
    ]
    told = sum(count for _, count, _ in log.unmapped())
    if not log.operations:
        told = sum(p.operator.name in ALLOWED_ON_CPU for p in report.placements)
    if log.on_cpu is not None and log.on_cpu > told:
        count = f"{log.on_cpu} operators run on the CPU, of which {told} may or are named"
        problems.append(f"{COMPILER}: {count}")
    mapped = any(line not in log.unmapped() for line in log.operations)
    if log.on_edge_tpu == 0 or (log.operations and not mapped):
        problems.append(f"{COMPILER}: no operator runs on the Edge TPU")
    return problems


def judge(report: EdgeTpuReport, log: CompilerLog | None = None) -> Judgement:
    """Returns the verdict: the compiler's if there is a log, else the static check's."""
    if log is None:
        return Judgement(report.verdict, report.problems, report)
    if log.failure:
        verdict, problems = REJECTED, [f"{COMPILER}: {log.failure}"]
    else:
        problems = _compiler_problems(report, log)
        verdict = PARTLY if problems else ACCEPTED
    disagreement = ""
    if verdict != report.verdict:
        why = report.problems[0] if report.problems else "nothing is known against it"
        disagreement = f"the compiler says {verdict}, the static check {report.verdict} ({why})"
    return Judgement(verdict, tuple(problems), report, log, disagreement)


def _mib(count: int) -> str:
    return f"{count / MEBIBYTE:.2f} MiB"


def print_report(report: EdgeTpuReport, title: str, console: Console) -> None:
    """Prints where each kind of operator runs, and the memory of the parameters."""
    table = Table(title=escape(title), title_justify="left")
    for name in ("operator", "version", "count", "status", "reason"):
        table.add_column(name, justify="right" if name in ("version", "count") else "left")
    kinds = Counter((p.operator.name, p.operator.version, p.place, p.reason) for p in report.placements)
    for (name, version, place, reason), count in kinds.items():
        status = f"[{_COLOURS[place]}]{place}[/]"
        table.add_row(escape(name), str(version), str(count), status, escape(reason))
    console.print(table)
    console.print(
        f"parameters {_mib(report.parameter_bytes)}: about {_mib(report.on_chip_bytes)} on the chip,"
        f" {_mib(report.off_chip_bytes)} streamed",
        soft_wrap=True,
    )
    console.print(f"min_runtime_version {'.'.join(map(str, report.runtime)) or 'not named'}")
    for warning in report.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)


def print_judgement(judgement: Judgement, console: Console) -> None:
    """Prints the compiler's table, the problems and the verdict."""
    log = judgement.log
    if log is not None and log.operations:
        table = Table(title=escape(f"{COMPILER} {log.version}"), title_justify="left")
        for column in ("operator", "count", "status"):
            table.add_column(column, justify="right" if column == "count" else "left")
        for name, count, status in log.operations:
            table.add_row(escape(name), str(count), escape(status))
        console.print(table)
    if log is not None and log.on_chip_bytes is not None:
        held, streamed = _mib(log.on_chip_bytes), _mib(log.off_chip_bytes or 0)
        console.print(f"{COMPILER}: parameters {held} on the chip, {streamed} streamed", soft_wrap=True)
    for problem in judgement.problems:
        console.print(f"- {escape(problem)}", soft_wrap=True)
    if judgement.disagreement:
        console.print(f"[yellow]disagreement:[/] {escape(judgement.disagreement)}", soft_wrap=True)
    source = f"by {COMPILER}" if log is not None else "by the static check"
    console.print(f"[{_COLOURS[judgement.verdict]}]{judgement.verdict}[/] {source}", soft_wrap=True)


def check_file(path: str | Path, compiler: str, timeout_s: float, console: Console) -> Judgement:
    """Checks a .tflite file, prints the result, and writes the compiled file of an accepted one beside it.

    Args:
      path: the .tflite file.
      compiler: "auto" runs `edgetpu_compiler` if it is on PATH, "never" does not.
      timeout_s: seconds the compiler may take.

    Raises:
      MkdError: if the file is missing or not a whole TFLite file, or the compiler gives no
        verdict.
    """
    check_one_of("compiler", compiler, COMPILER_USES)
    check_positive("timeout_s", timeout_s)
    path = Path(path)
    if not path.is_file():
        fail(f"model {path}", expected="a .tflite file", got="no such file", do="Correct --model.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MkdError(f"{path}: cannot be read: {error.strerror}. Check its permissions.") from None
    report = check(content, str(path))
    print_report(report, f"{path}: static check", console)
    log, compiled = None, b""
    if compiler == "auto" and (program := shutil.which(COMPILER)):
        with console.status(f"{COMPILER} (at most {timeout_s:g} s)"):
            log, compiled = compile_model(content, program, timeout_s)
    judgement = judge(report, log)
    print_judgement(judgement, console)
    if log is not None and judgement.passes:
        # Of a file that fails, an earlier compiled file is not touched.
        target = path.with_name(path.stem + SUFFIX)
        write_bytes(target, compiled)
        console.print(f"compiled: {escape(str(target))} ({len(compiled)} bytes)", soft_wrap=True)
    return judgement
