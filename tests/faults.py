"""What a process does to the outside, seen by an audit hook; and faults at points that are named.

`MKD_TEST_FAULT=kill:teacher/best.keras:2` kills the process as it gives a file that name for the
second time; `term:` and `int:` send a signal there instead, `clock:` turns the clock back at every
look from then on, `memory:` leaves the process 1 MiB, `remove=PATH:` removes a file.
`MKD_TEST_CONNECTIONS=file` appends every attempt to reach the network to a file. Python calls such
hooks for whatever opens, renames or connects; what C++ does is seen by `strace` alone
(`docs/robustness.md`).
"""

import contextlib
import itertools
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FAULT, CONNECTIONS = "MKD_TEST_FAULT", "MKD_TEST_CONNECTIONS"
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")
NETWORK += ("ftplib.connect", "http.client.connect", "smtplib.connect")
STRUCK = "fault: struck at "
"""What is printed then, before the time."""
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}
EXITS = {"kill": -9, "term": 0, "int": 130}
"""How a training ends after each."""
_LITTLE = 1 << 20
_IGNORED = ("site-packages", "/proc/", "/sys/", "/dev/", sys.prefix, sys.base_prefix)
_watching: list[list[str]] = []
_hooked: list[bool] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if not any(part in path for part in _IGNORED):
            _watching[-1].append(path)
    elif event in NETWORK or event.startswith(("subprocess.", "os.exec", "os.system")):
        _watching[-1].append(event)


@contextlib.contextmanager
def opened() -> Iterator[list[str]]:
    """Yields a list that gets every path that is opened within, and every attempt to connect or to run."""
    if not _hooked:
        sys.addaudithook(_watch)  # It stays for the process: it cannot be removed.
        _hooked.append(True)
    _watching.append([])
    try:
        yield _watching[-1]
    finally:
        _watching.pop()


def install(environment: dict[str, str]) -> None:
    """Installs what the environment of a program asks for, at its start."""
    if CONNECTIONS in environment:
        _record_connections(environment[CONNECTIONS])
    if FAULT in environment:
        _strike_at(environment[FAULT])


def _record_connections(path: str) -> None:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in NETWORK:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(descriptor, f"{event} {arguments!r}\n".encode())
            os.close(descriptor)

    sys.addaudithook(hook)


def _strike_at(fault: str) -> None:
    """Strikes at the n-th opening, renaming or removal of a path that ends as the point says.

    A point `>best.keras` is the moment before a file gets its name, `+arrays.npz` that in which it
    is opened to be written, `-epoch_000001` that before it is removed.
    """
    how, point, count = fault.split(":")
    sign, ending = point[0], point[1:]
    left = [int(count)]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        path: Any = None
        if sign == ">" and event == "os.rename":
            path = arguments[1]
        if sign == "+" and event == "open" and set(str(arguments[1])) & set("wax"):
            path = arguments[0]
        if sign == "-" and event in ("os.remove", "os.rmdir", "shutil.rmtree"):
            path = arguments[0]
        if not isinstance(path, (str, bytes, os.PathLike)) or ending not in os.fsdecode(path):
            return
        left[0] -= 1
        if left[0] == 0:
            os.write(2, f"{STRUCK}{time.time()}\n".encode())
            _strike(how)

    sys.addaudithook(hook)


def _strike(how: str) -> None:
    if how in SIGNALS:
        os.kill(os.getpid(), SIGNALS[how])
    elif how == "clock":
        _turn_back_the_clock()
    elif how == "memory":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + _LITTLE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    else:
        os.remove(how.removeprefix("remove="))


def _turn_back_the_clock() -> None:
    """Makes every look at the clock an hour earlier than the one before."""
    now, looks = time.time, itertools.count(1)
    time.time = lambda: now() - 3600.0 * next(looks)
