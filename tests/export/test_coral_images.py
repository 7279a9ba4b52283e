"""`export/coral/detect.py`: what it is written in, how it reads images and how it draws."""

import ast
import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.coral import detect
from mkd_tf.data.image_files import read_image
from tests.conversion import made

FILES = ("detect", "model_file", "runtimes")


@pytest.mark.parametrize("file", FILES)
def test_it_is_for_old_pythons(file):
    tree = ast.parse(Path(detect.__file__).with_name(f"{file}.py").read_text(), feature_version=(3, 7))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported.add(node.module.split(".")[0])
        # What came after 3.7 without a syntax of its own.
        name = getattr(node, "attr", None) or getattr(node, "arg", None)
        assert name not in {
            "removeprefix",
            "removesuffix",
            "missing_ok",
            "strict",
            "is_relative_to",
            "Resampling",
        }
        notes = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        for note in filter(None, notes):
            assert not any(isinstance(n, ast.BinOp | ast.Subscript) for n in ast.walk(note)), ast.unparse(
                note
            )
    assert imported - set(sys.stdlib_module_names) <= {"numpy", "PIL", *FILES}


def _image(mode, **options):
    image = Image.fromarray(made.images(1, seed=8)[0][:40])
    alpha = Image.linear_gradient("L").resize(image.size)
    if mode == "transparent P":
        image, options = image.convert("P"), {"transparency": 3}
    elif mode.startswith("turned"):
        exif = Image.Exif()
        exif[0x0112] = int(mode[-1])
        options = {"exif": exif}
    else:
        image = image.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(alpha)
    stream = io.BytesIO()
    image.save(stream, "TIFF" if mode == "CMYK" else "PNG", **options)
    return stream.getvalue()


MODES = ["RGB", "L", "1", "RGBA", "LA", "CMYK", "transparent P", *(f"turned {n}" for n in range(1, 9))]


@pytest.mark.parametrize("mode", MODES)
def test_images_are_read_as_in_training(tmp_path, mode):
    path = tmp_path / "image.png"
    path.write_bytes(_image(mode))
    np.testing.assert_array_equal(np.asarray(detect.read_image(path)), read_image(path))


# The width as a text, which Pillow reads and cannot write; then the orientation, 6.
TEXT_WIDTH = b"II*\0" + struct.pack("<IH HHI4s HHII I", 8, 2, 0x0100, 2, 4, b"abc", 0x0112, 3, 1, 6, 0)


@pytest.mark.parametrize(("exif", "size"), [(TEXT_WIDTH, (40, 64)), (b"no EXIF at all", (64, 40))])
def test_exif_need_not_be_whole(tmp_path, exif, size):
    path = tmp_path / "image.jpg"
    Image.fromarray(made.images(1, seed=8)[0][:40]).save(path, exif=b"Exif\0\0" + exif)
    found = detect.read_image(path)
    assert found.size == size
    np.testing.assert_array_equal(np.asarray(found), read_image(path))


def test_sixteen_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 40000, "uint16")).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match="save it with 8"):
        detect.read_image(tmp_path / "deep.png")


def test_boxes_are_drawn_where_they_are():
    grey = Image.new("RGB", (200, 100), (128, 128, 128))
    boxes = [[40.0, 60.0, 90.0, 150.0], [0.0, 190.0, 20.0, 200.0]]
    found = [{"class": c, "label": "é", "score": 0.5, "box": box} for c, box in enumerate(boxes)]
    drawn = detect.draw(grey, found)
    assert drawn.getpixel((60, 70)) == drawn.getpixel((100, 90)) == detect.COLORS[0]
    assert drawn.getpixel((195, 20)) == detect.COLORS[1]
    assert drawn.getpixel((100, 70)) == (128, 128, 128) and grey.getpixel((60, 70)) == (128, 128, 128)
