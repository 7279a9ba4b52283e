"""Boxes around turned rectangles, ellipses and brushes, against slow references."""

import numpy as np
import pytest

from mkd_tf.data.sources.outlines import brush_box, ellipse_box, turned_box
from tests.data.sources.folder_maker import packed_brush


class TestOutlines:
    def test_turned_box(self):
        assert turned_box((0, 0, 4, 2), 90) == (1, -1, 3, 3)
        np.testing.assert_allclose(
            turned_box((0, 0, 2, 2), 45), [1 - 2**0.5, 1 - 2**0.5, 1 + 2**0.5, 1 + 2**0.5]
        )
        assert turned_box((0, 0, 4, 2), 180, pivot=(0, 0)) == (-4, -2, 0, 0)

    def test_ellipse(self):
        angle = np.linspace(0, 2 * np.pi, 100001)
        x, y = 3 * np.cos(angle), 1 * np.sin(angle)
        turned = np.array([x * np.cos(0.5) - y * np.sin(0.5), x * np.sin(0.5) + y * np.cos(0.5)])
        slow = [*turned.min(1), *turned.max(1)]
        np.testing.assert_allclose(ellipse_box(0, 0, 3, 1, np.degrees(0.5)), slow, atol=1e-6)

    @pytest.mark.parametrize("seed", range(4))
    def test_brush(self, seed):
        rng = np.random.default_rng(seed)
        mask = np.zeros((13, 17), bool)
        mask[3:9, 4:15] = rng.random((6, 11)) < (0.5, 1, 0.1, 0.9)[seed]
        mask[5, 7] = True
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        slow = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert brush_box(packed_brush(mask), 17, 13) == slow
        assert brush_box(packed_brush(np.zeros((13, 17), bool)), 17, 13) is None
