"""Fills a folder with small images and files of annotations for tests."""

import json
from pathlib import Path

import numpy as np

from mkd_tf.config import DataConfig
from mkd_tf.data import DATASETS, open_dataset
from mkd_tf.data.base import Dataset, Element, annotation_of
from mkd_tf.registry import Spec
from tests.data.sources.voc_maker import noise_image


class Folder:
    """A folder that is filled by calls; images differ from each other."""

    def __init__(self, root: Path):
        self.root = root
        self.count = 0

    def image(self, name: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.count += 1
        noise_image(self.count).save(path)

    def text(self, name: str, content: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")

    def coco(self, name: str, *images: str, categories: tuple[str, ...] = ("cat",)) -> None:
        content = {
            "images": [{"id": i, "file_name": n, "width": 64, "height": 48} for i, n in enumerate(images)],
            "categories": [
                {"id": i, "name": n, "supercategory": categories[i - 1] if i else "none"}
                for i, n in enumerate(categories)
            ],
            "annotations": [
                {"id": i, "image_id": i, "category_id": len(categories) - 1, "bbox": [16, 12, 16, 24]}
                for i in range(len(images))
            ],
        }
        self.text(name, json.dumps(content))

    def open(self, name: str = "", **options) -> Dataset:
        return open_dataset(DataConfig(dataset=str(self.root / name), **options))

    def build(self, kind: str, **arguments) -> Dataset:
        return DATASETS.build(Spec(kind, {"path": str(self.root), **arguments}))


def elements(data: Dataset) -> dict[str, Element]:
    """Returns the annotations of all labelled images by the name of their file without suffix."""
    found: dict[str, Element] = {}
    for split in data.split_names:
        images = data.split(split)
        for index in range(len(images)):
            each = annotation_of(images, index) | {"split": split}
            found[Path(each["image/id"]).stem] = each
    return found


def pixels(element: Element) -> list[list[float]]:
    """Returns the boxes of an element as xmin, ymin, xmax, ymax in pixels."""
    height, width = element["height_width"]
    boxes = element["objects"]["bbox"][:, [1, 0, 3, 2]] * [width, height, width, height]
    return [[round(float(side), 3) for side in box] for box in boxes]


def packed_brush(mask: np.ndarray) -> list[int]:
    """Packs a mask as Label Studio does, in words of 8 bits, runs and literal blocks alternating."""
    values = np.repeat(mask.astype(int).ravel() * 255, 4)
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    place = 0
    while place < len(values):
        run = next((i for i, v in enumerate(values[place:]) if v != values[place]), len(values) - place)
        if run > 2:
            run = min(run, 1 << 16)
            bits += f"1{3:02b}{run - 1:016b}{values[place]:08b}"
        else:
            run = min(8, len(values) - place)
            bits += f"0{0:02b}{run - 1:03b}" + "".join(f"{v:08b}" for v in values[place : place + run])
        place += run
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
