"""`shapes`: a procedural data set that needs no download.

It is drawn on first use and kept in tfds's data folder, one folder for each
choice of arguments; later uses read it. `shapes_drawing` describes the images.
"""

import contextlib
import functools
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from mkd_tf.checks import MkdError, check_one_of, fail
from mkd_tf.data.base import AnnotatedSplit, Dataset, Element, annotation
from mkd_tf.data.sources.shapes_drawing import CLASS_NAMES, image_name
from mkd_tf.data.sources.tfds_preparing import quiet_tfds

if TYPE_CHECKING:
    from mkd_tf.data.sources.shapes_builder import ShapesBuilder

_SMALLEST = 64  # below it the smallest figures have no visible detail


class _Images(AnnotatedSplit):
    """A split, read record by record from tfds's random-access files."""

    def __init__(self, split: str, source: Sequence[dict[str, Any]], size: int):
        self.ids = [image_name(split, number) for number in range(len(source))]
        self._source, self._size = source, size
        self._is_labelled = split != "unlabelled"

    def __len__(self) -> int:
        return len(self._source)

    def image(self, index: int) -> np.ndarray:
        with Image.open(io.BytesIO(self._source[index]["image"])) as decoded:
            return np.array(decoded)

    def annotation(self, index: int) -> Element:
        objects, size = self._source[index]["objects"], (self._size, self._size)
        bbox, label = np.array(objects["bbox"]), np.array(objects["label"])
        return annotation(size, self.ids[index], bbox, label, is_labelled=self._is_labelled)


class Shapes(Dataset):
    """Small figures in clutter, six classes in three confusable pairs.

    Image `i` of a split depends on `seed`, the split and `i` alone, so that a smaller split
    is the beginning of a larger one.

    Args:
      train, validation, test, unlabelled: number of images; 0 leaves a split out,
        except `train`. The objects of unlabelled images are not stored.
      size: side of the images in pixels; figures grow with it.
      seed: of the drawing.
      data_dir: where prepared sets are kept; by default tfds's own folder
        (`TFDS_DATA_DIR`, else `~/tensorflow_datasets`).
      on_bad_example: accepted as by every data set; a drawn one has no bad examples.

    Raises:
      MkdError: for an illegal argument, or a `data_dir` that cannot be written.
    """

    name = "shapes"
    class_names = CLASS_NAMES

    def __init__(
        self,
        *,
        train: int = 400,
        validation: int = 100,
        test: int = 200,
        unlabelled: int = 800,
        size: int = 160,
        seed: int = 0,
        data_dir: str | os.PathLike[str] | None = None,
        on_bad_example: str = "fail",
    ):
        check_one_of("on_bad_example", on_bad_example, ("fail", "skip"))
        counts = {"train": train, "validation": validation, "test": test, "unlabelled": unlabelled}
        for argument, value in {**counts, "seed": seed, "size": size}.items():
            least = {"train": 1, "size": _SMALLEST}.get(argument, 0)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                do = f"Set {argument} accordingly."
                fail(f"shapes: {argument}", expected=f"an integer from {least} on", got=repr(value), do=do)
        self.split_names = tuple(split for split, count in counts.items() if count)
        self._builder = _prepared(counts, size, seed, data_dir)
        self._splits: dict[str, _Images] = {}  # filled when a split is first used

    def _split(self, name: str) -> Sequence[Element]:
        if name not in self._splits:
            import tensorflow_datasets as tfds

            # tfds would decode with OpenCV where it is installed, to slightly other pixels.
            as_bytes = {"image": tfds.decode.SkipDecoding()}
            source = self._builder.as_data_source(split=name, decoders=as_bytes)
            self._splits[name] = _Images(name, source, self._builder.size)
        return self._splits[name]


def _prepared(
    counts: dict[str, int], size: int, seed: int, data_dir: str | os.PathLike[str] | None
) -> "ShapesBuilder":
    """Returns the builder of a set that is complete on disk, drawing it first where it is missing.

    The set is drawn in a private folder beside its own, which is then renamed: tfds names
    its temporary folder with Python's global random state, so that two runs with one seed
    would write into the same folder.
    """
    from mkd_tf.data.sources.shapes_builder import ShapesBuilder

    quiet_tfds()
    home = None if data_dir is None else os.path.expanduser(data_dir)
    build = functools.partial(ShapesBuilder, counts=counts, size=size, seed=seed)
    builder = build(data_dir=home)
    if builder.data_path.exists():
        return builder
    target = Path(builder.data_dir)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix="incomplete.", dir=target.parent) as beside,
            tqdm(total=sum(counts.values()), desc="Drawing shapes", unit="image") as bar,
            # tfds announces a download that never happens, and a bar for every split and shard.
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            drawn = build(data_dir=beside, on_drawn=bar.update)
            drawn.download_and_prepare(file_format="array_record")
            _rename(Path(drawn.data_dir), target)
    except OSError as error:
        raise MkdError(
            f"shapes: expected to write {target}, got {error}. Set --data_dir to a folder with space."
        ) from error
    return build(data_dir=home)


def _rename(source: Path, target: Path) -> None:
    """Renames a folder, unless another process has made the same set in the meantime."""
    try:
        source.rename(target)
    except OSError:
        if not target.exists():
            raise
