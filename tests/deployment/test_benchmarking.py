"""Files are timed in turns, against the first."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mkd_tf.checks import MkdError
from mkd_tf.config import DataConfig
from mkd_tf.conversion.tflite.model_file import unpack
from mkd_tf.conversion.tflite.runner import TFLiteRunner, open_interpreter
from mkd_tf.deployment import benchmarking, operator_times
from mkd_tf.deployment.benchmarking import file_latencies, latency_table, run_images, some_images
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
    found = file_latencies([*paths, paths[0]], some_images(""), runs=3)
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
    (image,) = some_images(str(tmp_path / "a.png"))
    assert image.shape == (30, 40, 3) and (image == [10, 20, 30]).all()
    assert some_images("")[0].std() > 50


def test_each_has_the_threads_asked_for(tmp_path, monkeypatch):
    asked = []

    class Runner:
        image_size, fit = 32, ""

        def __init__(self, path, threads):
            asked.append(threads)

        def invoke(self, image):
            assert image.shape == (32, 32, 3)

    monkeypatch.setattr(benchmarking, "load_file_runner", Runner)
    (tmp_path / "a.tflite").write_bytes(b"")
    file_latencies([str(tmp_path / "a.tflite")], some_images(""), threads=3, runs=1)
    assert asked == [3]


@pytest.mark.parametrize("form", ["float32", "int8"])
def test_an_operator_alone_computes_what_it_does_in_the_file(form):
    content, (image,) = made.file(form), made.images(1)
    whole = open_interpreter(
        "whole",
        content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=operator_times.RESOLVERS["plain"],
    )
    (entry,) = whole.get_input_details()
    whole.set_tensor(entry["index"], TFLiteRunner(content).prepare(image))
    whole.invoke()
    operators, found = unpack(content).subgraphs[0].operators, operator_times.pieces(content, image)
    assert len(found) == len(operators) and found[-1].operator == "TFLite_Detection_PostProcess"
    for piece, operator in zip(found, operators, strict=True):
        alone = open_interpreter(
            "alone", piece.content, experimental_op_resolver_type=operator_times.RESOLVERS["plain"]
        )
        for detail, value in zip(alone.get_input_details(), piece.inputs, strict=True):
            alone.set_tensor(detail["index"], value)
        alone.invoke()
        for detail, index in zip(alone.get_output_details(), operator.outputs, strict=True):
            np.testing.assert_array_equal(alone.get_tensor(detail["index"]), whole.get_tensor(int(index)))


def test_operators_are_timed_by_kernels(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(made.file("int8"))
    found = operator_times.operator_times(str(path), some_images("")[0], threads=1, runs=2)
    assert {*found["ms"]} == {"xnnpack", "plain"} and min(found["ms"].values()) > 0
    assert all(time >= 0 for entry in found["operators"] for time in entry["ms"].values())
    console = make_console()
    with console.capture() as told:
        console.print(operator_times.operator_table("title", found))
    kinds = {entry["operator"] for entry in found["operators"]}
    assert "CONV_2D" in kinds and all(kind in told.get() for kind in (*kinds, "whole file"))
    with pytest.raises(MkdError, match=r"files that end in \.tflite, got a\.onnx"):
        operator_times.check_models([str(path), "a.onnx"])


def test_the_processor_is_told(tmp_path, monkeypatch):
    told = tmp_path / "cpuinfo"
    monkeypatch.setattr(operator_times, "CPU_INFO", told)
    assert operator_times.processor()["features"] == [] and operator_times.processor()["name"]
    told.write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 avx512_vnni\n\nmodel name\t: Other\n")
    assert operator_times.processor() == {"name": "Some CPU", "features": ["avx2", "avx512_vnni"]}
    told.write_text("Features\t: fp asimd asimddp\n")
    assert operator_times.processor()["features"] == ["asimd", "asimddp"]


@pytest.mark.parametrize(
    ("name", "match"), [("m.keras", "ends in .tflite, .onnx, .cc"), ("none.tflite", "no such file")]
)
def test_other_files_are_errors(tmp_path, name, match):
    with pytest.raises(MkdError, match=match):
        file_latencies([str(tmp_path / name)], some_images(""))


def test_images_of_a_folder_and_of_a_run_follow_each_other(tmp_path, monkeypatch):
    for number in range(40):
        Image.new("RGB", (8 + number, 8)).save(tmp_path / f"{number:02}.png")
    widths = [image.shape[1] for image in some_images(str(tmp_path))]
    assert len(widths) == 32 and widths[0] == 8 and widths[-1] == 47 and widths == sorted(set(widths))
    seen = []

    class Runner:
        image_size, fit = 4, "letterbox"

        def __init__(self, path, threads):
            pass

        def invoke(self, image):
            seen.append(int((image.sum(axis=(1, 2)) > 0).sum()))

    monkeypatch.setattr(benchmarking, "load_file_runner", Runner)
    (tmp_path / "a.tflite").write_bytes(b"")
    images = [np.full((4, 4, 3), 255, "uint8"), np.full((2, 4, 3), 255, "uint8")]
    file_latencies([str(tmp_path / "a.tflite")], images, runs=3)
    # Three calls to warm up; letterboxed as the file says.
    assert seen == [4, 2, 4, 2, 4, 2]
    dataset = "shapes(train=1, validation=1, test=3, unlabelled=0, size=64)"
    assert len(run_images(DataConfig(dataset=dataset, data_dir=str(tmp_path / "data")))) == 3
