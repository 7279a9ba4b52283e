"""Runs programs in processes of their own that have imported TensorFlow already.

Importing TensorFlow, Keras and tfmot takes a program six seconds of processor time, and the tests
call some hundred of them. A server imports them once for each process of the tests, touches
no device, and forks for every call: the child gets the arguments, environment, folder and
files of the call, and runs the module as `python -m` does. What a program itself imports at
its start is tested elsewhere, by real processes: `tests/programs/test_help.py`, `tests/packaging/`.
"""

import atexit
import functools
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NoReturn

from tests import faults

ROOT = Path(__file__).resolve().parents[1]


def run(
    module: str, flags: tuple[str, ...], timeout: float, **environment: str
) -> subprocess.CompletedProcess:
    """Runs `python -m module *flags` at the root of the checkout; returns what it printed.

    Raises:
      subprocess.TimeoutExpired: if it is not done in `timeout` seconds; it is killed then.
    """
    server = _server()
    with tempfile.TemporaryDirectory() as folder:
        outputs = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        call = {
            "module": module,
            "flags": flags,
            "outputs": outputs,
            "environment": dict(os.environ) | environment,
        }
        server.stdin.write(json.dumps(call) + "\n")
        server.stdin.flush()
        child = int(server.stdout.readline())
        timer = threading.Timer(timeout, os.kill, (child, signal.SIGKILL))
        timer.start()
        code = int(server.stdout.readline())
        timer.cancel()
        if code == -signal.SIGKILL and faults.FAULT not in environment:
            raise subprocess.TimeoutExpired([module, *flags], timeout)
        printed = [Path(path).read_text() for path in outputs]
    return subprocess.CompletedProcess([module, *flags], code, *printed)


def settle() -> None:
    """Lets the collector pass over all modules that are imported, and look at what is new less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@functools.cache
def _server() -> Any:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.zygote"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.__exit__, None, None, None)  # Closes its input, at which it ends.
    return server


def _serve() -> None:
    """Answers each call with two lines: the number of the child, and its exit status."""
    from tensorflow.python.eager import context

    import mkd_tf.compression
    import mkd_tf.deployment.export_run
    import mkd_tf.training.run  # noqa: F401

    if context.context()._initialized:
        raise RuntimeError("a forked child cannot use TensorFlow's threads")
    settle()
    for line in sys.stdin:
        call = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(**call)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(module: str, flags: list[str], outputs: list[str], environment: dict[str, str]) -> NoReturn:
    for number, path in enumerate((os.devnull, *outputs)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
    # A shell's background jobs, and what they start, ignore an interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    faults.install(environment)
    sys.argv = [module, *flags]
    sys.path[:1] = [str(ROOT), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    _serve()
