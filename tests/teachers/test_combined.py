"""Several teachers and several views of an image as one."""

import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.detection.postprocess import Detections
from mkd_tf.teachers import OutputsTeacher, TeacherImage
from mkd_tf.teachers.combined import Combined, Viewed
from mkd_tf.teachers.fusing import fuse


def detections(*rows):
    """Detections of rows (y0, x0, y1, x1, score, label)."""
    table = np.array(rows, "float32").reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype("int32"))


class Fixed(OutputsTeacher):
    def __init__(self, name, class_names, answers):
        self.name, self.class_names, self.answers = name, class_names, answers

    def fingerprint(self):
        return self.name

    def detect(self, images):
        return [self.answers.get(i.id) for i in images]


def image(name="a"):
    return TeacherImage(name, "", (10, 20), lambda: np.zeros((10, 20, 3), "uint8"))


def test_a_value_worked_by_hand():
    first = detections((0, 0, 1, 1, 0.8, 0))
    second = detections((0, 0, 0.8, 1, 0.4, 0), (0.5, 0.5, 1, 1, 0.6, 1))
    found = fuse([first, second], {0: 2, 1: 2})
    # IoU 0.8; (0.8 * 1 + 0.4 * 0.8) / 1.2; the other was seen by one of two.
    np.testing.assert_allclose(found.boxes, [[0, 0, 1.12 / 1.2, 1], [0.5, 0.5, 1, 1]], rtol=1e-6)
    np.testing.assert_allclose(found.scores, [0.6, 0.3], rtol=1e-6)
    assert found.labels.tolist() == [0, 1]


def test_two_detections_of_one_member_stay_apart():
    pair = detections((0, 0, 1, 1, 0.8, 0), (0, 0, 0.9, 1, 0.7, 0))
    assert len(fuse([pair, detections((0, 0, 1, 1, 0.8, 0))], {0: 2})) == 2
    assert len(fuse([detections(), detections()], {0: 2})) == 0


def test_a_member_that_does_not_know_a_class_or_an_image_has_no_vote():
    row = (0.1, 0.1, 0.5, 0.5, 0.8, 0)
    first = Fixed("first", ("cat", "Dog"), {"a": detections(row), "b": detections(row)})
    second = Fixed("second", ("dog",), {"a": detections((0.1, 0.1, 0.5, 0.5, 0.4, 0))})
    both = Combined([first, second])
    assert both.class_names == ("cat", "Dog") and both.name == "first+second"
    a, b, none = both.detect([image("a"), image("b"), image("c")])
    np.testing.assert_allclose(a.scores, [0.8, 0.2], rtol=1e-6)  # a dog is seen by one of two
    assert a.labels.tolist() == [0, 1]
    np.testing.assert_allclose(b.scores, [0.8], rtol=1e-6)
    assert none is None
    assert both.fingerprint() != Combined([second, first]).fingerprint()
    with pytest.raises(MkdError, match="two or more"):
        Combined([first])


@pytest.mark.parametrize(
    ("views", "box"), [("flip", (0.1, 0.6, 0.3, 0.8)), ("half_turn", (0.7, 0.6, 0.9, 0.8))]
)
def test_the_second_view_is_mapped_back(views, box):
    class Spot(Fixed):
        """Finds the bright part of an image."""

        def detect(self, images):
            found = []
            for one in images:
                rows, columns = np.nonzero(one.pixels()[..., 0])
                y0, y1, x0, x1 = (
                    rows.min() / 10,
                    rows.max() / 10 + 0.1,
                    columns.min() / 20,
                    columns.max() / 20 + 0.05,
                )
                found.append(detections((y0, x0, y1, x1, 0.9, 0)))
            return found

    pixels = np.zeros((10, 20, 3), "uint8")
    pixels[1:3, 4:8] = 255
    shown = TeacherImage("a", "", (10, 20), lambda: pixels)
    spot = Spot("spot", ("spot",), {})
    teacher = Viewed(spot, views)
    (found,) = teacher.detect([shown])
    np.testing.assert_allclose(found.boxes, [[0.1, 0.2, 0.3, 0.4]], atol=1e-6)
    np.testing.assert_allclose(found.scores, [0.9], rtol=1e-6)
    np.testing.assert_allclose(spot.detect([teacher._mirrored(shown)])[0].boxes[0], box, atol=1e-6)
    assert teacher.fingerprint() != spot.fingerprint() and teacher.class_names == ("spot",)


def test_views_need_pixels():
    blind = Fixed("blind", ("a",), {})
    blind.needs_pixels = False
    with pytest.raises(MkdError, match="a teacher that sees images"):
        Viewed(blind, "flip")
    with pytest.raises(MkdError, match="views"):
        Viewed(Fixed("x", ("a",), {}), "upside")
