"""Files of our own as teachers that only answer: `.keras`, exported TFLite and ONNX, SavedModel.

They say themselves what they take and give. A SavedModel is written by `save_saved_model`:
images `[1, S, S, 3]` in 0..255 become `boxes` `[1, N, 4]` yxyx as fractions and `scores`
`[1, N, C]`, with classes, size and fit in `assets.extra/mkd_tf.json`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mkd_tf.checks import MkdError, check_one_of
from mkd_tf.conversion.model_files import load_runner
from mkd_tf.data.image_files import fit_image
from mkd_tf.detection import boxes as box_math
from mkd_tf.detection.postprocess import Detections, select
from mkd_tf.detectors.base import Detector
from mkd_tf.evaluation.runners import Runner, on_original
from mkd_tf.files import write_json
from mkd_tf.options import FITS
from mkd_tf.teachers.base import OutputsTeacher, TeacherImage
from mkd_tf.teachers.saved_model_session import SavedModelSession

_BATCH = 8
_FACTS = Path("assets.extra", "mkd_tf.json")
_SCHEMA = 1


class RunnerTeacher(OutputsTeacher):
    """A runner of `evaluation.runners` as a teacher.

    Args:
      runner: from images of its size to detections.
      name: of the teacher.
      fit: how images are fitted to it, `stretch` or `letterbox`.
      fingerprint: see `OutputsTeacher.fingerprint`.
    """

    def __init__(self, runner: Runner, name: str, fit: str, fingerprint: str):
        check_one_of("fit", fit, FITS)
        self.name, self.class_names = name, tuple(runner.class_names)
        self.runner, self.fit, self._fingerprint = runner, fit, fingerprint

    def fingerprint(self) -> str:
        return self._fingerprint

    def detect(self, images: Sequence[TeacherImage]) -> list[Detections | None]:
        found: list[Detections | None] = []
        for start in range(0, len(images), _BATCH):
            group = images[start : start + _BATCH]
            fitted = [fit_image(image.pixels(), self.runner.image_size, self.fit) for image in group]
            answers = self.runner(np.stack(fitted))
            pairs = zip(answers, group, strict=True)
            found += [on_original(answer, image.height_width, self.fit) for answer, image in pairs]
        return found


def own_teacher(path: str, fit: str, fingerprint: str) -> RunnerTeacher:
    """Returns the teacher in a `.keras`, `.tflite` or `.onnx` file or a SavedModel that mkd_tf wrote.

    Args:
      path: the file or folder.
      fit: empty for what the file says, or `stretch` where it does not.
      fingerprint: of the file.
    """
    runner: Runner = SavedModelRunner(path) if Path(path).is_dir() else load_runner(path)
    fit = fit or getattr(runner, "fit", "") or FITS[0]
    return RunnerTeacher(runner, Path(path).stem, fit, fingerprint)


def save_saved_model(detector: Detector, folder: str | Path, fit: str = "stretch") -> None:
    """Writes a detector as a SavedModel; see the module.

    Args:
      detector: it is not changed.
      folder: where it goes; made if missing.
      fit: how it was trained to see images, `stretch` or `letterbox`.

    Raises:
      MkdError: for another fit.
    """
    import tensorflow as tf
    from keras import ops

    check_one_of("fit", fit, FITS)
    model: Any = detector.inference()
    side = detector.image_size
    anchors = (detector.anchors.centers_and_sizes() / side).astype("float32")
    module = tf.Module()
    # Keras 3 hides its tf.Variables in wrappers that a tf.Module does not track.
    module.tracked = [v.value for v in model.variables]

    @tf.function(input_signature=[tf.TensorSpec([None, side, side, 3], tf.float32, name="images")])
    def serve(images: Any) -> dict[str, Any]:
        outputs = model(images, training=False)
        boxes = box_math.decode(outputs["box_encodings"], anchors)
        return {"boxes": boxes, "scores": ops.sigmoid(outputs["class_logits"])}

    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    facts = {"schema": _SCHEMA, "class_names": list(detector.class_names), "image_size": side, "fit": fit}
    write_json(Path(folder, _FACTS), facts)


class SavedModelRunner:
    """Runs a SavedModel of `save_saved_model`; see `evaluation.runners.Runner`.

    Args:
      folder: of the model.

    Raises:
      MkdError: if it cannot be read, or what it says of itself is damaged.
    """

    def __init__(self, folder: str):
        path = Path(folder, _FACTS)
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            self.class_names = tuple(str(name) for name in facts["class_names"])
            self.image_size, self.fit = int(facts["image_size"]), str(facts["fit"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            kind = type(error).__name__
            raise MkdError(f"{path}: damaged ({kind}: {error}). Write the model again.") from None
        self._session = SavedModelSession(folder, 0)

    def __call__(self, images: np.ndarray) -> list[Detections]:
        """Returns what is in each of `images` `[B, S, S, 3]`, uint8 or float in 0..255."""
        outputs = self._session.run({"images": images.astype("float32")})
        pairs = zip(outputs["scores"], outputs["boxes"], strict=True)
        return [select(scores, boxes) for scores, boxes in pairs]


def is_own_saved_model(folder: str) -> bool:
    """Returns whether `save_saved_model` wrote a SavedModel."""
    return Path(folder, _FACTS).is_file()
