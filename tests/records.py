"""Whole records, as programs write them, for tests that change a field of one."""

from typing import Any

METRICS: dict[str, Any] = {
    "AP": 41.23,
    "AP50": 70.0,
    "AP75": None,
    "AP_small": 12.5,
    "AP_medium": 45.0,
    "AP_large": None,
    "per_class": {"cat": 41.23, "dog": None},
    "VOC_AP": 68.0,
    "VOC07_AP": None,
}
ROLE = METRICS | {
    "parameters": 48_495,
    "macs": 5_880_576,
    "image_size": 128,
    "epochs": 30,
    "steps": 390,
    "seconds": 65.4,
    "split": "test",
}
STATE: dict[str, Any] = {"epoch": 1, "rows": [], "best": -1.0, "best_epoch": 0, "seconds": 0.5}
ORIGIN: dict[str, Any] = {
    "flags": {"seed": 0, "fit": "stretch"},
    "source": {"file": "student/best.keras", "sha256": "ab12"},
    "versions": {"mkd_tf": "0.1.0"},
    "calibration": ["a", "b"],
}
# What `deployment.manifest.record` is given of a file.
MEASURED = ORIGIN | {
    "AP": 41.5,
    "AP_drop": 0.2,
    "AP_letterbox": 40.5,
    "AP_float": {"stretch": 41.7, "letterbox": 41.0},
    "latency_ms": 0.4,
    "threads": 1,
    "parity": {"scores": {"max": 0.1, "mean": 0.01}},
    "recommended_score_threshold": {"value": 0.4, "f1": 0.5, "chosen": "so"},
}
_SPEED = {"mac_s": 1e-9, "batch_s": 0.1, "start_s": 1.0, "trace_s": 1.0, "read_s": 0.1, "batch_size": 8}
_LOAD = {"macs": {"student": 1e6}, "pools": {"student": 8}, "validation": 4, "test": 4, "batch_size": 8}
_TIME = {"epochs": 1, "steps": 2, "step_s": 0.1, "start_s": 1.0, "validation_s": 0.5, "total_s": 1.7}
ADVICE = {
    "minutes": 3.0,
    "given": {"minutes": "3"},
    "chosen": {"student_epochs": 4},
    "reasons": ["so"],
    "stages": {"student": _TIME},
    "choosing_s": 2.0,
    "speed": _SPEED,
    "load": _LOAD | {"eval_every": 1},
    "epochs": {"student": 4},
    "spent_s": {"start": 1.0},
}
FOUND = {
    "class_names": ["cat", "dog"],
    "score_threshold": 0.01,
    "failed": [],
    "images": [
        {
            "file": "a.jpg",
            "drawn": "",
            "height": 40,
            "width": 50,
            "detections": [{"label": "cat", "score": 0.5, "box": [0.0, 0.0, 40.0, 50.0]}],
        }
    ],
}
FILE = MEASURED | {
    "sha256": "00",
    "bytes": 3,
    "created": "2026-01-01T00:00:00+00:00",
    "verdict": "accepted",
    "labels": ["cat"],
}
