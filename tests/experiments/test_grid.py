"""The grid: which jobs there are, what they share, and with which flags they run."""

from pathlib import Path

import pytest

from mkd_tf import config
from mkd_tf.experiments.grid import cells_of, jobs_of
from mkd_tf.experiments.spec import Experiment, read_experiment

ROOT = Path(__file__).resolve().parents[2]


def experiment(arms, teachers=1, seeds=(0, 1, 2), **flags):
    return Experiment.model_validate(
        {
            "seeds": list(seeds),
            "teachers": teachers,
            "control": "control",
            "flags": {"guide": "none"} | flags,
            "datasets": {"d": "shapes"},
            "networks": {"n": "tiny", "m": "tiny(size='fast')"},
            "arms": {"control": {}} | arms,
        }
    )


def shared(found, role):
    return sorted(job.name for job in jobs_of(found) if job.role == role)


def test_cells_of_a_seed_differ_in_the_arm_alone():
    found = cells_of(experiment({"b": {"beta": 1.5}}), "runs/a")
    assert len(found) == 3 * 2 * 2
    control, arm = found[:2]
    assert (control.arm, arm.arm, control.seed, arm.seed) == ("control", "b", 0, 0)
    assert dict(set(arm.job.flags.items()) ^ set(control.job.flags.items())) == {"beta": "1.5"}
    assert control.job.flags["seed"] == "0" and control.job.flags["student"] == "tiny"
    assert control.job.arguments(Path("runs/a"))[-1] == "--workdir=runs/a/cells/d/n/control/seed0"


def test_one_teacher_for_each_group_of_seeds():
    found = cells_of(experiment({"b": {"beta": 1.5}}, teachers=2), "r")
    assert [name.split("_")[1] for name in shared(found, "teacher")] == ["seed0", "seed1"]
    assert {(cell.seed, cell.teacher) for cell in found} == {(0, "0"), (1, "1"), (2, "0")}
    for cell in found:
        assert cell.job.flags["teacher_weights"] == f"r/{cell.shared[0].weights}"
        assert cell.job.needs == (cell.shared[0].name,)


def test_an_arm_with_flags_of_the_teacher_has_its_own():
    views = {"v": {"teacher_views": "flip"}}
    assert len(shared(cells_of(experiment(views), "r"), "teacher")) == 1
    own = {"own": {"teacher_epochs": 3}, "beta": {"beta": 1.5}}
    assert len(shared(cells_of(experiment(own), "r"), "teacher")) == 2


def test_guides_are_shared_by_arms_with_the_same_flags_of_the_guide():
    arms = {"beta": {"beta": 1.5}, "longer": {"guide_epochs": 3}, "none": {"guide": "none"}}
    found = cells_of(experiment(arms, guide="tiny(size='guide')"), "r")
    assert len(shared(found, "guide")) == 2
    without = next(cell for cell in found if cell.arm == "none")
    assert "guide_weights" not in without.job.flags and len(without.shared) == 1
    learning = cells_of(experiment({"l": {"guide_mode": "learning"}}, guide="tiny(size='guide')"), "r")
    assert "guide_weights" not in next(c for c in learning if c.arm == "l").job.flags


def test_with_some_labels_each_seed_has_a_guide_and_a_teacher_of_the_same_labels():
    arms = {"b": {"beta": 1.5}}
    some = cells_of(experiment(arms, guide="tiny(size='guide')", labelled=8), "r")
    assert (len(shared(some, "teacher")), len(shared(some, "guide"))) == (1, 3)
    same = cells_of(experiment(arms, labelled=8, teacher_labels="same"), "r")
    assert len(shared(same, "teacher")) == 3
    for cell in some:
        assert cell.shared[1].flags["seed"] == str(cell.seed)
        assert cell.shared[1].needs == (cell.shared[0].name,)


def test_a_teacher_from_a_file_is_not_trained():
    found = cells_of(experiment({"b": {"beta": 1.5}}, teacher_weights="t.keras"), "r")
    assert shared(found, "teacher") == []
    assert {(c.teacher, c.job.flags["teacher_weights"]) for c in found} == {("", "t.keras")}


def test_names_and_identities_do_not_hang_on_the_folder():
    arms = {"longer": {"guide_epochs": 3}}
    here, there = (cells_of(experiment(arms, guide="tiny(size='guide')"), root) for root in ("a", "b/c"))
    for one, other in zip(jobs_of(here), jobs_of(there), strict=True):
        assert one.name == other.name
        assert one.identity == other.identity


@pytest.mark.parametrize("path", sorted((ROOT / "configs/ablation").glob("*.toml")), ids=lambda p: p.stem)
def test_ready_made_files(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = read_experiment(path)
    names = set(config.options())
    jobs = jobs_of(cells_of(found, "r"))
    assert all(set(job.flags) <= names for job in jobs)
    assert {"soft_targets", "alone", "mkd"} <= set(found.arms) and found.teachers > 1
    if path.stem in ("quickstart", "bccd"):
        assert {"no_guide", "hint", "exploration"} <= set(found.arms)
        assert found.control_of("no_guide") == "mkd"
    header = "\n".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    assert f"--file=configs/ablation/{path.name}" in header and "Cost:" in header and "Test AP:" in header


def test_a_teacher_that_only_answers_has_no_job():
    answers = {"teacher": "detections(path='p.json')", "class_map": "car=square"}
    arms = {"given": answers, "measured": {"teacher_thresholds": "per_class"}}
    found = {cell.arm: cell for cell in cells_of(experiment(arms, guide="tiny", seeds=(0,)), "r")}
    assert [job.role for job in found["given"].shared] == ["guide"]
    for job in (found["given"].job, *found["given"].shared):
        assert answers.items() <= job.flags.items()
        assert "teacher_weights" not in job.flags
    assert found["given"].teacher == ""
    # How labels are made of its detections does not change how the teacher is trained.
    teachers = [found[arm].shared[0] for arm in ("control", "measured")]
    assert teachers[0] == teachers[1]
    assert found["control"].shared[1] != found["measured"].shared[1]
