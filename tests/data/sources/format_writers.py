"""Writes one set of images and boxes in the formats of annotation tools, as their exports lie in a folder."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

Box = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax in pixels
NAMES = {"train": "train", "validation": "val", "test": "test"}


@dataclasses.dataclass(frozen=True)
class Sample:
    """An image of a set: its file, its size, its split, and its objects."""

    image: Path
    width: int
    height: int
    split: str
    objects: tuple[tuple[str, Box], ...]

    @property
    def name(self) -> str:
        return self.image.name


def write_voc(samples: Sequence[Sample], root: Path) -> None:
    """Annotations, JPEGImages and lists of splits."""
    for sample in samples:
        _copy(sample, root / "JPEGImages")
        objects = "".join(
            f"<object><name>{escape(name)}</name><bndbox><xmin>{x0!r}</xmin><ymin>{y0!r}</ymin>"
            f"<xmax>{x1!r}</xmax><ymax>{y1!r}</ymax></bndbox></object>"
            for name, (x0, y0, x1, y1) in sample.objects
        )
        size = f"<size><width>{sample.width}</width><height>{sample.height}</height><depth>3</depth></size>"
        file = root / "Annotations" / f"{sample.image.stem}.xml"
        _write(file, f"<annotation><filename>{sample.name}</filename>{size}{objects}</annotation>")
    for split, short in NAMES.items():
        stems = [sample.image.stem for sample in samples if sample.split == split]
        _write(root / "ImageSets" / "Main" / f"{short}.txt", "\n".join(stems))


def write_coco(samples: Sequence[Sample], root: Path) -> None:
    """A folder and an instances file for each split, as COCO itself."""
    categories = {name: number for number, name in enumerate(_classes(samples), start=1)}
    for split, short in NAMES.items():
        own = [sample for sample in samples if sample.split == split]
        annotations = [
            {
                "id": len(sample.objects) * 1000 * i + j,
                "image_id": i,
                "category_id": categories[name],
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
            }
            for i, sample in enumerate(own)
            for j, (name, (x0, y0, x1, y1)) in enumerate(sample.objects)
        ]
        for number, annotation in enumerate(annotations):
            annotation["id"] = number
        images = [
            {"id": i, "file_name": s.name, "width": s.width, "height": s.height} for i, s in enumerate(own)
        ]
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": number, "name": name} for name, number in categories.items()],
        }
        _write(root / "annotations" / f"instances_{short}2017.json", json.dumps(content))
        for sample in own:
            _copy(sample, root / f"{short}2017")


def write_yolo(samples: Sequence[Sample], root: Path) -> None:
    """data.yaml, images/<split> and labels/<split>."""
    classes = _classes(samples)
    for sample in samples:
        _copy(sample, root / "images" / NAMES[sample.split])
        lines = [
            f"{classes.index(name)} {(x0 + x1) / 2 / sample.width:.6f} {(y0 + y1) / 2 / sample.height:.6f} "
            f"{(x1 - x0) / sample.width:.6f} {(y1 - y0) / sample.height:.6f}"
            for name, (x0, y0, x1, y1) in sample.objects
        ]
        _write(root / "labels" / NAMES[sample.split] / f"{sample.image.stem}.txt", "\n".join(lines))
    splits = "".join(f"{short}: images/{short}\n" for short in NAMES.values())
    names = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(classes))
    _write(root / "data.yaml", f"path: .\n{splits}names:\n{names}")


def write_cvat(samples: Sequence[Sample], root: Path) -> None:
    """annotations.xml of a project with a subset for each split."""
    labels = "".join(f"<label><name>{escape(name)}</name></label>" for name in _classes(samples))
    images = []
    for number, sample in enumerate(samples):
        subset = NAMES[sample.split]
        _copy(sample, root / "images" / subset)
        shapes = "".join(
            f'<box label={quoteattr(name)} source="manual" occluded="0" xtl="{x0:.2f}" ytl="{y0:.2f}" '
            f'xbr="{x1:.2f}" ybr="{y1:.2f}" z_order="0"></box>'
            for name, (x0, y0, x1, y1) in sample.objects
        )
        images.append(
            f'<image id="{number}" name={quoteattr(sample.name)} subset="{subset}" '
            f'width="{sample.width}" height="{sample.height}">{shapes}</image>'
        )
    meta = f"<meta><project><labels>{labels}</labels></project></meta>"
    _write(
        root / "annotations.xml", f"<annotations><version>1.1</version>{meta}{''.join(images)}</annotations>"
    )


def write_label_studio(samples: Sequence[Sample], root: Path) -> None:
    """A project's export beside its images, which lie in a folder for each split."""
    tasks = []
    for number, sample in enumerate(samples, start=1):
        _copy(sample, root / NAMES[sample.split])
        regions = [
            {
                "id": f"r{i}",
                "type": "rectanglelabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": sample.width,
                "original_height": sample.height,
                "image_rotation": 0,
                "value": {
                    "x": 100 * x0 / sample.width,
                    "y": 100 * y0 / sample.height,
                    "width": 100 * (x1 - x0) / sample.width,
                    "height": 100 * (y1 - y0) / sample.height,
                    "rotation": 0,
                    "rectanglelabels": [name],
                },
            }
            for i, (name, (x0, y0, x1, y1)) in enumerate(sample.objects)
        ]
        address = f"/data/local-files/?d=share/{NAMES[sample.split]}/{sample.name}"
        annotations = [{"id": number, "was_cancelled": False, "result": regions}]
        tasks.append(
            {"id": number, "annotations": annotations, "data": {"image": address}, "predictions": []}
        )
    _write(root / "project-1-at-2026-11-29.json", json.dumps(tasks))


def write_labelme(samples: Sequence[Sample], root: Path) -> None:
    """A JSON file beside each image, in a folder for each split."""
    for sample in samples:
        folder = root / NAMES[sample.split]
        _copy(sample, folder)
        shapes = [
            {
                "label": name,
                "points": [[x1, y0], [x0, y1]],  # dragged from right to left
                "group_id": None,
                "shape_type": "rectangle",
                "flags": {},
            }
            for name, (x0, y0, x1, y1) in sample.objects
        ]
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": sample.name,
            "imageData": "/9j/4AAQSkZJRg==",
            "imageHeight": sample.height,
            "imageWidth": sample.width,
        }
        _write(folder / f"{sample.image.stem}.json", json.dumps(content))


WRITERS: dict[str, Callable[[Sequence[Sample], Path], None]] = {
    "Pascal VOC": write_voc,
    "COCO": write_coco,
    "YOLO": write_yolo,
    "CVAT": write_cvat,
    "Label Studio": write_label_studio,
    "labelme": write_labelme,
}


def _classes(samples: Sequence[Sample]) -> list[str]:
    return sorted({name for sample in samples for name, _ in sample.objects})


def _copy(sample: Sample, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / sample.name
    try:
        target.hardlink_to(sample.image)
    except OSError:
        shutil.copy(sample.image, target)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
