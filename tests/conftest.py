"""Settings and fixtures that all tests share."""

import os
from pathlib import Path

import pytest

from tests import typechecking, zygote

# Before anything imports TensorFlow, and for the processes that tests start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
# A GPU sums in another order, and tolerances here are those of a CPU.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# Before anything imports the package.
typechecking.install()
pytest.register_assert_rewrite("tests.harness", "tests.export.programs")

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files with a long test first, so that several processes end at about the same time."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish() -> None:
    """Spares the garbage collector what lives as long as the process: a tenth of all processor time."""
    zygote.settle()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the checkout; a test that wants it is skipped without."""
    folder = ROOT / "../shared/data"
    if not folder.is_dir():
        pytest.skip("no real data sets: ../shared/data is missing")
    return folder.resolve()
