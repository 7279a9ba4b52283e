"""Letters of any script in drawings: case 18."""

import logging

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation import lettering
from mkd_tf.evaluation.drawing import draw
from mkd_tf.evaluation.lettering import Lettering, shown_name

NAMES = (
    "猫",
    "犬",
    "螺丝",
    "螺帽",
    "кот",
    "пёс",
    "café",
    "cafe",
    "γάτα",
    "σκύλος",
    "고양이",
    "ねこ",
    "قطة",
    "बिल्ली",
    "แมว",
)
PAIRS = [
    ("猫", "犬"),
    ("螺丝", "螺帽"),
    ("кот", "пёс"),
    ("café", "cafe"),
    ("γάτα", "σκύλ"),
    ("고양이", "개"),
    ("قطة", "كلب"),
]


def tagged(name):
    image = np.full((240, 240, 3), 127, "uint8")
    box = np.array([[0.3, 0.3, 0.7, 0.7]], "float32")
    return draw(image, Detections(box, np.array([0.9], "float32"), np.array([0], "int32")), [name], 0.1)


@pytest.fixture
def no_fonts(monkeypatch):
    """A machine with Pillow's own font alone."""

    def forget():
        for cached in (lettering._face_of, lettering._face_of_all, lettering._warn):
            cached.cache_clear()

    forget()
    monkeypatch.setattr(lettering, "_faces", lambda: ((lettering._OWN, 0),))
    yield
    forget()


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_names_can_be_told_apart(one, other):
    assert not np.array_equal(tagged(one), tagged(other))


@pytest.mark.parametrize("name", NAMES)
def test_every_letter_has_a_glyph_of_an_installed_package(name):
    assert shown_name(name, 0) == name
    for part, font in Lettering(20)._runs(name):
        missing = bytes(font.getmask("\U0010ffff"))
        assert all(bytes(font.getmask(letter)) != missing for letter in part)


def test_latin_names_are_drawn_as_before():
    font = ImageFont.load_default(20)
    images = [Image.new("RGB", (200, 40)) for _ in range(2)]
    ImageDraw.Draw(images[0]).text((3, 4), "Cat 12, ok 0.93", fill=(255, 255, 255), font=font)
    letters = Lettering(20)
    letters.write(ImageDraw.Draw(images[1]), (3, 4), "Cat 12, ok 0.93", (255, 255, 255))
    assert images[0].tobytes() == images[1].tobytes()
    assert letters.width("Cat") == font.getlength("Cat")
    assert letters.extent("Cat") == (font.getbbox("Ag")[1], font.getbbox("Ag")[3])


def test_space_behind_letters_that_run_to_the_left_stays_behind():
    parts = [part for part, _ in Lettering(20)._runs("קט 猫")]
    assert parts == ["קט", " 猫"]


def test_high_letters_stay_inside_of_their_tag():
    letters = Lettering(40)
    for name in (name for name in NAMES if name != "cafe"):
        top, bottom = letters.extent(name)
        canvas = Image.new("L", (400, 120))
        letters.write(ImageDraw.Draw(canvas), (10, 30), name, 255)
        rows = np.flatnonzero(np.asarray(canvas).max(axis=1))
        assert 30 + top <= rows[0] and rows[-1] < 30 + bottom + 1


def test_a_name_without_a_font_is_its_number_and_said_once(no_fonts, caplog):
    found = [shown_name(name, label) for label, name in enumerate(("猫", "cat", "猫"))]
    assert found == ["class 0", "cat", "class 2"]
    assert shown_name("猫", 0) == "class 0"
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        f"drawings: expected a font with the letters of class '猫', got none: it is drawn as "
        f"'class {label}'. Install fonts with pip install 'mkd_tf[fonts]'."
        for label in (0, 2)
    ]
    assert not np.array_equal(tagged("猫"), tagged("cat"))


def test_matplotlib_has_cyrillic_and_greek(monkeypatch):
    for cached in (lettering._faces, lettering._face_of, lettering._face_of_all):
        cached.cache_clear()
    package = lettering._package
    monkeypatch.setattr(lettering, "_package", lambda name: package("none" if "manim" in name else name))
    assert [shown_name(name, 0) for name in ("кот", "γάτα")] == ["кот", "γάτα"]
    for cached in (lettering._faces, lettering._face_of, lettering._face_of_all):
        cached.cache_clear()


@pytest.mark.parametrize("name", ["", " ", "\u200d", "a\u0301", "\x00", "👩‍🚒"])
def test_any_text_is_drawn(name):
    assert tagged(name).shape == (640, 640, 3)
