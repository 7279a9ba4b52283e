"""Runs functions in several workers on 127.0.0.1: processes forked from one that has imported TensorFlow.

Importing it takes each process six seconds of processor time; a fork that comes before TensorFlow
touches a device takes none. `python -m tests.training.worker_processes MODULE PHASE..` calls
`MODULE.phase(name)` in the workers of each phase, which `MODULE.PHASES` counts, one phase after the
other, and prints the exit statuses as JSON.
"""

import importlib
import json
import os
import socket
import subprocess
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(module: str, *phases: str, timeout: float = 1500) -> dict[str, list[int]]:
    """Returns the exit statuses of the workers of each phase; what they print is shown if a test fails."""
    command = [sys.executable, "-m", "tests.training.worker_processes", module, *phases]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout)
    print(done.stdout, done.stderr[-5000:])
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def free_addresses(count: int) -> list[str]:
    """Returns addresses on which nobody listens; all are held until the last one is known."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    found = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return found


def cluster_of(count: int) -> list[str]:
    """Returns the value of TF_CONFIG for each of so many workers."""
    cluster = {"worker": free_addresses(count)}
    tasks = [{"type": "worker", "index": i} for i in range(count)]
    return [json.dumps({"cluster": cluster, "task": task}) for task in tasks]


def _forked(called: object, config: str) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.environ["TF_CONFIG"] = config
        status = called() or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main(module: str, *phases: str) -> None:
    """Runs the phases."""
    made = importlib.import_module(module)
    statuses = {}
    for phase in phases:
        children = [_forked(lambda p=phase: made.phase(p), c) for c in cluster_of(made.PHASES[phase])]
        ended = [os.waitpid(child, 0)[1] for child in children]
        statuses[phase] = [os.waitstatus_to_exitcode(status) for status in ended]
    print(json.dumps(statuses))


if __name__ == "__main__":
    main(*sys.argv[1:])
