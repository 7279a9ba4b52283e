"""The micro format: source that is read back, compiled, decoded in C++, and measured where packages are."""

import functools
import subprocess

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.conversion.facts import FileFacts
from mkd_tf.conversion.micro.arena import arena_bytes, vela_summary
from mkd_tf.conversion.micro.format import Micro
from mkd_tf.conversion.micro.runner import MicroRunner
from mkd_tf.conversion.micro.source import _as_added, from_source, to_header, without_metadata
from mkd_tf.conversion.tflite import convert
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from mkd_tf.detection.postprocess import PostprocessConfig, batch_detections
from mkd_tf.kit import copy_kit
from tests.conversion import made

LABELS = ("Zelle ä", 'with "quotes"?', "3")
POINT = {"value": 0.4321, "f1": 0.5, "chosen": "so", "per_class": {}}
FACTS = FileFacts("0.1", "ab12", "letterbox", LABELS, operating_point=POINT)


@functools.cache
def source() -> bytes:
    """The source of the detector in `made`; its TFLite file is made once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "to_tflite", lambda *_, **__: made.file("int8", "raw"))
        content = Micro().convert(made.detector(), None, LABELS, "letterbox", lambda *_: None)
    return Micro().finish(content, FACTS)


def test_what_is_written_is_read_back():
    found = from_source(source())
    assert found.facts == FACTS
    assert found.model == without_metadata(made.file("int8", "raw"))
    assert len(found.model) < len(made.file("int8", "raw")) - 3000
    anchors = made.detector().anchors.centers_and_sizes() / made.SIDE
    np.testing.assert_array_equal(found.anchors, anchors.astype("float32"))


def test_it_runs_as_the_raw_file_does():
    images = made.images(2)
    runner, raw = MicroRunner(source()), TFLiteRunner(made.file("int8", "raw"))
    assert (runner.image_size, runner.class_names, runner.fit) == (made.SIDE, LABELS, "letterbox")
    assert runner.operating_point == POINT
    for some, more in zip(runner(images), raw(images), strict=True):
        np.testing.assert_array_equal(some.scores, more.scores)
        np.testing.assert_array_equal(some.boxes, more.boxes)
    heads = Micro().heads(source(), images)
    assert heads["scores"].shape == (2, len(made.detector().anchors), 3)
    assert 0 <= heads["scores"].min() < heads["scores"].max() <= 1


@pytest.mark.parametrize(
    "change", [lambda s: s[:5000], lambda s: s.replace(b"0x", b"0y"), lambda s: b"int x;"]
)
def test_another_text_is_refused(change):
    with pytest.raises(
        MkdError, match="model: (expected a .cc file of mkd_tf|not a readable|cut off or changed)"
    ):
        MicroRunner(change(source()))


def test_an_arena_that_was_not_measured_stops_the_compiler():
    found = from_source(source())
    header = to_header(found)
    assert f"constexpr int kArenaBytes = {found.arena_bytes};" in header
    assert "kScoreThreshold = 0.4321f" in header and "kLetterbox = true" in header
    assert list(Micro().companions("student_micro.cc", made.detector(), source())) == ["student_micro.h"]


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """The files that a project for a board is made of."""
    if subprocess.run(["which", "g++"], capture_output=True, check=False).returncode:
        pytest.skip("no g++ on PATH")
    folder = tmp_path_factory.mktemp("board") / "kit"
    copy_kit("micro", folder)
    (folder / "student_micro.cc").write_bytes(source())
    (folder / "student_micro.h").write_text(
        to_header(from_source(source())).replace("kArenaBytes = 0", "kArenaBytes = 64")
    )
    return folder


def _compile(folder, *arguments):
    command = ["g++", "-Wall", "-Wextra", "-Werror", "-I.", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


_DECODING = """
#include <cstdio>
#include "decode.h"
#include "student_micro.h"
static float encodings[4 * mkd::kAnchorCount], logits[mkd::kClassCount * mkd::kAnchorCount];
int main() {
  if (!std::fread(encodings, sizeof(encodings), 1, stdin)) return 1;
  if (!std::fread(logits, sizeof(logits), 1, stdin)) return 1;
  mkd::Detection found[20];
  const int count = mkd::Decode(encodings, logits, mkd::kAnchors, mkd::kAnchorCount, mkd::kClassCount,
                                0.3f, found, 20);
  for (int i = 0; i < count; ++i) {
    const mkd::Detection& d = found[i];
    std::printf("%d %.9g %.9g %.9g %.9g %.9g\\n", d.label, d.score, d.ymin, d.xmin, d.ymax, d.xmax);
  }
  std::fprintf(stderr, "%s|%s|%s", mkd::kLabels[0], mkd::kLabels[1], mkd::kLabels[2]);
}
"""


def test_the_decoder_in_c_is_ours(board):
    (board / "decoding.cc").write_text(_DECODING)
    _compile(board, "-std=c++11", "-O1", "decoding.cc", "student_micro.cc", "-o", "decoding")
    anchors = made.detector().anchors.centers_and_sizes() / made.SIDE
    for image in made.images(3):
        outputs = MicroRunner(source()).invoke(image)
        data = b"".join(outputs[n].tobytes() for n in ("box_encodings", "class_logits"))
        done = subprocess.run([board / "decoding"], input=data, capture_output=True, timeout=60, check=True)
        assert done.stderr.decode() == "|".join(LABELS)
        rows = np.array([line.split() for line in done.stdout.decode().splitlines()], "float32").reshape(
            -1, 6
        )
        config = PostprocessConfig(score_threshold=0.3, max_detections=20)
        (wanted,) = batch_detections(outputs["class_logits"], outputs["box_encodings"], anchors, config)
        assert len(rows) == len(wanted) > 5
        np.testing.assert_array_equal(rows[:, 0], wanted.labels)
        np.testing.assert_allclose(rows[:, 1], wanted.scores, atol=1e-6)
        np.testing.assert_allclose(rows[:, 2:], wanted.boxes, atol=1e-6)


_STUBS = {
    "schema/schema_generated.h": """
