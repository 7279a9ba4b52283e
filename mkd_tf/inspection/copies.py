"""Images that look alike: twice in a split, or on both sides of a split."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from mkd_tf.data.base import Dataset, Element, image_of
from mkd_tf.data.sources.examples import ExampleImages
from mkd_tf.data.sources.near_duplicates import group_alike, nearest_copies
from mkd_tf.evaluation.progress import OnProgress, ignore_progress
from mkd_tf.inspection.suspects import suspect
from mkd_tf.schemas.inspection import Place, Suspect

_SIDE = 8


def image_hash(image: np.ndarray) -> np.ndarray:
    """Returns the difference hash `[128]` bool of an image `[H, W, 3]` uint8, see `image_files.Scan`."""
    grey = Image.fromarray(image).convert("L").resize((_SIDE + 1, _SIDE + 1), Image.Resampling.BOX)
    cells = np.asarray(grey, "int16")
    return (cells[:-1, :-1] < np.stack([cells[:-1, 1:], cells[1:, :-1]])).ravel()


def hashes_of(split: Sequence[Element], on_progress: OnProgress = ignore_progress) -> np.ndarray:
    """Returns the hashes of a split's images, `[N, 128]` bool; those of scanned files are known."""
    found = []
    for index in range(len(split)):
        known = split.example(index).scan.hash if isinstance(split, ExampleImages) else None
        found.append(image_hash(image_of(split, index)) if known is None else known)
        on_progress(index + 1, len(split))
    return np.array(found, bool).reshape(len(found), 2 * _SIDE**2)


def find_copies(
    dataset: Dataset, ids: dict[str, Sequence[str]], on_progress: OnProgress = ignore_progress
) -> list[Suspect]:
    """Returns the images that resemble another one of their split, and those of another split.

    Args:
      dataset: the data set.
      ids: of the images of each split.
      on_progress: called while images are decoded whose hash is not known.
    """
    hashes = {name: hashes_of(dataset.split(name), on_progress) for name in dataset.split_names}
    inside: list[Place] = []
    across: list[Place] = []
    number = 0
    for split, own in hashes.items():
        for group in group_alike(own):
            if len(group) > 1:
                number += len(group) - 1
                names = [ids[split][i] for i in group]
                note = f"like {names[0]}" + (f"; {len(group)} alike" if len(group) > 2 else "")
                inside.append({"split": split, "image": names[1], "note": note, "twin": [split, names[0]]})
    trained = [s for s in ("train", "unlabelled") if s in hashes]
    sides = [(split, other) for split in ("validation", "test") for other in trained]
    for split, other in [*sides, ("test", "validation")]:
        if split in hashes and other in hashes:
            for i, j in nearest_copies(hashes[split], hashes[other]):
                twin = [other, ids[other][j]]
                note = f"like {' '.join(twin)}"
                across.append({"split": split, "image": ids[split][i], "note": note, "twin": twin})
    made = []
    if inside:
        made.append(suspect("copies in a split", "resemble another image of their split", inside, number))
    if across:
        text = "resemble an image of another split, which makes results look better than they are"
        made.append(suspect("copies across splits", text, across))
    return made
