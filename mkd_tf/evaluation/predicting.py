"""The body of the program `predict`: images in, drawn images and `detections.json` out.

`schemas.DetectionsFile` says what that holds.
"""

import collections
import itertools
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from mkd_tf import schemas
from mkd_tf.checks import MkdError, check_fraction, fail
from mkd_tf.data.image_files import IMAGE_SUFFIXES, fit_image, read_image
from mkd_tf.data.sources.notices import Notices
from mkd_tf.data.sources.paths import name_unused, visible_tree
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.console import say
from mkd_tf.evaluation.drawing import draw, png_bytes
from mkd_tf.evaluation.runners import Runner, on_original
from mkd_tf.files import write_bytes
from mkd_tf.options import DEFAULT_SCORE
from mkd_tf.schemas.training import Detection, DetectionsFile, Failure


def find_images(input_path: str | Path) -> list[Path]:
    """Returns the images at `input_path`, an image or a folder of them, sorted by name.

    Subfolders, hidden files and files that are no images by their name are left alone; `unused` names them.

    Raises:
      MkdError: if there is nothing, or no image.
    """
    path = Path(input_path)
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    else:
        fail(f"input {path}", expected="an image or a folder", got="nothing there", do="Check the path.")
    images = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        fail(
            f"input {path}",
            expected=f"images ({', '.join(IMAGE_SUFFIXES[:8])}, ...)",
            got=f"{len(files)} other files" if files else "an empty folder",
            do="Give an image or a folder that holds some.",
        )
    return images


def unused(input_path: str | Path, output_dir: Path) -> list[str]:
    """Returns a line for each kind of file in a folder that `find_images` leaves alone.

    What lies in `output_dir` is that of an earlier run, and not named.
    """
    folder, notices = Path(input_path), Notices()
    for path in visible_tree(folder) if folder.is_dir() else ():
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        if output_dir.resolve() in path.resolve().parents or (is_image and path.parent == folder):
            continue
        if path.parent == folder:
            name_unused([path], folder.parent, notices)
        elif is_image:
            name = path.relative_to(folder).as_posix()
            notices.add("unused", f"{folder.name}/", "images in sub-folders are not read", name)
    return [str(notice) for notice in notices]


def _drawn_names(images: Sequence[Path]) -> list[str]:
    # a.jpg and a.png must not both become a.png, nor on a disk that ignores case;
    # nor a.jpg what a.jpg.png beside them becomes, a.jpg.png.
    stems = collections.Counter(p.stem.lower() for p in images)
    names: dict[str, str] = {}
    for p in images:
        numbered = (f"{p.name}.{n}" for n in itertools.count(2))
        choices = itertools.chain([p.stem] if stems[p.stem.lower()] == 1 else [], [p.name], numbered)
        name = next(c for c in choices if c.lower() not in names)
        names[name.lower()] = f"{name}.png"
    return list(names.values())


def _listed(found: Detections, class_names: Sequence[str], height: int, width: int) -> list[Detection]:
    boxes = (found.boxes.astype("float64") * [height, width, height, width]).round(2).tolist()
    columns = zip(found.labels.tolist(), found.scores.astype("float64").round(4).tolist(), boxes, strict=True)
    return [{"label": class_names[label], "score": score, "box": box} for label, score, box in columns]


def predict_folder(
    runner: Runner,
    input_path: str | Path,
    output_dir: str | Path,
    score_threshold: float = DEFAULT_SCORE,
    fit: str = "stretch",
    console: Console | None = None,
) -> list[Failure]:
    """Draws what `runner` finds into PNG images and lists it in `detections.json`.

    One image is in memory at a time. One that cannot be read is reported, listed
    under `failed` and passed over. Files that are no input are named.

    Args:
      runner: the model.
      input_path: an image or a folder of them.
      output_dir: where the results go; made if missing.
      score_threshold: detections below it are left out.
      fit: how images are fitted to the model, `stretch` or `letterbox`, as in its training.
      console: where progress goes; standard error when None.

    Returns:
      What is listed under `failed`.

    Raises:
      MkdError: if there is no image, or results would lie among the originals.
    """
    check_fraction("score_threshold", score_threshold)
    images = find_images(input_path)
    output_dir = Path(output_dir)
    if output_dir.resolve() == images[0].parent.resolve():
        fail(
            f"output {output_dir}",
            expected="a folder apart from the input",
            got="the input's own folder, whose images would be overwritten",
            do="Choose another --output.",
        )
    console = console or Console(stderr=True)
    for line in unused(input_path, output_dir):
        say(console, line)
    failed: list[Failure] = []
    content: DetectionsFile = {
        "class_names": list(runner.class_names),
        "score_threshold": score_threshold,
        "images": [],
        "failed": failed,
    }
    with schemas.growing(output_dir / "detections.json", content, DetectionsFile, "images") as append:
        steps = list(zip(images, _drawn_names(images), strict=True))
        for path, name in track(steps, "Predicting", console=console):
            try:
                image = read_image(path)
            except MkdError as error:
                failed.append({"file": path.name, "reason": str(error)})
                say(console, f"skipped {path.name}: {error}")
                continue
            height, width = image.shape[:2]
            fitted = runner(fit_image(image, runner.image_size, fit)[None])[0]
            found = on_original(fitted, (height, width), fit).above(score_threshold)
            write_bytes(output_dir / name, png_bytes(draw(image, found, runner.class_names, score_threshold)))
            entry = {"file": path.name, "drawn": name, "height": height, "width": width}
            append(entry | {"detections": _listed(found, runner.class_names, height, width)})
    return failed
