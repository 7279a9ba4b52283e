"""Every JSON file that programs write against its record, in both directions."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import TypeAdapter

from mkd_tf import benchmark, diagnose, evaluate, export, predict, schemas
from mkd_tf.checks import MkdError
from mkd_tf.deployment.options import ExportOptions
from mkd_tf.diagnosis.format import DiagnoseOptions
from mkd_tf.schemas.deployment import BenchmarkFile
from mkd_tf.schemas.training import EvaluationFile

# Written only where another epoch than the last was selected, after --fit=letterbox, with the
# optional ai-edge-quantizer, and of a teacher without a network.
RARE = {"best_AP", "AP_stretch", "AP_drop_stretch", "layers", "precision", "test_AP"}
# Of a run that was stopped within an epoch.
RARE |= {"step"}
# Of the format micro, whose figures need packages of their own: tests/conversion/micro.
RARE |= {"micro", "model_bytes", "arena_bytes", "vela"}
RARE |= {"accelerator", "inference_ms", "sram_kib", "cpu_operators", "npu_operators"}
Records = dict[Path, Any]


def use(workdir: Path, folder: Path) -> Records:
    """Runs the programs that use a trained work directory; returns the records of what they wrote.

    They run in this process, with options in place of flags. `folder` gets the files that are
    not in the work directory.
    """
    options = ExportOptions(workdir=str(workdir), calibration_images=4, max_ap_drop=100.0)
    export.main(export.FormatOptions(), options)
    diagnose.main(DiagnoseOptions(images=2), options)
    named: Records = {folder / "evaluation.json": EvaluationFile, folder / "benchmark.json": BenchmarkFile}
    outputs = [str(path) for path in named]
    evaluate.main(evaluate.EvaluateOptions(workdir=str(workdir), output=outputs[0]))
    file = str(workdir / "export" / "student_int8.tflite")
    benchmark.main(benchmark.BenchmarkOptions(models=file, runs=2, output=outputs[1], suite="latency"))
    images, drawn = folder / "images", folder / "drawn"
    images.mkdir()
    Image.new("RGB", (80, 50), "teal").save(images / "a.png")
    (images / "b.png").write_text("no image")
    with pytest.raises(MkdError, match="1 images could not be read"):
        predict.main(predict.PredictOptions(file, str(images), str(drawn), score_threshold=0.0))
    return named | records_in(workdir) | records_in(drawn)


def records_in(folder: Path) -> Records:
    """Returns the record of every JSON file in a folder that programs write into."""
    return {path: _record_of(path.relative_to(folder)) for path in folder.rglob("*.json")}


def _record_of(place: Path) -> Any:
    found = [r for r, kind in schemas.FILES.items() if kind.path and Path("/", place).match(f"/{kind.path}")]
    assert len(found) == 1, f"{place} is not in schemas.FILES"
    return found[0]


def check(files: Records) -> None:
    """Raises AssertionError unless every file is exactly as its record says."""
    for path, record in files.items():
        content = json.loads(path.read_text())
        assert content["schema"] == schemas.FILES[record].version, path
        TypeAdapter(record).validate_python(content, strict=True, extra="forbid")


def missing_keys(files: Records) -> set[tuple[str, str]]:
    """Returns the keys of the files' records that no file has, as (dict, key), but for the rare ones."""
    known, met = set(), set()
    for path, record in files.items():
        schema = TypeAdapter(record).json_schema()
        known |= _keys(schema, schema, ...)
        met |= _keys(schema, schema, json.loads(path.read_text()))
    return {key for key in known - met if key[1] not in RARE}


def _keys(schema: dict, whole: dict, value: Any) -> set[tuple[str, str]]:
    """Returns the keys of a JSON schema that occur in `value`; all of them for an ellipsis."""
    if "$ref" in schema:
        return _keys(whole["$defs"][schema["$ref"].rsplit("/")[-1]], whole, value)
    if "anyOf" in schema:
        (schema,) = [s for s in schema["anyOf"] if s.get("type") != "null"]
        return _keys(schema, whole, value) if value is not None else set()
    every, found = value is ..., set()
    for name, inner in schema.get("properties", {}).items():
        if every or name in value:
            found |= {(schema["title"], name)} | _keys(inner, whole, ... if every else value[name])
    for inner in filter(None, (schema.get("items"), schema.get("additionalProperties"))):
        held = [...] if every else value.values() if isinstance(value, dict) else value
        found = found.union(*(_keys(inner, whole, each) for each in held))
    return found
