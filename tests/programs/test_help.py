"""--help of every program: fast, grouped, with an example, and nothing heavy is imported for it."""

import os
import re
import subprocess
import sys

import pytest

from mkd_tf.version import __version__
from tests.export.programs import ROOT, error_of, run

PROGRAMS = {
    "mkd_tf.train": ["--dataset=  ", "Random changes of a training image", "--strategies="],
    "mkd_tf.inspect_data": ["--on_bad_example=skip", "--strict=false", "mkd inspect_data", "review.json"],
    "mkd_tf.evaluate": ["--split=test", "mkd evaluate", "One of stretch,"],
    "mkd_tf.predict": ["--score_threshold=  ", ".keras, .tflite, .onnx"],
    "mkd_tf.label": ["--formats=coco,voc,yolo", "--class_map=  ", "mkd label", "One of flip, half_turn."],
    "mkd_tf.export": ["--formats=tflite", "onnx(opset=17)", "opset=17", "--max_ap_drop=2.0"],
    "mkd_tf.edgetpu_check": ["--compiler=auto", "One of auto, never."],
    "mkd_tf.diagnose": ["--precise_layers=0", "--precision=int16"],
    "mkd_tf.ablate": ["--file=", "--shard=0/1"],
    "mkd_tf.report": ["--workdir=", "--images=500", "mkd report", "markdown, latex"],
    "mkd_tf.benchmark": ["--models=", "--runs=200"],
    "export.tflite": ["--quantization=int8", "--postprocess=detection", "--max_ap_drop=2.0"],
    "export.onnx": ["--opset=17", "--dynamic_batch=false", "--max_ap_drop=2.0"],
    "export.edgetpu": ["--timeout_s=300.0"],
    "export.diagnose": ["--images=32"],
}


@pytest.mark.parametrize("module", PROGRAMS)
def test_help_is_printed_without_tensorflow(module):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", module, "--help"],
        cwd=ROOT,
        # The width of a terminal, where the child would ask for one.
        env=os.environ | {"COLUMNS": "110"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for words in (*PROGRAMS[module], f"usage: python -m {module}", f"python -m {module}", "--debug"):
        assert words in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110
    assert len(done.stdout.splitlines()) < 120, "more than two screens"
    imported = set(re.findall(r"\|\s+(\w+)$", done.stderr, flags=re.MULTILINE))
    assert "absl" in imported and not imported & {"tensorflow", "keras", "onnx", "onnxruntime", "tf2onnx"}


def test_version():
    done = run("--version", module="mkd_tf.train")
    assert (done.returncode, done.stdout) == (0, f"mkd_tf {__version__}\n")


@pytest.mark.parametrize(
    ("module", "flag", "told"),
    [
        ("mkd_tf.train", "--mosaic=2", "flag --mosaic: expected a number from 0 to 1, got 2.0"),
        ("mkd_tf.inspect_data", "--image_size=100", "flag --image_size: expected a positive multiple of 32"),
        ("mkd_tf.inspect_data", "--copies", "flag --dataset: expected a data set, got nothing"),
        ("mkd_tf.evaluate", "--fit=crop", "flag --fit: expected one of stretch, letterbox, got 'crop'"),
        ("mkd_tf.predict", "--score_threshold=2", "flag --model: expected a path, got nothing"),
        (
            "mkd_tf.export",
            "--formats=zip",
            "flag --formats: format: expected one of tflite, onnx, micro, got 'zip'",
        ),
        ("mkd_tf.export", "--formats=tflite(opset=3)", "tflite takes: quantization, postprocess"),
        ("mkd_tf.export", "--formats=onnx(opset=3)", "flag --formats: opset: expected one of 13"),
        ("mkd_tf.export", "--seed=-1", "flag --seed: expected 0 or more"),
        ("mkd_tf.report", "--formats=pdf", "flag --formats: expected one of markdown, latex, got 'pdf'"),
        ("mkd_tf.benchmark", "--threads=0", "flag --threads: expected a number above 0"),
        ("mkd_tf.benchmark", "--suite=speed", "flag --suite: expected one of latency, step"),
        ("export.edgetpu", "--compiler=maybe", "flag --model: expected a .tflite file"),
        ("export.tflite", "--quantization=int8,int4", "flag --quantization: expected one of float32"),
        ("mkd_tf.diagnose", "--images=0", "flag --images: expected a number above 0"),
    ],
)
def test_what_is_not_allowed_is_told_before_anything_is_read(module, flag, told):
    assert told in error_of(run(flag, module=module))
