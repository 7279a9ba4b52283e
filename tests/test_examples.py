"""The examples run, as a user would start them."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import mkd_tf

ROOT = Path(__file__).resolve().parents[1]
XML = (
    "<annotation><object><name>{name}</name><bndbox><xmin>{x}</xmin><ymin>10</ymin>"
    "<xmax>{x2}</xmax><ymax>60</ymax></bndbox></object></annotation>"
)


def test_keras_fit(tmp_path):
    text = (ROOT / "examples" / "keras_fit.py").read_text()
    assert len(text.splitlines()) <= 30
    assert text.count("30") == 2, "the number of epochs, and of the steps in them"
    example = tmp_path / "keras_fit.py"
    example.write_text(text.replace("30", "5"))
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (72, 96, 3), "uint8")).save(folder / f"{i}.jpg")
        (folder / f"{i}.xml").write_text(XML.format(name=("cat", "dog")[i % 2], x=4 + i, x2=60 + i))
    child = subprocess.run(
        [sys.executable, example],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    for role, terms in (("teacher", {"class"}), ("student", {"class", "soft_classes", "attention_map"})):
        rows = list(csv.DictReader((tmp_path / f"{role}.csv").read_text().splitlines()))
        assert len(rows) == 5
        assert {"total", *terms} <= set(rows[0])
        assert np.isfinite([float(row["total"]) for row in rows]).all()
    student = mkd_tf.load_detector(tmp_path / "student.keras")
    assert isinstance(student, mkd_tf.AdaptedDetector)
    assert student.class_names == ("cat", "dog")
    found = student.inference()(np.zeros((1, 128, 128, 3), "float32"))
    assert found["class_logits"].shape == (1, 336, 2)
