"""Work directories and measurements made by hand: what a report is tested with, without a training."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np

from mkd_tf import schemas
from mkd_tf.checks import MkdError
from mkd_tf.config import Config, from_values
from mkd_tf.data.base import element
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth
from mkd_tf.experiments.grid import cells_of
from mkd_tf.experiments.records import row_of, write_records
from mkd_tf.experiments.spec import read_experiment
from mkd_tf.experiments.summary import summarize
from mkd_tf.experiments.tables import write_summary
from mkd_tf.reporting.base import Report
from mkd_tf.reporting.judging import judge
from mkd_tf.reporting.measured import Evenly, Measured, Network
from mkd_tf.reporting.page import Made, page
from mkd_tf.reporting.subject import read_subject
from mkd_tf.reporting.writing import facts_of, sections_of
from mkd_tf.schemas.training import DoneFile, ResultsFile
from mkd_tf.training.workdir import as_flagfile

CLASSES = ("square", "<script>alert(1)</script>", 'a "quoted" & long class name')
SIZES = {"teacher": 1_142_378, "guide": 289_082, "student_alone": 48_834, "student": 48_834}
SKILL = {"teacher": 0.9, "guide": 0.8, "student_alone": 0.5, "student": 0.7}
TOML = """
seeds = [0, 1, 2, 3, 4]
teachers = 2
control = "soft"
ceiling = "all_labels"
[datasets]
shapes = "shapes(train=48)"
[networks]
student = "tiny(size='student')"
[arms.soft]
[arms.selected]
student_init = "guide"
[arms.alone]
strategies = ""
[arms.all_labels]
labelled = 0
[arms.same]
box_weight = 2.5
[arms.cap]
sweep = {gradient_cap = [0.05, 0.2, 0.5, 2.0]}
"""
# Its data set cannot be read, which every report says at once.
CONFIG: Config = from_values({"dataset": "voc_folder(path='missing')"})
GAINS = {"selected": 3.1, "alone": -6.0, "all_labels": 12.0, "same": 0.05}


def entry(ap: float, role: str = "student", classes: tuple[str, ...] = CLASSES) -> dict:
    """Returns what a finished stage has measured."""
    metrics = {"AP": ap, "AP50": ap * 1.6, "AP75": ap * 0.9, "AP_small": ap * 0.5, "AP_medium": ap * 1.1}
    per_class = {name: ap * (0.7 + 0.6 * i / len(classes)) for i, name in enumerate(classes)}
    counts = {"parameters": SIZES.get(role, 48_834), "macs": 44 * SIZES.get(role, 48_834), "image_size": 96}
    more = {"AP_large": None, "VOC_AP": ap * 1.6, "VOC07_AP": None, "per_class": per_class}
    return metrics | more | counts | {"epochs": 20, "steps": 200, "seconds": 65.4, "split": "test"}


def write_stage(folder: Path, ap: float, role: str, classes: tuple[str, ...] = CLASSES) -> dict:
    """Writes a finished stage; returns its figures."""
    folder.mkdir(parents=True, exist_ok=True)
    made = entry(ap, role, classes)
    schemas.write(folder / "done.json", dict(made), DoneFile)
    (folder / "best.keras").write_bytes(b"0" * SIZES.get(role, 1000))
    teacher = role == "teacher"
    terms = ["box", "class"] + ([] if teacher else ["soft_classes", "soft_boxes", "share_soft_classes"])
    with open(folder / "history.csv", "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["epoch", *terms, "total", "val_AP", "learning_rate", "seconds"])
        for epoch in range(1, 21):
            losses = [round((1 + i) * 0.9**epoch + 0.1 * i, 4) for i in range(len(terms))]
            found = round(ap * (1 - 0.8**epoch), 3) if epoch % 2 == 0 else ""
            writer.writerow([epoch, *losses, sum(losses), found, 0.002 * (1 - epoch / 20), 3 * epoch])
    return made


def write_run(folder: Path, classes: tuple[str, ...] = CLASSES, **more: dict) -> Path:
    """Writes the work directory of a training run."""
    aps = {"teacher": 41.2, "guide": 38.0, "student_alone": 14.9, "student": 31.7}
    roles = {role: write_stage(folder / role, ap, role, classes) for role, ap in aps.items()}
    roles["student"]["best_AP"] = 32.0
    figures = {
        "AP": 31.2,
        "AP_drop": 0.5,
        "bytes": 81_000,
        "latency_ms": 1.4,
        "threads": 1,
        "verdict": "accepted",
    }
    results = {
        "command": "mkd train --workdir=runs/made --baseline",
        "commit": "0123456789abcdef",
        "dataset": {"name": "shapes(train=48)", "classes": list(classes)},
        "image_size": 96,
        "roles": roles,
        "files": {"student_int8.tflite": figures},
    }
    schemas.write(folder / "results.json", results | more, ResultsFile)
    (folder / "flags.cfg").write_text(as_flagfile(CONFIG), encoding="utf-8")
    return folder


def write_ablation(root: Path, text: str = TOML) -> Path:
    """Writes the folder of a finished ablation, tables through the writers of the experiments."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "experiment.toml").write_text(text, encoding="utf-8")
    experiment = read_experiment(root / "experiment.toml")
    rng = np.random.default_rng(0)
    for cell in cells_of(experiment, root):
        cap = float(cell.arm.split("=")[1]) if "=" in cell.arm else None
        gain = GAINS.get(cell.arm, 0.0) if cap is None else 1.6 - 2 * np.log10(cap / 0.3) ** 2
        ap = 25.0 + [0.4, -0.8, 0.9, 0.1, -0.5][cell.seed] + gain + float(rng.normal(0, 0.35))
        folder = root / cell.job.name
        roles = {"student": write_stage(folder / "student", ap, "student")}
        roles["teacher"] = write_stage(folder / "teacher", 41.0 + cell.seed % 2, "teacher")
        schemas.write(folder / "results.json", {"roles": roles, "files": {}}, ResultsFile)
        (folder / "job.json").write_text(json.dumps(cell.job.identity), encoding="utf-8")
        (folder / "flags.cfg").write_text(as_flagfile(CONFIG), encoding="utf-8")
    rows = [row for cell in cells_of(experiment, root) if (row := row_of(cell, root))]
    write_records(root, rows)
    aps = {row["path"]: row["AP"] for row in rows}
    lines = summarize(experiment, rows, lambda path: aps[path] + np.random.default_rng(1).normal(0, 0.4, 100))
    write_summary(root, experiment, lines)
    return root


