"""What a model's file and the manifest beside it say, each field checked; and the decoding of raw heads."""

import hashlib
import io
import json
import math
import zipfile
from pathlib import Path

import numpy as np

if __package__:
    from .runtimes import DetectError
else:  # copied to a board, the files side by side
    from runtimes import DetectError

FITS = ("stretch", "letterbox")
MAX_OVERLAP = 0.6
ANCHORS_HEADER = "ycenter,xcenter,height,width"


def read_archive(content: bytes) -> dict:
    """Returns the files in the archive at the end of a model, by name; {} where there is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError):
        return {}


def checked(found: dict) -> dict:
    """Returns labels, fit and threshold; raises ValueError for one that is none."""
    labels, fit, threshold = found["labels"], found["fit"], found["threshold"]
    if not isinstance(labels, list) or not all(isinstance(x, str) and x.strip() for x in labels):
        raise ValueError(f"labels: expected a list of texts, got {labels!r}")
    if fit not in FITS:
        raise ValueError(f"fit: expected {' or '.join(FITS)}, got {fit!r}")
    is_number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
    if threshold is not None and not (is_number and math.isfinite(threshold) and 0 <= threshold <= 1):
        raise ValueError(f"score threshold: expected a number in 0..1, got {threshold!r}")
    return {"labels": labels, "fit": fit, "threshold": threshold}


def read_manifest(path: Path, content: bytes) -> dict:
    """Returns what the manifest beside a model says of it, or of what it was compiled from; {} without."""
    place = path.with_name("manifest.json")
    try:
        manifest = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {"files": {}}
        same, source = (manifest["files"].get(n) for n in (path.name, path.name.replace("_edgetpu.", ".")))
        entry = same or source
        if not entry:
            return {}
        if same and same["sha256"] != hashlib.sha256(content).hexdigest():
            raise DetectError(f"model {path}: cut off, or not the one that {place} tells of; copy both again")
        threshold = (entry["recommended_score_threshold"] or {}).get("value")
        found = {"labels": manifest["labels"], "fit": entry["flags"]["fit"], "threshold": threshold}
        return checked(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DetectError(f"{place}: damaged ({error}); copy it again or delete it") from None


def read_facts(archive: dict) -> dict:
    """Returns what the file says of itself; {} where it says nothing."""
    if "mkd_tf.json" not in archive:
        return {}
    try:
        facts = json.loads(archive["mkd_tf.json"].decode("utf-8"))
        threshold = (facts["operating_point"] or {}).get("value")
        return checked({"labels": facts["labels"], "fit": facts["fit"], "threshold": threshold})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DetectError(f"model: what it says of itself is damaged ({error}); copy it again") from None


def read_labels(given: str, content: bytes, archive: dict, told: dict) -> list:
    """Returns the labels of the file `given`, which must be as many as are known, or those known."""
    known = archive.get("labels.txt", b"").decode("utf-8", "replace").splitlines()
    if not known and b"edgetpu-custom-op" not in content:  # old runtimes crash on half a file
        raise DetectError("model: no labels inside; it was cut off, or mkd_tf did not make it")
    known = known or told.get("labels", [])
    try:
        labels = Path(given).read_text(encoding="utf-8-sig").splitlines() if given else known
    except (OSError, ValueError) as error:
        raise DetectError(f"labels {given}: cannot be read ({error})") from None
    if not labels or (known and len(labels) != len(known)):
        wanted = f"{len(known)} ({', '.join(known)})" if known else "one per class"
        raise DetectError(f"labels {given or 'inside'}: expected {wanted}, got {len(labels)}; see --labels")
    return labels


def read_anchors(path: Path, archive: dict) -> np.ndarray:
    """Returns the anchors `[N, 4]` of a model with raw heads: inside, or in the .csv file beside it."""
    text = archive.get("anchors.csv", b"").decode("utf-8", "replace")
    places = [path.with_suffix(".anchors.csv")]
    places.append(path.with_name(places[0].name.replace("_edgetpu.", ".")))
    for place in places:
        if not text and place.is_file():
            text = place.read_text(encoding="utf-8")
    header, _, rows = text.partition("\n")
    try:
        if header.strip() != ANCHORS_HEADER:
            raise ValueError(f"it begins with {header[:40]!r}")
        return np.array([row.split(",") for row in rows.split()], "float32").reshape(-1, 4)
    except ValueError as error:
        raise DetectError(f"model {path}: no anchors inside or in {places[-1]} ({error})") from None


def decode(encodings: np.ndarray, logits: np.ndarray, anchors: np.ndarray, threshold: float, count: int):
    """Returns boxes `[D, 4]`, classes `[D]` and scores `[D]`, best first, after suppression.

    The same as TFLite_Detection_PostProcess with regular suppression: greedy, class by class.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits.astype("float64"), -60, 60)))
    centers = encodings[:, :2] / 10 * anchors[:, 2:] + anchors[:, :2]
    sizes = np.exp(encodings[:, 2:] / 5) * anchors[:, 2:]
    boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)
    labels, rows = np.nonzero(threshold <= scores.T)
    kept = []
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    for candidate in np.argsort(-scores[rows, labels], kind="stable"):
        if len(kept) == count:
            break
        row, same = rows[candidate], [rows[k] for k in kept if labels[k] == labels[candidate]]
        low = np.maximum(boxes[same, :2], boxes[row, :2])
        high = np.minimum(boxes[same, 2:], boxes[row, 2:])
        both = np.prod(np.maximum(high - low, 0), axis=1)
        if not (both / np.maximum(areas[same] + areas[row] - both, 1e-12) > MAX_OVERLAP).any():
            kept.append(candidate)
    return np.clip(boxes[rows[kept]], 0, 1), labels[kept], scores[rows[kept], labels[kept]]
