"""The README's user code runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mkd_tf

ROOT = Path(__file__).resolve().parents[1]
XML = (
    "<annotation><object><name>{name}</name><bndbox><xmin>{x}</xmin><ymin>10</ymin>"
    "<xmax>{x2}</xmax><ymax>40</ymax></bndbox></object></annotation>"
)


def code_blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def images(tmp_path):
    """A user's folder: images with their XML files beside them."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), "uint8")).save(folder / f"{i}.jpg")
        (folder / f"{i}.xml").write_text(XML.format(name=("cat", "dog")[i % 2], x=4 + i, x2=40 + i))
    return folder


def test_fit_in_user_code(tmp_path, images, monkeypatch):
    block = next(b for b in code_blocks("python") if "Distiller" in b)
    assert len(block.strip().splitlines()) <= 30
    teacher = tmp_path / "runs" / "mine" / "teacher" / "best.keras"
    mkd_tf.save_detector(mkd_tf.Tiny(64, ("cat", "dog"), widths=(8, 8, 8, 8), pyramid=8), teacher)
    monkeypatch.chdir(tmp_path)
    # The same lines on a smaller image for a shorter time.
    for long, short in (("image_size=192", "image_size=64"), ("epochs=60", "epochs=1"), ("60 *", "1 *")):
        assert long in block, f"the README no longer says {long}"
        block = block.replace(long, short)
    exec(compile(block, "README.md", "exec"), {})  # noqa: S102 (our own file)
    assert mkd_tf.load_detector("student.keras").class_names == ("cat", "dog")


def test_the_example_of_the_readme_is_the_tested_one():
    example = (ROOT / "examples" / "keras_fit.py").read_text(encoding="utf-8")
    assert example in code_blocks("python")
    assert len(example.splitlines()) <= 30
