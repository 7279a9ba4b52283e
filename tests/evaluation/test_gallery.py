"""The images of a run: every network is drawn from its own operating point on."""

import numpy as np

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation import gallery


class Sure:
    """Finds one object, always with a score of 0.25."""

    image_size = 32
    class_names = ("cat",)

    def __init__(self, point):
        self.operating_point = point

    def __call__(self, images):
        return [
            Detections(np.array([[0, 0, 0.5, 0.5]], "float32"), np.array([0.25], "float32"), np.zeros(1, int))
        ]


def test_each_network_is_drawn_at_its_own_score(tmp_path, monkeypatch):
    seen, titles = [], []
    draw, titled = gallery.draw, gallery._titled
    monkeypatch.setattr(gallery, "draw", lambda *a: seen.append(a[3:]) or draw(*a))
    monkeypatch.setattr(gallery, "_titled", lambda i, title: titles.append(title) or titled(i, title))
    objects = {"bbox": np.zeros((0, 4)), "label": np.zeros(0, int)}
    objects |= {"is_difficult": np.zeros(0, bool), "is_crowd": np.zeros(0, bool)}
    split = [{"image": np.zeros((32, 32, 3), "uint8"), "image/id": "a", "objects": objects}]
    runners = {"teacher": Sure({"value": 0.2, "f1": 0.5, "chosen": "so"}), "student": Sure(None)}
    gallery.write_examples(tmp_path, split, runners, "stretch")
    assert seen == [(), (0.2,), (0.3,)]
    assert titles == ["truth", "teacher, score 0.20", "student, score 0.30"]
    assert (tmp_path / "examples.png").is_file() and (tmp_path / "examples/a.png").is_file()
