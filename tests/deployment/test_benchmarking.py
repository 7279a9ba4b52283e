"""Files are timed in turns, against the first."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mkd_tf.checks import MkdError
from mkd_tf.deployment import benchmarking
from mkd_tf.deployment.benchmarking import file_latencies, latency_table, some_image
from mkd_tf.evaluation import cost
from mkd_tf.evaluation.console import make_console
from tests.conversion import made
from tests.conversion.onnx import made_onnx


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
    (tmp_path / "float32.onnx").write_bytes(made_onnx.file())
    paths.append(str(tmp_path / "float32.onnx"))
    found = file_latencies([*paths, paths[0]], some_image(""), runs=3)
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


def test_the_image_is_the_one_that_was_given(tmp_path):
    Image.new("RGB", (40, 30), (10, 20, 30)).save(tmp_path / "a.png")
    image = some_image(str(tmp_path / "a.png"))
    assert image.shape == (30, 40, 3) and (image == [10, 20, 30]).all()
    assert some_image("").std() > 50


def test_each_has_the_threads_asked_for(tmp_path, monkeypatch):
    asked = []

    class Runner:
        image_size = 32

        def __init__(self, path, threads):
            asked.append(threads)

        def invoke(self, image):
            assert image.shape == (32, 32, 3)

    monkeypatch.setattr(benchmarking, "load_file_runner", Runner)
    (tmp_path / "a.tflite").write_bytes(b"")
    file_latencies([str(tmp_path / "a.tflite")], some_image(""), threads=3, runs=1)
    assert asked == [3]


@pytest.mark.parametrize(
    ("name", "match"), [("m.keras", "ends in .tflite, .onnx, .cc"), ("none.tflite", "no such file")]
)
def test_other_files_are_errors(tmp_path, name, match):
    with pytest.raises(MkdError, match=match):
        file_latencies([str(tmp_path / name)], some_image(""))
