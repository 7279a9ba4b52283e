"""TF_CONFIG is read as TensorFlow reads it, or refused in one line."""

import json

import pytest

from mkd_tf.checks import MkdError
from mkd_tf.training.cluster import EXAMPLE, Cluster, read_cluster


def config(cluster, **task):
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0} | task})


TWO = {"worker": ["a:1", "b:2"]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (EXAMPLE, Cluster(("first:12345", "second:12345"), 0)),
        (config(TWO, index=1), Cluster(("a:1", "b:2"), 1)),
        (config(TWO, index="1"), Cluster(("a:1", "b:2"), 1)),
        # A chief comes before all workers, and is none of them.
        (config({"chief": ["c:1"], **TWO}, index=1), Cluster(("c:1", "a:1", "b:2"), 2)),
        (config({"chief": ["c:1"], **TWO}, type="chief"), Cluster(("c:1", "a:1", "b:2"), 0)),
    ],
)
def test_the_order_of_workers_and_the_own_number(given, expected):
    assert read_cluster(given) == expected


def test_the_variable_is_read(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config(TWO, index=1))
    assert str(read_cluster()) == "worker 1 of 2 (b:2)"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "expected the addresses of all workers .*, got nothing. Set it for each process"),
        ("{", "expected JSON"),
        ("[]", "expected an object with cluster and task"),
        ('{"cluster": {}}', "expected an object with cluster and task"),
        (config({"ps": ["c:1"], **TWO}), "expected tasks of the types chief and worker .*, got ps"),
        (config(TWO, type="evaluator"), "chief and worker .*, got evaluator"),
        (config({"worker": "a:1"}), "expected cluster.worker as a list of host:port"),
        (config({"worker": ["a", "b"]}), "expected cluster.worker as a list of host:port"),
        (config({"chief": ["a:1", "b:2"]}, type="chief"), "expected one chief at most"),
        (config({"worker": ["a:1"]}), "expected two or more workers, .* got a:1"),
        (config({"worker": ["a:1", "a:1"]}), "expected two or more workers, each with an address of its own"),
        (config(TWO, index=2), "expected a task.index from 0 to 1 for the type worker .*, got 2"),
        (config(TWO, index=-1), "from 0 to 1"),
        (config(TWO, index=True), "from 0 to 1"),
    ],
)
def test_what_is_malformed_is_refused(given, told):
    with pytest.raises(MkdError, match=f"environment variable TF_CONFIG: .*{told}"):
        read_cluster(given)
