"""Summaries: pairs, groups of teachers, gaps, and the same lines in every form."""

import csv

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.experiments.records import write_csv
from mkd_tf.experiments.spec import Experiment
from mkd_tf.experiments.summary import COLUMNS, summarize
from mkd_tf.experiments.tables import as_latex, as_markdown, write_summary


def experiment(**more):
    return Experiment.model_validate(
        {
            "seeds": [0, 1, 2],
            "control": "a",
            "ceiling": "top",
            "datasets": {"d": "shapes"},
            "networks": {"n_1": "tiny"},
            "arms": {"a": {}, "b": {}, "c": {"control": "b"}, "top": {}},
        }
        | more
    )


def rows(**aps):
    return [
        {
            "arm": arm,
            "dataset": "d",
            "network": "n_1",
            "seed": seed,
            "teacher": str(seed % 2),
            "AP": ap,
            "path": f"{arm}{seed}",
        }
        | {"teacher_AP": 40.0}
        for arm, values in aps.items()
        for seed, ap in enumerate(values)
        if ap is not None
    ]


def resampled(found):
    known = {row["path"]: row["AP"] for row in found}
    return lambda path: known[path] + np.linspace(-0.1, 0.1, 50)


def test_lines_by_hand():
    found = rows(a=[20.0, 21.0, 22.0], b=[25.0, 26.5, 26.0], top=[30.0, 31.0, 32.0])
    b, top = summarize(experiment(), found, resampled(found))
    assert (b["arm"], b["control"], b["seeds"], b["teachers"]) == ("b", "a", 3, 2)
    assert b["AP"] == pytest.approx(77.5 / 3) and b["difference"] == pytest.approx(14.5 / 3)
    assert b["gap_to_teacher"] == pytest.approx(14.5 / 3 / 19)
    assert b["gap_to_ceiling"] == pytest.approx(14.5 / 3 / 10)
    assert top["gap_to_ceiling"] is None and top["verdict"] == "better"
    # The second of two arms: b's p is doubled, unless it is below the other's.
    assert top["p"] == 0.0 and b["p_holm"] == pytest.approx(b["p"])
    assert b["low"] < b["difference"] < b["high"] and b["verdict"] == "better"


def test_only_seeds_that_both_have_are_compared():
    found = rows(a=[20.0, 21.0, 22.0], b=[25.0, None, 27.0], c=[None, 1.0, None])
    (line,) = summarize(experiment(), found, resampled(found))
    assert (line["arm"], line["seeds"], line["low"], line["p"], line["verdict"]) == (
        "b",
        2,
        None,
        None,
        "more seeds",
    )
    text = as_markdown(experiment(), [line])
    assert "With fewer than 3 seeds there is no interval over seeds" in text
    assert "| b | a | 2 | 26.00 | +5.00 | – | – |" in text


def test_cells_of_other_images_are_refused():
    found = rows(a=[1.0], b=[2.0])
    with pytest.raises(MkdError, match="expected the images of its control"):
        summarize(experiment(), found, lambda path: np.zeros(3 if path == "a0" else 4))


def test_every_form_is_written(tmp_path):
    found = rows(a=[20.0, 21.0, 22.0], b=[25.0, 26.5, 26.0])
    lines = summarize(experiment(), found, resampled(found))
    write_summary(tmp_path, experiment(), lines)
    with open(tmp_path / "summary.csv", encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert tuple(row) == COLUMNS and row["difference"] == "4.8333" and row["gap_to_ceiling"] == ""
    assert "Rule, written down before the run: better" in (tmp_path / "summary.md").read_text()
    latex = as_latex(experiment(), lines)
    assert r"d, n\_1" in latex and r"25\%" in latex and latex.count(r"\\") == 2
    assert latex == (tmp_path / "summary.tex").read_text()


def test_csv_is_the_same_bytes_whatever_the_type(tmp_path):
    write_csv(tmp_path / "t.csv", ("a", "b", "c"), [{"a": 1, "b": np.float64(0.1), "c": None}])
    assert (tmp_path / "t.csv").read_bytes() == b"a,b,c\n1,0.1000,\n"
