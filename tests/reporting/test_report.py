"""Whole reports: of a run, of an ablation, of damaged folders; and the page in a browser."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from mkd_tf import flags
from mkd_tf.checks import MkdError
from mkd_tf.reporting.base import NotMeasured
from mkd_tf.reporting.sections import SECTIONS
from mkd_tf.reporting.subject import read_subject
from mkd_tf.reporting.writing import as_latex, as_markdown, sections_of, write_report
from tests.reporting import made
from tests.reporting.made import report_of, whole

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VOID = {"meta", "link", "wbr", "input", "br", "img", "hr"}


class Structure(HTMLParser):
    """Collects elements, and holds that every one is closed where it was opened."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.values = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.values += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made.write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def ablation(tmp_path_factory):
    return made.write_ablation(tmp_path_factory.mktemp("runs") / "ablation")


@pytest.fixture(scope="module")
def pages(run, ablation):
    return {folder.name: whole(report_of(folder)) for folder in (run, ablation)}


def test_class_names_of_any_script_are_in_the_page(tmp_path):
    names = ("кот", "قطة", "猫 é", "👩‍🚒")
    text, _ = whole(report_of(made.write_run(tmp_path / "run", classes=names)))
    assert all(name in text for name in names)


@pytest.mark.parametrize("name", ["run", "ablation"])
def test_a_page_stands_alone_and_is_well_formed(pages, name):
    text, sections = pages[name]
    found = Structure(text)
    assert "script" not in found.tags and "<script" not in text.lower()
    assert "&lt;script&gt;alert(1)" in text
    assert not re.search(r"https?://|@import|url\(", text)
    for tag, attribute, value in found.values:
        assert not attribute.startswith("on"), f"<{tag} {attribute}>"
        if attribute in ("href", "src"):
            assert value.startswith(("#", "data:")), value
    ids = [value for _, attribute, value in found.values if attribute == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for _, a, value in found.values if a == "href" and value.startswith("#")} <= set(ids)
    assert len(text) < 1_000_000
    absent = {n for n, s in sections.items() if isinstance(s, NotMeasured)}
    assert absent == ({"seeds", "sweeps"} if name == "run" else set())


@pytest.mark.parametrize("name", ["run", "ablation"])
def test_every_drawing_has_a_name(pages, name):
    hidden = re.findall(r"<svg(?![^>]*(?:role=\"img\"|aria-hidden))[^>]*>", pages[name][0])
    assert not hidden


def test_a_page_says_where_it_is_from(pages, run):
    text, _ = pages["run"]
    for words in ("mkd report --a=b", "mkd train --workdir=runs/made", "tensorflow", "0123456789abcdef"):
        assert words in text
    assert "--student_epochs=" in text and "12 test images" in text
    assert "best F1 on 10 validation images" in text


def test_verdicts_are_those_of_the_summary(pages, ablation):
    text, _ = pages["ablation"]
    assert "Rule, written down before the run: </b>better: mean difference of at least +0.3 AP" in text
    with open(ablation / "summary.csv", encoding="utf-8") as stream:
        lines = [line.split(",") for line in stream.read().splitlines()[1:]]
    assert len(lines) == 8
    for line in lines:
        assert f"{float(line[8]):+.2f}".replace("-", "−") in text
        assert line[-1] in text