#pragma once
namespace tflite { struct Model {}; inline const Model* GetModel(const void*) { return nullptr; } }
""",
    "micro/micro_mutable_op_resolver.h": """
#pragma once
enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
namespace tflite { template <unsigned N> struct MicroMutableOpResolver {
  %s
}; }
""",
    "micro/micro_interpreter.h": """
#pragma once
#include <cstddef>
#include <cstdint>
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
union TfLitePtrUnion { uint8_t* uint8; float* f; };
struct TfLiteTensor { TfLitePtrUnion data; };
namespace tflite { struct MicroInterpreter {
  template <unsigned N> MicroInterpreter(const Model*, const MicroMutableOpResolver<N>&, uint8_t*, size_t) {}
  TfLiteStatus AllocateTensors() { return kTfLiteOk; }
  TfLiteStatus Invoke() { return kTfLiteOk; }
  TfLiteTensor* input(size_t) { return nullptr; }
  TfLiteTensor* output(size_t) { return nullptr; }
}; }
""",
}
# Of the library's resolver, those that our families may need.
_ADDED = (
    "Add",
    "AveragePool2D",
    "Concatenation",
    "Conv2D",
    "DepthwiseConv2D",
    "Dequantize",
    "L2Normalization",
    "MaxPool2D",
    "PadV2",
) + ("Mul", "Pad", "Quantize", "Relu6", "Reshape", "ResizeNearestNeighbor", "Softmax", "SplitV", "Sub")


def test_operators_are_named_as_the_resolver_names_them():
    names = "CONV_2D DEPTHWISE_CONV_2D L2_NORMALIZATION RELU6 PADV2 SPLIT_V RESIZE_NEAREST_NEIGHBOR SOFTMAX"
    added = [_as_added(name) for name in names.split()]
    assert set(added) <= set(_ADDED) and len(set(added)) == 8
    header = to_header(from_source(source()))
    assert "kOperatorCount = 8;" in header and "  resolver.AddConv2D();\n" in header


def test_the_example_compiles_against_the_librarys_signatures(board):
    adders = " ".join(f"TfLiteStatus Add{name}() {{ return kTfLiteOk; }}" for name in _ADDED)
    for name, text in _STUBS.items():
        path = board / "stubs/tensorflow/lite" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("%s", adders))
    _compile(board, "-std=c++17", "-Istubs", "-fsyntax-only", "main.cc")


def test_the_arena_is_measured():
    pytest.importorskip("tflite_micro", reason="no tflite-micro: pip install tflite-micro")
    used = arena_bytes(from_source(source()).model)
    assert used == from_source(source()).arena_bytes
    assert 20_000 < used < 100_000
    assert Micro().report(source())["micro"]["arena_bytes"] == used
    assert arena_bytes(b"no model") == 0


def test_vela_summarises():
    pytest.importorskip("ethosu", reason="no vela: pip install ethos-u-vela")
    found = vela_summary(from_source(source()).model, "ethos-u55-128")
    assert found["npu_operators"] > 30 and found["cpu_operators"] == 2
    assert 0 < found["inference_ms"] < 10 and 10 < found["sram_kib"] < 200
    assert vela_summary(b"no model", "ethos-u55-128") is None
