"""Writes small COCO sets for tests."""

import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

from tests.data.sources.voc_maker import noise_image

CATEGORIES = [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}]


@dataclasses.dataclass
class CocoMaker:
    """A folder of images of 64x48 and one annotation file, which grow by calls and by `write`.

    Attributes:
      root: holds the folder `images` and the file `instances.json`, if not called otherwise.
    """

    root: Path
    folder: str = "images"
    file: str = "instances.json"
    content: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {"images": [], "annotations": [], "categories": list(CATEGORIES)}
    )

    @property
    def images(self) -> Path:
        return self.root / self.folder

    @property
    def annotations(self) -> Path:
        return self.root / self.file

    def write_image(self, name: str, seed: int | None = None, **save) -> Path:
        """Writes an image alone; its name decides what it shows unless `seed` does."""
        path = self.images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise_image(zlib.crc32(name.encode()) if seed is None else seed).save(path, **save)
        return path

    def list_image(self, image_id: Any, name: str, **more) -> None:
        """Lists an image without writing it."""
        self.content["images"].append({"id": image_id, "file_name": name} | more)

    def add(self, image_id: Any, name: str, *boxes: list[float], seed: int | None = None, **more) -> None:
        """Writes and lists an image, with a cat in each of `boxes` (x, y, width, height)."""
        self.write_image(name, seed)
        self.list_image(image_id, name, **more)
        for box in boxes:
            self.annotate(image_id, bbox=box)

    def annotate(self, image: Any, **more) -> None:
        """Adds an annotation, a cat unless said; ids count from 100."""
        record = {"id": 100 + len(self.content["annotations"]), "image_id": image, "category_id": 3}
        self.content["annotations"].append(record | {"iscrowd": 0, "bbox": [10, 12, 20, 28]} | more)

    def write(self) -> Path:
        """Writes the annotation file."""
        self.annotations.parent.mkdir(parents=True, exist_ok=True)
        self.annotations.write_text(json.dumps(self.content))
        return self.annotations
