"""Settings and fixtures that all tests share."""

import os
from pathlib import Path

import pytest

# Before anything imports TensorFlow, and for the processes that tests start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
# A GPU sums in another order, and tolerances here are those of a CPU.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

pytest.register_assert_rewrite("tests.harness", "tests.export.programs")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the checkout; a test that wants it is skipped without."""
    folder = ROOT / "../shared/data"
    if not folder.is_dir():
        pytest.skip("no real data sets: ../shared/data is missing")
    return folder.resolve()
