"""The larger network that starts inherit from."""

import pytest

from tests import harness
from tests.starts.scene import CLASSES, LARGE


@pytest.fixture(scope="module")
def large():
    """A detector as after training: its batch norms and biases are not those it begins with."""
    return harness.shake(harness.build(LARGE, CLASSES, seed=1))
