"""Writes small VOC folders for tests."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from mkd_tf.data.base import Dataset

Box = tuple[object, object, object, object]  # xmin, ymin, xmax, ymax, as written


def noise_image(seed: int, width: int = 64, height: int = 48) -> Image.Image:
    """An image that looks like no other: coarse random patches."""
    patches = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), "uint8")
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def object_xml(name: str = "cat", box: Box = (10, 12, 30, 40), extra: str = "") -> str:
    """One <object>."""
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    bndbox = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>{name}</name>{extra}<bndbox>{bndbox}</bndbox></object>"


@dataclasses.dataclass
class VocMaker:
    """A VOC folder that grows by calls.

    Attributes:
      root: the folder.
      is_flat: whether annotations and images lie directly in it.
    """

    root: Path
    is_flat: bool = False

    def annotation_path(self, name: str) -> Path:
        folder = self.root if self.is_flat else self.root / "Annotations"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.xml"

    def image_path(self, file: str) -> Path:
        folder = self.root if self.is_flat else self.root / "JPEGImages"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / file

    def annotate(
        self, name: str, *objects: str, size: tuple[int, int] | None = None, extra: str = ""
    ) -> None:
        """Writes an annotation."""
        if size:
            extra += f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
        self.annotation_path(name).write_text(f"<annotation>{extra}{''.join(objects)}</annotation>")

    def write_image(self, name: str, seed: int | None = None, suffix: str = ".jpg", **save) -> Path:
        """Writes an image of 64x48; the name decides what it shows unless `seed` does."""
        path = self.image_path(name + suffix)
        content = noise_image(sum(name.encode()) * 1000 + len(name) if seed is None else seed)
        content.save(path, format=Image.registered_extensions()[suffix.lower()], **save)
        return path

    def add(self, name: str, *objects: str, seed: int | None = None, **annotation) -> None:
        """Writes an image and its annotation, with one cat unless objects are given."""
        self.write_image(name, seed)
        self.annotate(name, *(objects or (object_xml(),)), **annotation)

    def write_list(self, file: str, *lines: str) -> None:
        """Writes `ImageSets/Main/<file>.txt`."""
        folder = self.root / "ImageSets" / "Main"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{file}.txt").write_text("\n".join(lines) + "\n")


def all_ids(dataset: Dataset) -> list[str]:
    """The ids of all images in all splits."""
    return sorted(element["image/id"] for split in dataset.split_names for element in dataset.split(split))
