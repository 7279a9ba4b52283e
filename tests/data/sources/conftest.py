"""Makers that the tests of annotation cases share."""

import pytest

from tests.data.sources.coco_maker import CocoMaker
from tests.data.sources.folder_maker import Folder
from tests.data.sources.voc_maker import VocMaker


@pytest.fixture
def voc(tmp_path) -> VocMaker:
    """An empty VOC folder."""
    return VocMaker(tmp_path / "folder")


@pytest.fixture
def coco(tmp_path) -> CocoMaker:
    """An empty COCO set of the one category 3, cat."""
    maker = CocoMaker(tmp_path)
    maker.content["categories"] = [{"id": 3, "name": "cat"}]
    return maker


@pytest.fixture
def folder(tmp_path) -> Folder:
    """An empty folder for files of any tool."""
    return Folder(tmp_path / "set")
