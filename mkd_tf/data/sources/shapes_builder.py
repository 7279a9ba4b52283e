"""The tfds builder behind `shapes`. Importing this module imports tfds."""

import io
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from mkd_tf.data.base import SPLITS
from mkd_tf.data.sources.shapes_drawing import CLASS_NAMES, draw_image, image_name


def image_bytes(image: np.ndarray) -> io.BytesIO:
    """Returns the image as a JPEG file that keeps full colour resolution.

    It has a third of the size of a PNG, most of which would be the grain.
    """
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=92, subsampling=0)
    file.seek(0)
    return file


with tfds.core.registered.skip_registration():  # reached through DATASETS, not by name in tfds

    class ShapesBuilder(tfds.core.GeneratorBasedBuilder):
        """Draws every image from (seed, split, number) alone.

        A change to the drawing needs a new VERSION, or the old images in prepared folders
        stay in use. The arguments are part of the name, since tfds warns of a config that
        is made at run time.

        Args:
          counts: images by split.
          size: side of the images in pixels.
          seed: of the drawing.
          data_dir: where prepared sets are kept.
          on_drawn: called after each image, for a display of progress.
        """

        VERSION = tfds.core.Version("1.0.0")

        def __init__(
            self,
            *,
            counts: Mapping[str, int],
            size: int,
            seed: int,
            data_dir: str | os.PathLike[str] | None = None,
            on_drawn: Callable[[], object] = lambda: None,
        ):
            self.counts, self.size, self.seed, self.on_drawn = counts, size, seed, on_drawn
            self.name = "_".join(["shapes", f"{size}px", f"seed{seed}", *map(str, counts.values())])
            super().__init__(data_dir=data_dir)

        def _info(self) -> tfds.core.DatasetInfo:
            label = tfds.features.ClassLabel(names=CLASS_NAMES)
            features = {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                "image/id": tfds.features.Text(),
                "objects": tfds.features.Sequence({"bbox": tfds.features.BBoxFeature(), "label": label}),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                description="Six classes of small figures in clutter, drawn by mkd_tf.",
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,  # image i is example i
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
            del dl_manager
            return {s: self._generate_examples(s, n) for s, n in self.counts.items() if n}

        def _generate_examples(self, split: str, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
            for number in range(count):
                rng = np.random.default_rng([self.seed, SPLITS.index(split), number])
                image, boxes, labels = draw_image(rng, self.size)
                if split == "unlabelled":  # labels that must not be used are not stored
                    boxes, labels = boxes[:0], labels[:0]
                objects = [
                    {"bbox": tfds.features.BBox(*map(float, box)), "label": int(label)}
                    for box, label in zip(boxes, labels, strict=True)
                ]
                name = image_name(split, number)
                yield number, {"image": image_bytes(image), "image/id": name, "objects": objects}
                self.on_drawn()
