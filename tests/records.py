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
