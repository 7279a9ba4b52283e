"""Layer-wise least squares: the solution by hand, exact where the small network can be exact."""

import numpy as np
import pytest

from mkd_tf.starts.least_squares import LeastSquares, solved
from mkd_tf.starts.uniform import Uniform
from tests import harness
from tests.starts.scene import CLASSES, LARGE


def build(spec, seed=2):
    return harness.build(spec, CLASSES, seed=seed)


@pytest.fixture(scope="module")
def images():
    return harness.random_images(12, seed=3)


def test_solution_by_hand():
    # y = 2 x0 - x1 + 5: the offset is left to the batch norm.
    x = np.float64([[0, 0], [1, 0], [0, 1], [2, 3]])
    y = (2 * x[:, :1] - x[:, 1:]) + 5
    np.testing.assert_allclose(solved(x, y, 1e-9), [[2], [-1]], atol=1e-6)
    # One input, penalty equal to its sum of squares: half the slope.
    x = np.float64([[-1], [1]])
    np.testing.assert_allclose(solved(x, 3 * x, 1.0), [[1.5]])


def test_a_network_of_the_same_form_computes_the_same(large, images):
    small = build(LARGE)
    LeastSquares(ridge=1e-9)(small, large, images)
    ours, theirs = (n.predict(images, verbose=0) for n in (small, large))
    for name in ("C3", "P4", "class_logits", "box_encodings"):
        scale = np.abs(theirs[name]).std() + 1e-3
        assert np.abs(ours[name] - theirs[name]).max() < 0.05 * scale, name


@pytest.mark.parametrize("spec", ["tiny(widths=(4,8,12,16), pyramid=8)", "tiny(size='fast')"])
def test_it_is_closer_than_selection(large, images, spec):
    selected, fitted = build(spec), build(spec)
    Uniform()(selected, large)
    done = LeastSquares()(fitted, large, images)
    assert not done.fresh
    expected = large.predict(images, verbose=0)["class_logits"]
    errors = [
        np.square(n.predict(images, verbose=0)["class_logits"] - expected).mean() for n in (selected, fitted)
    ]
    assert errors[1] < 0.8 * errors[0]


def test_training_mode_computes_what_inference_does(large, images):
    small = build("tiny(widths=(4,8,12,16), pyramid=8)")
    LeastSquares(rows=10**6)(small, large, images)
    trained = small(images, training=True)["C3"].numpy()
    # On the images it was fitted on, a batch's own statistics are the stored ones.
    np.testing.assert_allclose(trained, small.predict(images, verbose=0)["C3"], atol=0.05)


def test_another_input_size(large, images):
    other = harness.build("tiny(widths=(4,8,12,16), pyramid=8)", CLASSES, seed=2, image_size=32)
    done = LeastSquares()(other, large, images)
    assert "stem_conv" in done.layers
