"""The processes of a training on several machines, as the environment variable TF_CONFIG lists them.

    {"cluster": {"worker": ["first:12345", "second:12345"]}, "task": {"type": "worker", "index": 0}}

`cluster` is the same for all of them, `task` is the process's own place in it. The first worker,
or the one task of type `chief`, is the chief: it writes the work directory.
Reference: tf.distribute.cluster_resolver.TFConfigClusterResolver.
"""

import dataclasses
import json
import os
from typing import Any, NoReturn

from mkd_tf.checks import fail

NAME = "TF_CONFIG"
EXAMPLE = '{"cluster": {"worker": ["first:12345", "second:12345"]}, "task": {"type": "worker", "index": 0}}'
_TYPES = ("chief", "worker")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a run in the order of their numbers, and which of them this process is.

    Attributes:
      addresses: `host:port` of each; the first is the chief's.
      index: number of this process, from 0.
    """

    addresses: tuple[str, ...]
    index: int

    def __str__(self) -> str:
        return f"worker {self.index} of {len(self.addresses)} ({self.addresses[self.index]})"


def read_cluster(value: str | None = None) -> Cluster:
    """Returns what `TF_CONFIG` says.

    Args:
      value: of the variable; None for that of this process.

    Raises:
      MkdError: if it is missing or malformed, or names fewer than two workers.
    """
    given = os.environ.get(NAME, "") if value is None else value
    if not given.strip():
        _wrong("the addresses of all workers", "nothing")
    try:
        content = json.loads(given)
    except (ValueError, RecursionError) as error:
        _wrong("JSON", f"{given[:60]!r} ({error})")
    cluster, task = (content.get(key) if isinstance(content, dict) else None for key in ("cluster", "task"))
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        _wrong("an object with cluster and task", given[:80])
    others = sorted({*cluster, task.get("type")} - {*_TYPES}, key=str)
    if others:
        _wrong("tasks of the types chief and worker", ", ".join(map(str, others)))
    by_type = {kind: _addresses(kind, cluster.get(kind, [])) for kind in _TYPES}
    if len(by_type["chief"]) > 1:
        _wrong("one chief at most", f"{len(by_type['chief'])}")
    addresses = (*by_type["chief"], *by_type["worker"])
    if len(set(addresses)) < max(2, len(addresses)):
        _wrong("two or more workers, each with an address of its own", ", ".join(addresses) or "none")
    kind, index = task["type"], task.get("index", 0)
    # Some launchers write the number as text.
    text = str(index)
    if not text.isdecimal() or int(text) >= len(by_type[kind]) or isinstance(index, bool):
        _wrong(f"a task.index from 0 to {len(by_type[kind]) - 1} for the type {kind}", repr(index))
    return Cluster(addresses, int(text) + (len(by_type["chief"]) if kind == "worker" else 0))


def _addresses(kind: str, given: Any) -> tuple[str, ...]:
    is_list = isinstance(given, list) and all(isinstance(address, str) for address in given)
    if not is_list or not all(address.rpartition(":")[2].isdecimal() and ":" in address for address in given):
        _wrong(f"cluster.{kind} as a list of host:port", str(given)[:80])
    return tuple(given)


def _wrong(expected: str, got: str) -> NoReturn:
    fail(
        f"environment variable {NAME}",
        expected=f"{expected} (--distribution=multi_worker)",
        got=got,
        do=f"Set it for each process, its own index in each, as {NAME}='{EXAMPLE}'.",
    )
