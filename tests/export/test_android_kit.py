"""`export/android`: what can be checked of Kotlin where nothing compiles it."""

import json
import re
from pathlib import Path

import pytest

from mkd_tf.conversion.facts import FACTS_FILE, FileFacts
from mkd_tf.conversion.tflite.format import TFLite
from mkd_tf.conversion.tflite.metadata_reader import ANCHORS_FILE, ANCHORS_HEADER
from mkd_tf.deployment import manifest

KIT = Path(__file__).resolve().parents[2] / "export/android"
KOTLIN = sorted(KIT.glob("*.kt"))
PAIRS = {")": "(", "]": "[", "}": "{"}
# The artifact that brings a package, by the package's beginning.
ARTIFACTS = {
    "com.google.mediapipe.": "com.google.mediapipe:tasks-vision:",
    "com.google.ai.edge.litert.": "com.google.ai.edge.litert:litert:",
    "org.tensorflow.lite.task.": "org.tensorflow:tensorflow-lite-task-vision:",
    "org.tensorflow.lite.support.": "org.tensorflow:tensorflow-lite-task-vision:",
    "androidx.camera.core.": "androidx.camera:camera-core:",
    "androidx.camera.lifecycle.": "androidx.camera:camera-lifecycle:",
    "androidx.camera.view.": "androidx.camera:camera-view:",
}
PLATFORM = ("android.", "java.", "kotlin.", "org.json.", "androidx.core.", "androidx.lifecycle.")


def code(path):
    """A file without comments, and with what strings hold outside `${}` taken out."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.DOTALL)
    return re.sub(r'"[^"\n]*"', '""', text)


def unbalanced(text):
    """Returns the first bracket without its partner, or nothing."""
    opened = []
    for character in text:
        if character in PAIRS.values():
            opened.append(character)
        elif character in PAIRS and (not opened or opened.pop() != PAIRS[character]):
            return character
    return "".join(opened)


def test_brackets_are_told():
    assert unbalanced("f(a[0]) { }") == ""
    assert unbalanced("f(a[0)") == ")" and unbalanced("{ (") == "{(" and unbalanced("}") == "}"


@pytest.mark.parametrize("path", [*KOTLIN, KIT / "dependencies.gradle.kts"], ids=lambda p: p.name)
def test_brackets(path):
    assert unbalanced(code(path)) == ""


@pytest.mark.parametrize("path", KOTLIN, ids=lambda p: p.name)
def test_packages_and_imports(path):
    lines = path.read_text().splitlines()
    assert lines[0] == "package mkd.detector", "the README says where to put it"
    imports = [line.split()[1] for line in lines if line.startswith("import ")]
    assert imports == sorted(set(imports), key=str.lower) or imports == sorted(set(imports))
    body = code(path).split("import " + imports[-1])[1]
    gradle = (KIT / "dependencies.gradle.kts").read_text()
    for name in imports:
        assert re.search(rf"\b{name.rsplit('.')[-1]}\b", body), f"{name} is not used"
        artifact = next((a for start, a in ARTIFACTS.items() if name.startswith(start)), None)
        assert artifact or name.startswith(PLATFORM), f"nobody brings {name}"
        assert artifact is None or f'implementation("{artifact}' in gradle


def test_what_a_file_uses_is_there():
    """Every type that a file names is imported, declared in the package, Kotlin's own or nested."""
    declared = set()
    for path in KOTLIN:
        declared |= set(re.findall(r"\b(?:class|interface) (\w+)", code(path)))
    builtin = {"Boolean", "Float", "Int", "List", "Map", "Runnable", "String", "Unit"}
    builtin |= {"Array", "ByteArray", "Charsets", "FloatArray", "IntArray"}
    for path in KOTLIN:
        text = code(path)
        imported = {line.split(".")[-1] for line in re.findall(r"^import (.+)$", text, flags=re.MULTILINE)}
        body = re.sub(r"^(import|package) .*$", "", text, flags=re.MULTILINE)
        named = set(re.findall(r"(?<![\w.])([A-Z][a-z]\w*)", body))
        assert named <= imported | declared | builtin, named - imported - declared - builtin


def test_assets_are_what_the_exporter_writes():
    kotlin = "".join(path.read_text() for path in KOTLIN)
    assets = dict(re.findall(r'const val (\w+_ASSET) = "(.+)"', kotlin))
    raw = TFLite("float16", "raw")
    assert assets == {
        "MODEL_ASSET": f"student_{TFLite().suffix()}",
        "RAW_ASSET": f"student_{raw.suffix()}",
    }
    readme = (KIT / "README.md").read_text()
    for asset in (*assets.values(), manifest.LABELS):
        assert f"`{asset}`" in readme
    # What the Kotlin reads of the facts inside the file, key by key.
    keys = re.findall(r'(?:getJSONArray|optJSONObject|getDouble|getInt|getString)\("(\w+)"\)', kotlin)
    point = {"value": 0.4, "f1": 0.5, "chosen": "so", "per_class": {}}
    facts = FileFacts("0.1", "ab", "letterbox", ("one",), operating_point=point, image_size=64)
    told = json.loads(facts.to_json())
    assert set(keys) - {"value"} <= set(told) and told["operating_point"]["value"] == 0.4
    assert '== "letterbox"' in kotlin and f'files["{FACTS_FILE}"]' in kotlin
    assert f'files["{ANCHORS_FILE}"]' in kotlin and f'"{ANCHORS_HEADER}"' in kotlin


def test_the_readme_names_every_file_and_only_calls_what_exists():
    readme = (KIT / "README.md").read_text()
    for path in KIT.iterdir():
        assert path.name == "README.md" or f"`{path.name}`" in readme
    assert "run on a phone" in readme and "not measured" in readme
    kotlin = "".join(path.read_text() for path in KOTLIN)
    for block in re.findall(r"```kotlin\n(.*?)```", readme, flags=re.DOTALL):
        assert unbalanced(block) == ""
        for name in re.findall(r"\b(upright|toView|startCamera|\w+Detector|CameraAnalyzer)\(", block):
            assert re.search(rf"\b(?:fun|class) {name}\b", kotlin), name
        for name in re.findall(r"\b(threads|maxResults|fills) =", block):
            assert re.search(rf"\b{name}: ", kotlin), name


def test_a_letterboxed_image_keeps_its_scale():
    """A Canvas takes the density of its bitmap when it is made, and scales bitmaps of another one."""
    body = code(KIT / "Detection.kt").split("fun letterboxed(")[1].split("\n}\n")[0]
    assert 0 < body.find("square.density = image.density\n") < body.find("Canvas(square)")


def test_the_model_stays_uncompressed():
    assert 'noCompress += "tflite"' in (KIT / "dependencies.gradle.kts").read_text()
