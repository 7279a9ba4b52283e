"""The body of the program `predict`: pictures in, drawn pictures and detections.json out.

detections.json:

    {"schema": 1, "class_names": [...], "score_threshold": ...,
     "pictures": [{"file": ..., "drawn": ..., "height": px, "width": px,
                   "detections": [{"label": name, "score": 0..1,
                                   "box": [ymin, xmin, ymax, xmax]}]}],
     "failed": [{"file": ..., "reason": ...}]}

Boxes are in pixels of the original picture, EXIF orientation applied, best first.
"""

import collections
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.progress import track

from mkd_tf.checks import MkdError, check_fraction, fail
from mkd_tf.data.pictures import PICTURE_SUFFIXES, fit_picture, read_picture
from mkd_tf.detectors.base import Detector
from mkd_tf.evaluation.drawing import draw, png_bytes
from mkd_tf.evaluation.runners import KerasRunner, Runner, on_original
from mkd_tf.files import beside, to_json, write_bytes
from mkd_tf.postprocess import Detections


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of the input: a program fails when `failed` is not empty.

    Attributes:
      pictures: how many were drawn.
      detections: how many objects in them scored enough.
      skipped: how many files are no pictures by their name.
      failed: name and reason of each picture that could not be read.
    """

    pictures: int
    detections: int
    skipped: int
    failed: tuple[tuple[str, str], ...]


def find_pictures(input_path: str | Path) -> tuple[list[Path], int]:
    """Returns the pictures at `input_path`, a picture or a folder of them, sorted by name.

    Subfolders and hidden files are left alone.

    Returns:
      the paths, and how many other files there are.

    Raises:
      MkdError: if there is nothing, or no picture.
    """
    path = Path(input_path)
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    else:
        fail(f"input {path}", expected="a picture or a folder", got="nothing there", do="Check the path.")
    pictures = [p for p in files if p.suffix.lower() in PICTURE_SUFFIXES]
    if not pictures:
        fail(
            f"input {path}",
            expected=f"pictures ({', '.join(PICTURE_SUFFIXES)})",
            got=f"{len(files)} other files" if files else "an empty folder",
            do="Give a picture or a folder that holds some.",
        )
    return pictures, len(files) - len(pictures)


def _drawn_names(pictures: Sequence[Path]) -> list[str]:
    # a.jpg and a.png must not both become a.png, nor on a disk that ignores case;
    # nor a.jpg what a.jpg.png beside them becomes, a.jpg.png.
    stems = collections.Counter(p.stem.lower() for p in pictures)
    names: dict[str, str] = {}
    for p in pictures:
        numbered = (f"{p.name}.{n}" for n in itertools.count(2))
        choices = itertools.chain([p.stem] if stems[p.stem.lower()] == 1 else [], [p.name], numbered)
        name = next(c for c in choices if c.lower() not in names)
        names[name.lower()] = f"{name}.png"
    return list(names.values())


def _record(found: Detections, class_names: Sequence[str], height: int, width: int) -> list[dict[str, Any]]:
    boxes = (found.boxes.astype("float64") * [height, width, height, width]).round(2).tolist()
    columns = zip(found.labels.tolist(), found.scores.astype("float64").round(4).tolist(), boxes, strict=True)
    return [{"label": class_names[label], "score": score, "box": box} for label, score, box in columns]


def predict_folder(
    model: Detector | Runner,
    input_path: str | Path,
    output_dir: str | Path,
    score_threshold: float = 0.3,
    fit: str = "stretch",
    console: Console | None = None,
) -> Outcome:
    """Draws what `model` finds into PNG pictures and lists it in `detections.json`.

    One picture is in memory at a time. One that cannot be read is reported, listed
    under `failed` and passed over.

    Args:
      model: a detector or a runner.
      input_path: a picture or a folder of them.
      output_dir: where the results go; made if missing.
      score_threshold: detections below it are left out.
      fit: how pictures are fitted to the model, `stretch` or `letterbox`, as in its training.
      console: where progress goes; standard error when None.

    Raises:
      MkdError: if there is no picture, or results would lie among the originals.
    """
    check_fraction("score_threshold", score_threshold)
    pictures, skipped = find_pictures(input_path)
    output_dir = Path(output_dir)
    if output_dir.resolve() == pictures[0].parent.resolve():
        fail(
            f"output {output_dir}",
            expected="a folder apart from the input",
            got="the input's own folder, whose pictures would be overwritten",
            do="Choose another --output.",
        )
    console = console or Console(stderr=True)
    runner = KerasRunner(model) if isinstance(model, keras.Model) else model
    failed: list[tuple[str, str]] = []
    drawn = total = 0
    header = {"schema": 1, "class_names": list(runner.class_names), "score_threshold": score_threshold}
    # Written as it comes: a folder of any length is no matter of memory.
    with beside(output_dir / "detections.json") as stream:
        stream.write(f'{to_json(header, "header")[:-1]}, "pictures": ['.encode())
        steps = list(zip(pictures, _drawn_names(pictures), strict=True))
        for path, name in track(steps, "Predicting", console=console):
            try:
                image = read_picture(path)
            except MkdError as error:
                failed.append((path.name, str(error)))
                console.print(f"skipped {path.name}: {error}", markup=False)
                continue
            height, width = image.shape[:2]
            fitted = runner(fit_picture(image, runner.image_size, fit)[None])[0]
            found = on_original(fitted, (height, width), fit).above(score_threshold)
            write_bytes(output_dir / name, png_bytes(draw(image, found, runner.class_names, score_threshold)))
            entry = {"file": path.name, "drawn": name, "height": height, "width": width}
            entry["detections"] = _record(found, runner.class_names, height, width)
            stream.write(("\n" if not drawn else ",\n").encode() + to_json(entry, path.name).encode())
            drawn, total = drawn + 1, total + len(found)
        problems = [{"file": name, "reason": reason} for name, reason in failed]
        stream.write(f'\n], "failed": {to_json(problems, "failed")}}}\n'.encode())
    return Outcome(drawn, total, skipped, tuple(failed))