def test_an_ablation_without_a_copy_of_its_file_is_read_from_its_tables(ablation, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(ablation, folder)
    (folder / "experiment.toml").unlink()
    subject = read_subject(folder)
    assert subject.ablation.experiment is None
    assert subject.ablation.rule.startswith("better: mean difference of at least +0.3")
    shutil.rmtree(folder / "cells")
    text, sections = whole(report_of(folder))
    assert not isinstance(sections["seeds"], NotMeasured)
    assert "there is no trained network" in text and "AP by class not measured" in text


def test_without_networks_the_reason_is_named_and_the_rest_is_there(run, ablation):
    for folder in (run, ablation):
        text, sections = whole(report_of(folder, run_networks=made.no_networks))
        absent = {n for n, s in sections.items() if isinstance(s, NotMeasured)}
        assert {"precision_recall", "f1", "confusion", "calibration", "detections"} <= absent
        assert not {"accuracy", "training", "cost", "origin", "verdicts"} & absent
        assert text.count("data set gone: expected a folder") >= 1
        Structure(text)


def test_networks_of_an_ablation_are_a_choice(ablation):
    report = report_of(ablation)
    assert report.drawn == ["teacher", "soft", "alone", "all_labels"]
    assert report_of(ablation, chosen=("same",)).drawn == ["same"]


def test_missing_and_damaged_parts_of_a_run_are_named(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "teacher" / "history.csv").unlink()
    (folder / "guide" / "history.csv").write_text("epoch,total\n1,2,3\n")
    (folder / "student" / "history.csv").write_bytes(b"\xff\xfe\x00")
    (folder / "flags.cfg").unlink()
    text, sections = whole(report_of(folder))
    assert "teacher not shown: no history.csv" in text
    assert "guide not shown" in text and "a line has more or fewer fields" in text
    assert "student not shown" in text and "Options not shown: flags.cfg" in text
    assert not isinstance(sections["training"], NotMeasured)


def test_a_run_without_training_has_its_files(tmp_path):
    made.write_run(tmp_path, roles={})
    text, sections = whole(report_of(tmp_path))
    assert "int8.tflite" in text and isinstance(sections["accuracy"], NotMeasured)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "none of them"),
        ({"results.json": "{"}, "a damaged file"),
        ({"results.json": '{"schema": 1, "roles": {}, "files": {}}'}, "a trained role or an exported file"),
        ({"results.csv": "arm\n", "summary.csv": "arm\n"}, "expected the column dataset"),
        ({"results.csv": "", "summary.csv": ""}, "an empty file"),
    ],
)
def test_damaged_and_empty_folders_are_refused(tmp_path, content, told):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(MkdError, match=told):
        read_subject(tmp_path)
    with pytest.raises(MkdError, match="expected a folder"):
        read_subject(tmp_path / "missing")


def test_many_classes_and_long_names_stay_bounded(tmp_path):
    names = tuple(f"class {i} " + "x" * 80 for i in range(90))
    made.write_run(tmp_path, names)
    report = report_of(tmp_path, run_networks=lambda s: made.measured(list(s), 60, names))
    text, sections = whole(report)
    assert len(text) < 3_000_000
    assert "other classes" in text and "12 of" in text and "7 more classes" in text
    assert not {n for n, s in sections.items() if isinstance(s, NotMeasured)} - {"seeds", "sweeps"}


def test_tables_beside_the_page(run, ablation):
    for folder in (run, ablation):
        report = report_of(folder)
        sections, subject = sections_of(report), report.subject
        markdown, latex = as_markdown(subject, sections), as_latex(subject, sections)
        assert "| AP50 |" in markdown and r"\begin{tabular}" in latex
        assert "<script>" not in markdown and markdown.startswith(f"# {folder.name}\n")
        # The verdicts are those that the ablation has written itself, once.
        assert markdown.count("| verdict |") == 1
        assert folder is run or (folder / "summary.md").read_text() in markdown


def test_the_page_and_its_tables_are_written(run):
    path = write_report(run, flags.stored_config, "mkd report", formats=("markdown", "latex"))
    assert path == run / "report.html" and path.stat().st_size > 10_000
    assert (run / "report.md").is_file() and (run / "report.tex").is_file()
    with pytest.raises(MkdError, match="names among teacher, guide, student_alone, student"):
        write_report(run, flags.stored_config, networks=("nobody",))
    assert set(SECTIONS) == set(sections_of(report_of(run)))


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["run", "ablation"])
def test_a_browser_shows_it_without_errors_and_without_scrolling_sideways(pages, tmp_path, name, width):
    path = tmp_path / "report.html"
    path.write_text(pages[name][0], encoding="utf-8")
    # A window has at least 500 px: narrow pages are looked at in a frame.
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe id="f" src="report.html" style="width:{width}px;height:900px;border:0"></iframe><script>'
        "onload = () => { const d = f.contentDocument, e = d.documentElement;"
        "document.title = JSON.stringify([e.scrollWidth, e.clientWidth, d.images.length,"
        "d.querySelectorAll('section').length]) }</script>",
        encoding="utf-8",
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    options += ["--hide-scrollbars"]
    options += ["--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [CHROMIUM, *options, "--window-size=1400,1000", f"file://{frame}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title, done.stdout[:300] + done.stderr[-300:]
    scrolled, seen, _, sections = json.loads(title[1])
    assert seen == width and scrolled <= width, f"{scrolled} px in a window of {seen}"
    assert sections == (12 if name == "run" else 13)
