"""The program inspect_data: what it prints, its files, its page in a browser, and the review of labels."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from mkd_tf import schemas
from mkd_tf.schemas.inspection import InspectionFile, ReviewFile
from tests.export import programs
from tests.export.programs import error_of
from tests.inspection.made import noise
from tests.programs import written
from tests.reporting.test_report import CHROMIUM, Structure

BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
OBJECT = f"<object><name>{{}}</name>{BOX}</object>"
CLASSES = ("<script>alert(1)</script>", "cat", "Cat", "猫")


def voc(folder):
    """Writes 16 images of 96 x 64 px with labels in which something of each kind is wrong."""
    folder.mkdir()
    for i in range(16):
        Image.fromarray(noise(i if i != 9 else 8, (64, 96))).save(folder / f"i{i:02}.png")
        name = CLASSES[i % 4].replace("<", "&lt;").replace(">", "&gt;")
        objects = [(name, 5, 6, 40, 44), ("cat", 50, 20, 90, 60)]
        objects += [("cat", 50, 20, 90, 60.5)] if i == 3 else []
        objects += [("cat", 1, 1, 96, 64)] if i == 4 else []
        objects += [("cat", 70, 30, 20, 10)] if i == 5 else []
        xml = "".join(OBJECT.format(*each) for each in objects)
        (folder / f"i{i:02}.xml").write_text(f"<annotation>{xml}</annotation>", encoding="utf-8")
    return folder


def run(*flags, **environment):
    return programs.run(*flags, module="mkd_tf.inspect_data", timeout=200, **environment)


@pytest.fixture(scope="module")
def inspected(tmp_path_factory):
    """Returns the folder of a report, and what the program printed."""
    folder = tmp_path_factory.mktemp("inspected")
    spec = f"voc_folder(path='{voc(folder / 'images')}')"
    done = run(f"--dataset={spec}", "--image_size=64", f"--output={folder / 'out'}", "--strict")
    return folder / "out", done


def test_strict_fails_after_all_is_written(inspected):
    folder, done = inspected
    line = error_of(done)
    assert done.returncode == 1 and "expected nothing that looks wrong, got similar names" in line
    assert "problem" in line and "data.html" in line
    for words in ("sizes in pixels of a 64 px input", "double label, 1", "copies", "i05.xml", "report: "):
        assert words in done.stdout
    files = {folder / "data.json": InspectionFile}
    written.check(files)
    assert {key for _, key in written.missing_keys(files)} <= {"twin", "object", "note"}
    record = schemas.read(folder / "data.json", InspectionFile)
    kinds = {suspect["kind"] for suspect in record["suspects"]}
    assert {"similar names", "whole image", "double label"} <= kinds
    assert any("copies" in kind for kind in kinds)
    assert sum(facts["images"] for facts in record["splits"].values()) == 16


def test_the_page_stands_alone(inspected):
    text = (inspected[0] / "data.html").read_text(encoding="utf-8")
    found = Structure(text)
    assert "script" not in found.tags and "&lt;script&gt;alert(1)" in text and "猫" in text
    for tag, attribute, value in found.values:
        assert not attribute.startswith("on"), f"<{tag} {attribute}>"
        if attribute in ("href", "src"):
            assert value.startswith(("#", "data:")), value
    ids = [value for _, attribute, value in found.values if attribute == "id"]
    assert len(ids) == len(set(ids))
    assert not re.findall(r"<svg(?![^>]*(?:role=\"img\"|aria-hidden))[^>]*>", text)
    assert {"splits", "classes", "sizes", "places", "suspects", "images"} <= set(ids)
    assert len(text) < 2_000_000


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_without_scrolling_sideways(inspected, tmp_path, width):
    shutil.copy(inspected[0] / "data.html", tmp_path)
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe id="f" src="data.html" style="width:{width}px;height:900px;border:0"></iframe><script>'
        "onload = () => { const e = f.contentDocument.documentElement;"
        "document.title = JSON.stringify([e.scrollWidth, e.clientWidth]) }</script>",
        encoding="utf-8",
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    options += ["--hide-scrollbars", "--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path / 'p'}"]
    done = subprocess.run(
        [CHROMIUM, *options, "--window-size=1400,1000", f"file://{frame}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    scrolled, seen = json.loads(re.search(r"<title>(.*?)</title>", done.stdout)[1])
    assert seen == width and scrolled <= width


def test_the_networks_of_a_run_review_its_labels(tmp_path):
    workdir = programs.untrained(tmp_path)
    done = run(f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert "labels that the networks doubt: " in done.stdout
    folder = workdir / "data"
    written.check({folder / "data.json": InspectionFile, folder / "review.json": ReviewFile})
    review = schemas.read(folder / "review.json", ReviewFile)
    assert (
        review["networks"] == {"student": str(workdir / "student" / "best.keras")} and review["images"] == 10
    )
    suspicion = [doubt["suspicion"] for doubt in review["doubts"]]
    assert np.all(np.diff(suspicion) <= 0) and sum(review["counts"].values()) == len(suspicion)
    content = json.loads((folder / "review_coco.json").read_text())
    assert content["categories"][-1]["name"] == "review: nothing there"
    assert 'id="review"' in (folder / "data.html").read_text(encoding="utf-8")
    other = run(f"--workdir={workdir}", "--dataset=voc/2007")
    assert "flag --dataset: expected the data set of" in error_of(other)
