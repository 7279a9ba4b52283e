"""A suite: every case in processes of its own, in turns, by wall and by processor time.

In one process cases would share caches, allocators and threads; in turns other work on the
machine falls on all alike. Processor time counts all threads, and hardly changes with what else
runs; wall time does, which is why the load is part of the record.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mkd_tf import schemas
from mkd_tf.benchmarks.cases import FLOORS, SUITES, prepared
from mkd_tf.checks import check_one_of, fail
from mkd_tf.files import write_bytes
from mkd_tf.schemas.deployment import CaseFigures, SuiteFile

WARM_UP = 3
MARK = "benchmark case: "
"""Begins the line of a child's output that is its answer; libraries print lines of their own."""


def timed(suite: str, case: str, calls: int) -> dict:
    """Times a case in this process.

    Args:
      suite, case: names in `SUITES`.
      calls: how many calls are timed, unless the case needs fewer.

    Returns:
      `unit`, and milliseconds of one: `wall_ms`, and `cpu_ms` of all threads; `peak_mb`, the most
      memory that the process had; or `missing`, what is not installed.
    """
    try:
        work = prepared(suite, case)
    except ImportError as error:
        return {"missing": f"{error.name or error} is not installed"}
    calls = min(calls, work.calls or calls)
    for _ in range(WARM_UP if not work.calls else 1):
        work.call()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        work.call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    each = 1000 / (calls * work.units)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"unit": work.unit, "wall_ms": wall * each, "cpu_ms": cpu * each, "peak_mb": peak}


def answer(suite: str, case: str, calls: int) -> str:
    """Returns the line that a child prints."""
    return MARK + json.dumps(timed(suite, case, calls))


def child(suite: str, case: str, calls: int, threads: int) -> dict:
    """Times a case in a process of its own; see `timed`.

    Raises:
      MkdError: if it fails.
    """
    flags = [f"--suite={suite}", f"--case={case}", f"--runs={calls}"]
    limits = {f"TF_NUM_{kind}OP_THREADS": str(threads) for kind in ("INTRA", "INTER")}
    done = subprocess.run(  # noqa: S603 (this program again)
        [sys.executable, "-m", "mkd_tf.benchmark", *flags],
        capture_output=True,
        text=True,
        env=os.environ | limits | {"OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        last = (done.stderr.strip() or done.stdout.strip() or "nothing printed").splitlines()[-1]
        do = f"Run it alone: mkd benchmark {' '.join(flags[:2])}."
        fail(f"case {case}", expected="a timed call", got=last, do=do)
    return json.loads(lines[-1][len(MARK) :])


def run_suite(
    suite: str,
    *,
    rounds: int,
    calls: int,
    threads: int,
    on_case: Callable[[str, int], None] = lambda case, round_number: None,
    time_case: Callable[[str, str, int, int], dict] = child,
) -> SuiteFile:
    """Times the cases of a suite in turns, `rounds` times.

    Args:
      suite: name in `SUITES`.
      rounds: processes of each case.
      calls: calls of each process, after a few that are not timed.
      threads: that TensorFlow may use.
      on_case: called with every case and round, before it begins.
      time_case: does what `child` does.

    Raises:
      MkdError: if there is no such suite, or a case fails.
    """
    check_one_of("suite", suite, tuple(SUITES))
    load = [os.getloadavg()[0]]
    found: dict[str, list[dict]] = {case: [] for case in SUITES[suite]}
    for number in range(rounds):
        for case, results in found.items():
            if results and "missing" in results[0]:
                continue
            on_case(case, number + 1)
            results.append(time_case(suite, case, calls, threads))
    load.append(os.getloadavg()[0])
    first = next(iter(found.values()))
    base = statistics.median(r["cpu_ms"] for r in first)
    return {
        "suite": suite,
        "machine": machine(),
        "load": load,
        "threads": threads,
        "rounds": rounds,
        "runs": calls,
        "cases": {case: _figures(results, base) for case, results in found.items()},
    }


def _figures(results: list[dict], base: float) -> CaseFigures:
    if "missing" in results[0]:
        return {"unit": "", "wall_ms": [], "cpu_ms": [], "ratio": None, "missing": results[0]["missing"]}
    wall, cpu, peak = ([r[kind] for r in results] for kind in ("wall_ms", "cpu_ms", "peak_mb"))
    return {
        "unit": results[0]["unit"],
        "wall_ms": wall,
        "cpu_ms": cpu,
        "peak_mb": max(peak),
        "ratio": statistics.median(cpu) / base,
        "missing": "",
    }


def machine() -> dict[str, str]:
    """Returns what the figures depend on: processor, cores, versions."""
    import keras
    import tensorflow as tf

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def markdown(found: SuiteFile) -> str:
    """Returns a suite's figures as a table of Markdown, with the machine."""
    parts = [f"{name} {value}" for name, value in found["machine"].items()]
    before, after = found["load"]
    lines = [
        f"# Benchmark: {found['suite']}",
        "",
        f"{', '.join(parts)}; threads: {found['threads']}. {found['rounds']} processes of each in turns, "
        f"{found['runs']} calls in each; medians, and the range in brackets. Load at the beginning and the "
        f"end: {before:.1f}, {after:.1f}.",
        "",
        "| case | processor, ms | wall, ms | of | times the first | times its floor | peak, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, entry in found["cases"].items():
        if entry["missing"]:
            lines.append(f"| {case} | not measured: {entry['missing']} | | | | | |")
            continue
        times = (_spread(entry["cpu_ms"]), _spread(entry["wall_ms"]))
        peak = f"{entry['peak_mb']:.0f}" if "peak_mb" in entry else ""
        lines.append(
            f"| {case} | {times[0]} | {times[1]} | {entry['unit']} | {entry['ratio']:.2f} "
            f"| {_over_floor(case, found['cases'])} | {peak} |"
        )
    return "\n".join(lines) + "\n"


def _over_floor(case: str, cases: dict[str, CaseFigures]) -> str:
    """Returns a case's processor time as a multiple of its floor's; empty where that is unknown."""
    parts = [cases[name] for name in FLOORS.get(case, ()) if name in cases]
    # A student alone is no floor.
    if len(parts) < 2 or any(part["missing"] for part in parts):
        return ""
    floor = sum(statistics.median(part["cpu_ms"]) for part in parts)
    return f"{statistics.median(cases[case]['cpu_ms']) / floor:.2f}"


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def write(path: str, found: SuiteFile) -> str:
    """Writes the record to `path`, and its table beside it with the ending `.md`, whose path it returns."""
    schemas.write(path, found, SuiteFile)
    table = Path(path).with_suffix(".md")
    write_bytes(table, markdown(found).encode())
    return str(table)
