"""Data sets made by hand, in memory."""

import numpy as np

from mkd_tf.data.base import AnnotatedSplit, Dataset, annotation


def noise(seed, size):
    """Returns an image `[H, W, 3]` uint8 of coloured cells that no other seed resembles."""
    cells = np.random.default_rng(seed).integers(0, 255, (9, 9, 3))
    return np.kron(cells, np.ones((size[0] // 9 + 1, size[1] // 9 + 1, 1)))[: size[0], : size[1]].astype(
        "uint8"
    )


class Listed(AnnotatedSplit):
    """A split of annotations; images are noise, of the annotation's size."""

    def __init__(self, annotations):
        self.annotations = annotations

    def __len__(self):
        return len(self.annotations)

    def annotation(self, index):
        return self.annotations[index]

    def image(self, index):
        return noise(index, self.annotations[index]["height_width"])


class Made(Dataset):
    """A data set of splits of annotations."""

    def __init__(self, class_names, **splits):
        self.name, self.class_names = "made", tuple(class_names)
        self.split_names = tuple(splits)
        self._splits = {name: Listed(annotations) for name, annotations in splits.items()}


def image(name, *objects, size=(90, 120), **details):
    """Returns an annotation of `objects`, (label, y0, x0, y1, x1) in pixels."""
    boxes = np.array([box for _, *box in objects], float).reshape(-1, 4) / [*size, *size]
    return annotation(size, name, boxes, np.array([label for label, *_ in objects], int), **details)


def plain(count, labels=(0, 1), size=(90, 120), start=0):
    """Returns `count` annotations with an object of each label, at places that follow the index."""
    made = []
    for i in range(start, start + count):
        objects = [
            (label, 5 + 7 * k, 8 * (i % 9) + k, 35 + 7 * k, 30 + 8 * (i % 9))
            for k, label in enumerate(labels)
        ]
        made.append(image(f"i{i}", *objects, size=size))
    return made
