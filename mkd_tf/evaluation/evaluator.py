"""A split prepared for evaluation: images are fitted once and measured many times."""

import concurrent.futures
from collections.abc import Iterator, Sequence

import numpy as np

from mkd_tf.checks import check_one_of, check_positive, fail
from mkd_tf.data.base import Element, annotation_of, image_of
from mkd_tf.data.image_files import fit_image
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth, coco_metrics
from mkd_tf.evaluation.progress import OnProgress, ignore_progress
from mkd_tf.evaluation.runners import Runner, on_original
from mkd_tf.evaluation.voc import voc_metrics
from mkd_tf.options import FITS
from mkd_tf.schemas.training import Metrics

MEMORY_BYTES = 512 * 2**20
_THREADS = 4


class EvaluationSet:
    """The images of a labelled split at one model's input size, and what is in them.

    A split whose fitted images take at most `MEMORY_BYTES` stays in memory; a
    larger one is decoded for each evaluation, a batch at a time, and not before where
    its boxes are known without decoding (`data.base.AnnotatedSplit`). `truth` has one record
    per image, on the pixels of the original.

    Args:
      split: elements as in `data.base`, all of them labelled.
      image_size: side of the model's input in pixels.
      fit: `stretch`, or `letterbox` to keep the aspect ratio.
      on_progress: called with how many are done, and how many there are.
      memory_bytes: above it, images are not kept.

    Raises:
      MkdError: if the split is empty or has an image without labels.
    """

    def __init__(
        self,
        split: Sequence[Element],
        image_size: int,
        fit: str = "stretch",
        on_progress: OnProgress = ignore_progress,
        memory_bytes: int = MEMORY_BYTES,
    ):
        check_one_of("fit", fit, FITS)
        check_positive("image_size", image_size)
        total = len(split)
        if not total:
            fail("evaluation split", expected="at least one image", got="none", do="Choose another --split.")
        keep = total * image_size**2 * 3 <= memory_bytes
        images = np.empty((total, image_size, image_size, 3), "uint8") if keep else None
        self.image_size, self.fit, self._split, self._images = image_size, fit, split, images
        self.truth: list[Truth] = []
        for index in range(total):
            element = annotation_of(split, index) if images is None else split[index]
            if not element["is_labelled"]:
                fail(
                    f"image {element['image/id']}",
                    expected="a labelled image",
                    got="one without labels",
                    do="Evaluate on a labelled split; without labels nothing can be measured.",
                )
            self.truth.append(Truth.of(element))
            if images is not None:
                images[index] = fit_image(element["image"], image_size, fit)
            on_progress(index + 1, total)

    def __len__(self) -> int:
        return len(self.truth)

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        """Yields fitted images `[<= batch_size, S, S, 3]` uint8 in the order of the split."""
        check_positive("batch_size", batch_size)
        for start in range(0, len(self), batch_size):
            stop = min(start + batch_size, len(self))
            if self._images is not None:
                yield self._images[start:stop]
            else:
                with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
                    yield np.stack(list(pool.map(self._fitted, range(start, stop))))

    def _fitted(self, index: int) -> np.ndarray:
        return fit_image(image_of(self._split, index), self.image_size, self.fit)

    def detections(
        self, runner: Runner, on_progress: OnProgress = ignore_progress, batch_size: int = 32
    ) -> list[Detections]:
        """Returns what `runner` finds in each image, as fractions of the original.

        Raises:
          MkdError: if the runner takes images of another size.
        """
        if runner.image_size != self.image_size:
            fail(
                "evaluation",
                expected=f"a model for images of {self.image_size} px",
                got=f"one for {runner.image_size} px",
                do=f"Make the evaluation set with image_size={runner.image_size}.",
            )
        found: list[Detections] = []
        for images in self.batches(batch_size):
            for fitted in runner(images):
                truth = self.truth[len(found)]
                found.append(on_original(fitted, (truth.height, truth.width), self.fit))
            on_progress(len(found), len(self))
        return found

    def evaluate(
        self,
        runner: Runner,
        class_names: Sequence[str],
        on_progress: OnProgress = ignore_progress,
        batch_size: int = 32,
    ) -> Metrics:
        """Measures `runner` and returns what `coco_metrics` and `voc_metrics` return.

        Args:
          class_names: those of the data set, in the order of its labels.
          on_progress: called with how many images are done, and how many there are.

        Raises:
          MkdError: if the model was made for another image size or other classes.
        """
        if tuple(runner.class_names) != tuple(class_names):
            fail(
                "evaluation",
                expected=f"a model of the classes {', '.join(class_names)}, in this order",
                got=", ".join(runner.class_names),
                do="Evaluate a model with the data set that it was trained for. A file exported with "
                "--labels bears these names: its own export measured it.",
            )
        return self.metrics(self.detections(runner, on_progress, batch_size), class_names)

    def metrics(self, found: Sequence[Detections], class_names: Sequence[str]) -> Metrics:
        """Returns the metrics of what `detections` returned."""
        coco = coco_metrics(self.truth, found, class_names)
        return {**coco, **voc_metrics(self.truth, found, class_names)}
