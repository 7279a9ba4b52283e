"""Reports of earlier, unfinished and damaged ablations, of odd names, and of sections that fail."""

import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mkd_tf.config import from_values
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth
from mkd_tf.experiments import records
from mkd_tf.reporting import writing
from mkd_tf.reporting.base import MOST_CURVES, NotMeasured, Section
from mkd_tf.reporting.judging import Judged
from mkd_tf.reporting.markup import rendered, text_of
from mkd_tf.reporting.measured import Network
from mkd_tf.reporting.sections import SECTIONS, detections, f1, precision_recall
from mkd_tf.reporting.subject import read_subject
from tests.reporting import made
from tests.reporting.made import report_of, whole

NAMED_LIKE_WORDS = """
seeds = [0, 1, 2]
control = "soft"
datasets = {shapes = "shapes(train=48)"}
networks = {student = "tiny(size='student')"}
rule = {draws = 100}
[arms.soft]
[arms.teacher]
labelled = 0
[arms.truth]
strategies = ""
"""


@pytest.fixture(scope="module")
def ablation(tmp_path_factory):
    return made.write_ablation(tmp_path_factory.mktemp("runs") / "ablation", NAMED_LIKE_WORDS)


def test_an_ablation_of_an_earlier_version_opens(ablation, tmp_path):
    for name in ("summary.csv", "summary.md"):
        shutil.copy(ablation / name, tmp_path)
    with open(ablation / "results.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    earlier = [name for name in records.COLUMNS if name not in records.FOUND]
    records.write_csv(tmp_path / "results.csv", earlier, rows)
    # Its file names a flag that there is no longer.
    (tmp_path / "experiment.toml").write_text(f"{NAMED_LIKE_WORDS}gone = 1\n")
    subject = read_subject(tmp_path)
    assert subject.ablation.experiment is None and len(subject.ablation.groups[0].rows) == 9
    assert subject.ablation.rule.startswith("better: mean difference of at least +0.3")
    _, sections = whole(report_of(tmp_path))
    assert {"verdicts", "seeds"} <= {n for n, s in sections.items() if isinstance(s, Section)}


def test_arms_that_are_called_like_roles(ablation):
    report = report_of(ablation)
    stages = report.subject.stages
    assert list(stages) == ["teacher (shared)", "soft", "teacher", "truth"]
    assert (stages["teacher (shared)"].name, stages["teacher"].name) == ("teacher", "student")
    assert report.drawn == list(stages) and len({report.style(name) for name in stages}) == 4
    text, sections = whole(report)
    assert not {n for n, s in sections.items() if isinstance(s, NotMeasured)} - {"sweeps"}
    assert "teacher (shared) 0.30" in text


def test_of_an_unfinished_ablation_some_networks_are_drawn(ablation):
    subject = read_subject(ablation)
    stages = {f"arm{i}": Path(f"arm{i}/student") for i in range(9)}
    stages |= {"soft": Path("soft/student"), "teacher (shared)": Path("soft/teacher")}
    group = dataclasses.replace(subject.ablation.groups[0], lines=())
    changed = dataclasses.replace(subject.ablation, groups=(group,))
    report = report_of(ablation, subject=dataclasses.replace(subject, stages=stages, ablation=changed))
    assert len(report.drawn) == MOST_CURVES and report.drawn[-2:] == ["soft", "teacher (shared)"]


def test_a_damaged_cell_is_named_and_the_others_are_shown(ablation, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(ablation, folder)
    row = read_subject(folder).ablation.groups[0].of("truth")[1]
    (folder / row["path"] / "results.json").write_text("{")
    text, sections = whole(report_of(folder))
    assert isinstance(sections["accuracy"], Section)
    assert "truth, seed 1, not in AP by class: " in text and "AP by class on shapes" in text


def test_an_unexpected_error_costs_its_section_alone(ablation, monkeypatch):
    calls = []

    def run_networks(stages):
        calls.append(stages)
        raise RuntimeError("out of memory")

    def make(report):
        return 1 / 0

    monkeypatch.setitem(SECTIONS, "seeds", make)
    _, sections = whole(report_of(ablation, run_networks=run_networks))
    assert len(calls) == 1
    assert str(sections["f1"]) == str(sections["confusion"]) == "RuntimeError: out of memory"
    assert str(sections["seeds"]) == "ZeroDivisionError: division by zero"
    assert isinstance(sections["accuracy"], Section)


def test_each_network_is_run_with_the_fit_of_its_own_run(ablation, monkeypatch):
    monkeypatch.setattr(writing, "open_dataset", lambda data: data)
    monkeypatch.setattr(writing, "Sets", lambda dataset, images: None)

    def fits(stages, sets, fit_of, progress):
        return {name: fit_of(folder) for name, folder in stages.items()}

    monkeypatch.setattr(writing, "measure", fits)
    subject = read_subject(ablation)

    def config_of(workdir):
        return from_values({"fit": "letterbox" if "/truth/" in workdir else "stretch"})

    found = writing._runs(subject, config_of, 0, Console(quiet=True))(subject.stages)
    assert found == dict.fromkeys(subject.stages, "stretch") | {"truth": "letterbox"}


def test_a_dot_is_the_f1_at_the_operating_point(ablation):
    # Both are right: F1 is 1 from 0.705 on and 2/3 from 0.71 on; between them a line would have 0.83.
    judged = Judged(np.array([0.9, 0.705], "float32"), np.zeros(2, int), np.ones(2, bool), np.array([2]))
    networks = {"soft": Network("soft", (), judged, 0.705, "by hand")}
    report = report_of(ablation)
    assert "F1 1.00</title>" in rendered(f1._chart(report, "all", networks, None, "1 image"))
    charts = [rendered(precision_recall._chart(report, "", networks, label, "")) for label in (None, 0)]
    assert "soft: area 100.0" in charts[0] and "AP50" not in charts[0] and "soft: AP50 100.0" in charts[1]


def test_boxes_of_crowded_images_are_bounded():
    boxes, flags = np.tile([[10.0, 10, 20, 20]], (45, 1)), np.zeros(45, bool)
    truth = Truth("a", 100, 100, boxes, np.zeros(45, int), flags, flags)
    nothing = Detections(np.zeros((0, 4), "float32"), np.zeros(0, "float32"), np.zeros(0, "int32"))
    # A network of that name is not the truth.
    cell = detections._cell("truth", "from 0.30", "photo0", (100, 100), truth, nothing, ("a",))
    assert len(list(cell.iter("rect"))) == 40
    assert text_of(cell) == "truth from 0.30: 0 found, 0 false, 45 missed (40 drawn)"
