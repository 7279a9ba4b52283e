"""Files are timed in turns, against the first."""

from pathlib import Path

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.evaluation import cost
from mkd_tf.evaluation.benchmarking import file_latencies, latency_table, some_picture
from mkd_tf.evaluation.results import make_console
from tests.conversion import made


class Clock:
    """A clock that stands still but for what the calls take."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def perf_counter(self):
        return self.now

    def call(self, name, *takes):
        left = list(takes)

        def called():
            self.order.append(name)
            self.now += left.pop(0) / 1000

        return called


def test_in_turns_of_warm_bursts(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(cost, "time", clock)
    calls = {"a": clock.call("a", 9, 1, 2, 9, 3), "b": clock.call("b", 9, 4, 5, 9, 6)}
    found = cost.interleaved_ms(calls, runs=3, burst=2, warm_up=1)
    assert "".join(clock.order) == "aaabbbaabb"
    np.testing.assert_allclose(found["a"], [1, 2, 3])
    np.testing.assert_allclose(found["b"], [4, 5, 6])


def test_files_against_the_first(tmp_path):
    paths = []
    for form in ("float32", "int8"):
        path = tmp_path / f"{form}.tflite"
        path.write_bytes(made.file(form))
        paths.append(str(path))
    found = file_latencies([*paths, paths[0]], some_picture(""), runs=3)
    assert list(found) == paths
    assert found[paths[0]]["speed"] == 1.0
    for path, entry in found.items():
        assert 0 < entry["min_ms"] <= entry["median_ms"]
        assert entry["bytes"] == Path(path).stat().st_size
    assert found[paths[1]]["speed"] == found[paths[0]]["median_ms"] / found[paths[1]]["median_ms"]
    console = make_console()
    with console.capture() as told:
        console.print(latency_table("title", found))
    assert "times as fast" in told.get()


@pytest.mark.parametrize(
    ("name", "match"), [("m.keras", "ends in .tflite or .onnx"), ("none.tflite", "no such file")]
)
def test_other_files_are_errors(tmp_path, name, match):
    with pytest.raises(MkdError, match=match):
        file_latencies([str(tmp_path / name)], some_picture(""))
