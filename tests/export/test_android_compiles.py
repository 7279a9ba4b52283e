"""The Kotlin of `export/android`: compiled against stubs, and its own decoder run on the JVM.

The compiler comes with the package kotlin-jupyter-kernel; the tests skip without it or without Java.
"""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mkd_tf.conversion.facts import FileFacts
from mkd_tf.conversion.tflite.finishing import finish
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from mkd_tf.detection.postprocess import PostprocessConfig, batch_detections
from tests.conversion import made
from tests.export.kotlin_stubs import write_stubs

KIT = Path(__file__).resolve().parents[2] / "export/android"
_MAIN = """
package mkd.detector
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

fun floats(path: String): FloatArray {
    val bytes = ByteBuffer.wrap(File(path).readBytes()).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
    return FloatArray(bytes.remaining()) { bytes.get(it) }
}

fun main(arguments: Array<String>) {
    val files = packedFiles(File(arguments[0]).readBytes())
    println(files.keys.sorted().joinToString(" "))
    println(String(files.getValue("mkd_tf.json"), Charsets.UTF_8))
    val facts = factsOf(files)
    val told = with(facts) { listOf(version, sourceSha256, imageSize, isLetterbox, scoreThreshold) }
    println(told.joinToString(" "))
    println(facts.labels.joinToString("|"))
    for (it in decode(floats(arguments[1]), floats(arguments[2]), anchorsOf(files), 0.3f, 20)) {
        println("${it.label} ${it.score} ${it.box.joinToString(" ")}")
    }
}
"""


def _jars() -> Path:
    found = importlib.util.find_spec("run_kotlin_kernel")
    if found is None or not found.submodule_search_locations:
        pytest.skip("no Kotlin compiler: pip install kotlin-jupyter-kernel")
    if shutil.which("java") is None:
        pytest.skip("no java on PATH")
    return Path(found.submodule_search_locations[0], "jars")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> tuple[Path, Path]:
    """The kit, compiled with the stubs and a main function; and Kotlin's library."""
    jars, folder = _jars(), tmp_path_factory.mktemp("kotlin")
    (folder / "Main.kt").write_text(_MAIN)
    sources = [*KIT.glob("*.kt"), *write_stubs(folder), folder / "Main.kt"]
    (library,) = jars.glob("kotlin-stdlib-[0-9]*.jar")
    classes = ":".join(map(str, (*jars.glob("kotlin-jupyter-kernel-*-all.jar"), *jars.glob("kotlin-*.jar"))))
    command = ["java", "-Xmx1g", "-cp", classes, "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"]
    command += ["-no-stdlib", "-no-reflect", "-cp", library, "-d", folder / "classes", *sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert done.returncode == 0, "\n".join(errors or [done.stderr])
    # A warning in the kit itself is a fault; those of the stubs are of parameters that nothing uses.
    assert not [line for line in done.stderr.splitlines() if "warning:" in line and str(KIT) in line]
    return folder / "classes", library


def test_what_the_kit_decodes_is_what_we_decode(compiled, tmp_path):
    classes, library = compiled
    labels = ("Zelle ä\U0001f9ec", 'b "quoted" \\ \t', "c" * 300)
    point = {"value": 0.37, "f1": 0.5, "chosen": "best F1", "per_class": {"c": 0.4}}
    facts = FileFacts("0.1", "ab12", "letterbox", labels, operating_point=point, image_size=made.SIDE)
    model = tmp_path / "raw.tflite"
    model.write_bytes(finish(made.file("float32", "raw"), facts))
    outputs = TFLiteRunner(model).invoke(made.images(1)[0])
    for name, values in outputs.items():
        (tmp_path / name).write_bytes(values.astype("<f4").tobytes())
    command = ["java", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp", f"{classes}:{library}"]
    command += ["mkd.detector.MainKt", model, tmp_path / "box_encodings", tmp_path / "class_logits"]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    names, told, read, read_labels, *rows = done.stdout.decode("utf-8").split("\n")[:-1]
    assert names.split() == ["anchors.csv", "labels.txt", "mkd_tf.json"]
    assert FileFacts.from_json(told) == facts
    assert read == f"0.1 ab12 {made.SIDE} true 0.37" and read_labels.split("|") == list(labels)
    anchors = made.detector().anchors.centers_and_sizes() / made.SIDE
    config = PostprocessConfig(score_threshold=0.3, max_detections=20)
    (wanted,) = batch_detections(outputs["class_logits"], outputs["box_encodings"], anchors, config)
    found = np.array([row.split() for row in rows], "float32")
    assert len(found) == len(wanted) > 5
    np.testing.assert_array_equal(found[:, 0], wanted.labels)
    np.testing.assert_allclose(found[:, 1], wanted.scores, atol=1e-6)
    np.testing.assert_allclose(found[:, 2:], wanted.boxes, atol=1e-6)
