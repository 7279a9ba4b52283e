"""Limits of files: read from a flag, kept for the process and those it starts, met by every kind of file."""

import json
import os

import pytest
from PIL import Image

from mkd_tf import file_limits
from mkd_tf.checks import MkdError
from mkd_tf.data.image_files import read_image
from mkd_tf.data.sources.coco_content import read_content
from mkd_tf.data.text_files import read_text
from mkd_tf.file_limits import VARIABLE, FileLimits, limits, set_limits
from tests.export import programs


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(file_limits, "_current", [])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)


def test_defaults_are_those_of_pillow_and_of_the_documents():
    assert limits() == FileLimits(megapixels=89.478485, model_gib=4, layers_mib=64, text_gib=2)
    assert limits().pixels == Image.MAX_IMAGE_PIXELS == 89_478_485


def test_what_is_given_replaces_what_it_names_here_and_in_processes_started_later():
    set_limits(" megapixels = 200, model_gib=0.5 ")
    assert limits() == FileLimits(megapixels=200.0, model_gib=0.5)
    assert FileLimits.parsed(os.environ[VARIABLE]) == limits()
    set_limits("")
    assert limits().megapixels == 200.0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pixels=3", "limits: expected each of megapixels, .* got 'pixels=3'"),
        ("text_gib=1, text_gib=2", "at most once"),
        ("megapixels", "expected a number for megapixels, got ''"),
        ("megapixels=many", "expected a number for megapixels, got 'many'"),
        ("megapixels=0", "limits: megapixels"),
        ("megapixels=-1", "limits: megapixels"),
        ("megapixels=nan", "limits: megapixels"),
        ("megapixels=inf", "limits: megapixels"),
    ],
)
def test_what_is_no_limit_is_told(text, told):
    with pytest.raises(MkdError, match=told):
        set_limits(text)
    assert limits() == FileLimits()


def test_an_image_over_the_limit_is_refused_and_one_below_a_raised_limit_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 30)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(MkdError, match=r"a.png: expected at most 500 pixels, .* --limits=megapixels=NUMBER"):
        read_image(path)
    set_limits("megapixels=0.0012")
    assert read_image(path).shape == (30, 40, 3)
    set_limits("megapixels=0.0011")
    with pytest.raises(MkdError, match="expected at most 1100 pixels"):
        read_image(path)


@pytest.mark.parametrize("read", [read_text, read_content])
def test_a_text_over_the_limit_is_refused_unread(tmp_path, read):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"annotations": [{"bbox": [1, 2, 3, 4]}] * 99}))
    assert read(path)
    set_limits("text_gib=0.000001")
    told = r"instances.json: expected at most 1e-06 GiB, got .* GiB. Use a smaller file or, .*text_gib=NUMBER"
    with pytest.raises(MkdError, match=told):
        read(path)


def test_every_program_has_the_flag(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    flags = (f"--dataset={tmp_path}", "--limits=megapixel=3")
    done = programs.run(*flags, module="mkd_tf.inspect_data")
    assert done.returncode == 1
    assert "error: limits: expected each of megapixels" in done.stderr
