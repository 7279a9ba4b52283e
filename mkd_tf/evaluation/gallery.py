"""Images of a run: the detections of each role on the same test images, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mkd_tf.data.base import Element
from mkd_tf.data.image_files import fit_image
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth
from mkd_tf.evaluation.drawing import contact_sheet, draw, png_bytes
from mkd_tf.evaluation.runners import KerasRunner, on_original
from mkd_tf.files import write_bytes
from mkd_tf.options import DEFAULT_SCORE

_CELL_PX = 320
ROWS = 4


def _titled(image: np.ndarray, title: str) -> np.ndarray:
    """Puts a strip with a title on top."""
    font = ImageFont.load_default(image.shape[1] // 18)
    height = round(image.shape[1] / 12)
    canvas = Image.new("RGB", (image.shape[1], image.shape[0] + height), "white")
    canvas.paste(Image.fromarray(image), (0, height))
    ImageDraw.Draw(canvas).text((image.shape[1] / 2, height / 2), title, fill="black", font=font, anchor="mm")
    return np.asarray(canvas)


def _true_boxes(truth: Truth) -> Detections:
    truth = truth.named()
    size = [truth.height, truth.width, truth.height, truth.width]
    return Detections(truth.boxes / size, np.ones(len(truth.labels), "float32"), truth.labels)


def write_examples(
    folder: Path,
    split: Sequence[Element],
    runners: Mapping[str, KerasRunner],
    fit: str,
    answers: Mapping[str, tuple[Sequence[Detections], float]] | None = None,
) -> None:
    """Writes `examples.png`, a row per image and a column per role, and a folder of the untouched images.

    `ROWS` labelled elements of `split` are taken at equal distances; `runners` are by the title
    of their column, and show what they find at their operating points. `answers` are further
    columns: detections in every image of the split, and their operating point.
    """
    cells = []
    points = {title: runner.operating_point for title, runner in runners.items()}
    scores = {title: point["value"] if point else DEFAULT_SCORE for title, point in points.items()}
    names = next(iter(runners.values())).class_names
    for index in np.linspace(0, len(split) - 1, min(ROWS, len(split))).astype(int):
        found = split[int(index)]
        image, truth = found["image"], Truth.of(found)
        write_bytes(folder / "examples" / f"{Path(found['image/id']).stem}.png", png_bytes(image))
        cells.append(_titled(draw(image, _true_boxes(truth), names), "truth"))
        for title, (found_by, score) in (answers or {}).items():
            drawn = draw(image, found_by[int(index)], names, score)
            cells.append(_titled(drawn, f"{title}, score {score:.2f}"))
        for title, runner in runners.items():
            seen = runner(fit_image(image, runner.image_size, fit)[None])[0]
            seen = on_original(seen, image.shape[:2], fit)
            drawn = draw(image, seen, names, scores[title])
            cells.append(_titled(drawn, f"{title}, score {scores[title]:.2f}"))
    write_bytes(
        folder / "examples.png",
        png_bytes(contact_sheet(cells, len(runners) + len(answers or {}) + 1, _CELL_PX)),
    )
