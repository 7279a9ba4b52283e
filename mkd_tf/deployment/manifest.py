"""The record of exported files: `export/manifest.json`, `export/labels.txt`, `results.json`.

`schemas.ManifestFile` says what the manifest holds. A rejected file ends in `.rejected`, so
that no suffix pattern ships it; the file that was accepted before it, if any, stays under
its own name.
"""

import datetime
import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mkd_tf import schemas
from mkd_tf.conversion.tflite.metadata_writer import labels_text
from mkd_tf.evaluation.results import empty_results, read_results, write_results
from mkd_tf.files import write_bytes
from mkd_tf.schemas.deployment import ManifestFile
from mkd_tf.schemas.training import FileFigures
from mkd_tf.version import __version__

FOLDER, MANIFEST, LABELS = "export", "manifest.json", "labels.txt"
REJECTED = ".rejected"
_PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "numpy")


def sha256(content: bytes) -> str:
    """Returns the hash in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def versions(*more: str) -> dict[str, str]:
    """Returns the versions of what took part, `more` packages included."""
    found = {name: importlib.metadata.version(name) for name in (*_PACKAGES, *more)}
    return {"mkd_tf": __version__, "python": platform.python_version(), **found}


def read_manifest(folder: Path) -> ManifestFile:
    """Returns the manifest of an export folder; an empty one where there is none.

    Raises:
      MkdError: as `schemas.read` does.
    """
    path = folder / MANIFEST
    if not path.exists():
        return {"schema": 1, "labels": [], "files": {}}
    return schemas.read(path, ManifestFile)


def _replaced(files: Mapping[str, Any], name: str, entry: Any) -> dict[str, Any]:
    """Returns `files` with `entry`; accepting a file makes an older rejected one of its name void."""
    return {k: v for k, v in files.items() if k != name + REJECTED} | {name: entry}


def record(
    workdir: Path,
    name: str,
    content: bytes,
    labels: Sequence[str],
    entry: Mapping[str, Any],
    verdict: str,
    *,
    companions: Mapping[str, str] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Writes an exported file and all that is known of it; returns its path and what `results.json` says.

    The file is written first: a manifest must not name a file that is not there.

    Args:
      workdir: work directory of the run.
      name: of the file, as in `student_int8.tflite`.
      content: its bytes.
      labels: of the classes.
      entry: the rest of its `schemas.ExportedFile`; `FileFigures` of it go into `results.json`.
      verdict: `accepted`, or `rejected`, which adds `.rejected` to the name.
      companions: further texts for the export folder, by file name.
    """
    folder = workdir / FOLDER
    manifest, results_path = read_manifest(folder), workdir / "results.json"
    results = read_results(results_path) if results_path.exists() else empty_results()
    stored = name if verdict == "accepted" else name + REJECTED
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    facts = {"sha256": sha256(content), "bytes": len(content), "created": now, "verdict": verdict}
    full: Any = {**facts, "labels": list(labels), **entry}
    write_bytes(folder / stored, content)
    # The labels of the folder are those of its accepted files.
    shared = list(labels) if verdict == "accepted" or not manifest["labels"] else manifest["labels"]
    for file, text in ({LABELS: labels_text(shared)} | dict(companions or {})).items():
        write_bytes(folder / file, text.encode("utf-8"))
    files = _replaced(manifest["files"], stored, full)
    schemas.write(folder / MANIFEST, {**manifest, "labels": shared, "files": files}, ManifestFile)
    figures = {key: full[key] for key in FileFigures.__annotations__ if key in full}
    write_results(results_path, {**results, "files": _replaced(results["files"], stored, figures)})
    if verdict == "accepted":
        (folder / (name + REJECTED)).unlink(missing_ok=True)
    return folder / stored, figures
