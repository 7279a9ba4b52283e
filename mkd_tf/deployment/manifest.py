"""The record of exported files: `export/manifest.json`, `export/labels.txt`, `results.json`.

manifest.json:

    {"schema": 1, "labels": [...], "files": {"student_int8.tflite": {
        "sha256": ..., "bytes": ..., "created": ISO 8601, "verdict": "accepted" | "rejected",
        "flags": {...}, "versions": {...}, "source": {"file": ..., "sha256": ...},
        "calibration": [image ids], "parity": {...}, "AP": ..., ...}}}

A rejected file ends in `.rejected`, so that no suffix pattern ships it; the file that
was accepted before it, if any, stays under its own name.
"""

import datetime
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mkd_tf.checks import MkdError, fail
from mkd_tf.conversion.tflite.metadata_writer import labels_text
from mkd_tf.evaluation.results import empty_results, read_results, write_results
from mkd_tf.files import write_bytes, write_json
from mkd_tf.version import __version__

SCHEMA = 1
FOLDER, MANIFEST, LABELS = "export", "manifest.json", "labels.txt"
REJECTED = ".rejected"
RESULT_KEYS = ("AP", "AP_stretch", "AP_letterbox", "AP_drop", "bytes", "latency_ms", "threads", "verdict")
_PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "numpy")


def sha256(content: bytes) -> str:
    """Returns the hash in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def versions(*more: str) -> dict[str, str]:
    """Returns the versions of what took part, `more` packages included."""
    found = {name: importlib.metadata.version(name) for name in (*_PACKAGES, *more)}
    return {"mkd_tf": __version__, "python": platform.python_version(), **found}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Returns the manifest of an export folder; an empty one where there is none.

    Raises:
      MkdError: if it is damaged or of another schema.
    """
    path = folder / MANIFEST
    if not path.exists():
        return {"schema": SCHEMA, "labels": [], "files": {}}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MkdError(f"{path}: damaged ({error}). Delete it and export again.") from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        fail(str(path), expected=f"schema {SCHEMA}", got=str(manifest)[:60], do="Delete it and export again.")
    return manifest


def _replaced(files: Mapping[str, Any], name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `files` with `entry`; accepting a file makes an older rejected one of its name void."""
    return {k: v for k, v in files.items() if k != name + REJECTED} | {name: dict(entry)}


def record(
    workdir: Path,
    name: str,
    content: bytes,
    labels: Sequence[str],
    entry: Mapping[str, Any],
    verdict: str,
    *,
    companions: Mapping[str, str] | None = None,
) -> Path:
    """Writes an exported file and says everything about it; returns its path.

    The file comes first: a record without a file would promise what is not there.

    Args:
      workdir: work directory of the run.
      name: of the file, as in `student_int8.tflite`.
      content: its bytes.
      labels: of the classes.
      entry: what is known of it; `RESULT_KEYS` of it go into `results.json`.
      verdict: `accepted`, or `rejected`, which adds `.rejected` to the name.
      companions: further texts for the export folder, by file name.
    """
    folder = workdir / FOLDER
    manifest, results_path = read_manifest(folder), workdir / "results.json"
    results = read_results(results_path) if results_path.exists() else empty_results()
    stored = name if verdict == "accepted" else name + REJECTED
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    facts = {"sha256": sha256(content), "bytes": len(content), "created": now, "verdict": verdict}
    full = {**facts, "labels": list(labels), **entry}
    write_bytes(folder / stored, content)
    # What is shared by the folder is that of the files that ship.
    shared = list(labels) if verdict == "accepted" or not manifest["labels"] else manifest["labels"]
    for file, text in ({LABELS: labels_text(shared)} | dict(companions or {})).items():
        write_bytes(folder / file, text.encode("utf-8"))
    files = _replaced(manifest["files"], stored, full)
    write_json(folder / MANIFEST, {**manifest, "labels": shared, "files": files})
    measured = {key: full[key] for key in RESULT_KEYS if key in full}
    write_results(results_path, {**results, "files": _replaced(results["files"], stored, measured)})
    if verdict == "accepted":
        (folder / (name + REJECTED)).unlink(missing_ok=True)
    return folder / stored