class Gallery(list):
    """A split of elements: grey images with a rectangle where an object is."""

    def __init__(self, count: int = 12, side: int = 96, classes: int = len(CLASSES)):
        rng = np.random.default_rng(2)
        for index in range(count):
            image = np.full((side, side * 4 // 3, 3), 40, "uint8") + rng.integers(0, 90, 3).astype("uint8")
            low = rng.uniform(0.05, 0.5, (3, 2))
            boxes = np.concatenate([low, low + rng.uniform(0.2, 0.4, (3, 2))], 1).astype("float32")
            for y0, x0, y1, x1 in (boxes * [side, side * 4 // 3, side, side * 4 // 3]).astype(int):
                image[y0:y1, x0:x1] = rng.integers(90, 255, 3)
            self.append(element(image, f"test_{index:05d}", boxes, rng.integers(0, classes, 3)))


def detections_of(truth: Truth, skill: float, rng: np.random.Generator, classes: int) -> Detections:
    """Returns what a network of some skill, 0 to 1, finds: the truth, shaken, and false boxes."""
    size = np.array([truth.height, truth.width] * 2)
    seen = rng.random(len(truth.labels)) < 0.4 + 0.6 * skill
    boxes = truth.boxes[seen] / size + rng.normal(0, 0.05 * (1.2 - skill), (int(seen.sum()), 4))
    swapped = rng.random(len(boxes)) > skill
    labels = np.where(swapped, rng.integers(0, classes, len(boxes)), truth.labels[seen])
    low = rng.uniform(0, 0.7, (6, 2))
    false = np.concatenate([low, low + 0.2], 1)
    scores = np.concatenate([rng.beta(1 + 5 * skill, 2.5, len(boxes)), rng.beta(1, 9, 6)])
    order = np.argsort(-scores)
    every = np.concatenate([boxes, false]).clip(0, 1)[order].astype("float32")
    return Detections(
        every,
        scores[order].astype("float32"),
        np.concatenate([labels, rng.integers(0, classes, 6)])[order].astype("int32"),
    )


def measured(names: list[str], count: int = 12, classes: tuple[str, ...] = CLASSES) -> Measured:
    """Returns networks of different skill on a `Gallery`."""
    gallery, networks = Gallery(count, classes=len(classes)), {}
    truth = tuple(Truth.of(found) for found in gallery)
    for place, name in enumerate(names):
        rng = np.random.default_rng(place)
        skill = SKILL.get(name, 0.4 + 0.1 * (place % 5))
        found = tuple(detections_of(t, skill, rng, len(classes)) for t in truth)
        judged = judge(truth, found, len(classes))
        networks[name] = Network(name, found, judged, 0.3 + 0.05 * place, "best F1 on 10 validation images")
    return Measured(classes, truth, Evenly(gallery, count), count, networks, {})


def no_networks(stages: dict[str, str]) -> Measured:
    """Stands for a data set that cannot be read."""
    raise MkdError(f"data set gone: expected a folder, got none, for {len(stages)} networks. Restore it.")


def report_of(folder: Path, **changes) -> Report:
    """Returns the report of a folder whose networks are those of `measured`."""
    subject = read_subject(folder)
    report = Report(subject, lambda stages: measured(list(stages)), (), facts_of("mkd report --a=b"))
    return dataclasses.replace(report, **changes)


def whole(report: Report) -> tuple[str, dict[str, Made]]:
    """Returns the page of a report and its sections."""
    sections = sections_of(report)
    return page(report, sections), sections
