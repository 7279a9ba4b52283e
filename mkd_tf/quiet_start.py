"""Keeps TensorFlow's words about itself off the terminal of the project's programs.

Its C++ libraries report at every start that oneDNN is on and that no GPU was found, in lines for those
who build TensorFlow. `TF_CPP_MIN_LOG_LEVEL` silences what they say later, not what they say while they
are loaded: until then their level is not set. So standard error passes through a filter during
`import tensorflow` alone. The filter is a process of its own: what a start says before it kills this
process, such as on a processor without AVX, still arrives.

Programs call it; who imports mkd_tf hears TensorFlow as ever.
"""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_ONLY_FATAL = "3"
_PACKAGE = "tensorflow"
_PATIENCE_S = 10
# Lines as I0000 00:00:1795943966.608744 9503 port.cc:153] ..., of level I or W, and what goes with them.
_FILTER = r"""
import os, re, sys
told = re.compile(
    rb"[IW]\d{4} [\d:.]+ +\d+ [\w./-]+:\d+\] |WARNING: All log messages before absl::InitializeLog|"
    rb"To enable the following instructions: "
)
for line in sys.stdin.buffer:
    if not told.match(line):
        os.write(2, line)
"""


def quiet_tensorflow() -> None:
    """Silences the start of TensorFlow in this process and in those that it starts.

    A lower level that the user has set in `TF_CPP_MIN_LOG_LEVEL` counts, and nothing is filtered then.
    Nothing is where TensorFlow is imported already.
    """
    is_quiet = os.environ.setdefault(_LEVEL, _ONLY_FATAL) == _ONLY_FATAL
    if is_quiet and _PACKAGE not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow as it would be found, and has it loaded behind the filter."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _PACKAGE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Loads a module as `loader` does, behind the filter."""

    def __init__(self, loader: Any):
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        module: types.ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        with filtered_stderr():
            self._loader.exec_module(module)


@contextlib.contextmanager
def filtered_stderr() -> Iterator[None]:
    """Passes what this process writes to standard error through the filter, and waits for the rest of it."""
    try:
        real = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        reading, writing = os.pipe()
        command = [sys.executable, "-I", "-S", "-c", _FILTER]
        # In a session of its own: Ctrl-C is for the program.
        process = subprocess.Popen(command, stdin=reading, stderr=real, start_new_session=True)  # noqa: S603
        os.close(reading)
        os.dup2(writing, 2)
        os.close(writing)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)  # which ends the filter's input
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE_S)
    finally:
        os.close(real)
