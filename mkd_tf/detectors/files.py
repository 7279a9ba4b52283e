"""Reads and writes detectors in `.keras` files."""

from pathlib import Path
from typing import Any

import keras

from mkd_tf.checks import MkdError, fail
from mkd_tf.detection.precision import LayerPrecision
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.closed import check_file, sign
from mkd_tf.detectors.limits import check_weights
from mkd_tf.files import storing, sync_folder


def save_detector(detector: keras.Model, path: str | Path) -> None:
    """Writes a `.keras` file with its hash beside `path` and renames it; missing folders are made.

    Example:
      >>> import tempfile, mkd_tf
      >>> detector = mkd_tf.Tiny(image_size=64, class_names=("cat", "dog"), size="fast")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     mkd_tf.save_detector(detector, f"{folder}/student.keras")
      ...     mkd_tf.load_detector(f"{folder}/student.keras").class_names
      ('cat', 'dog')
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.part.keras")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with storing(path):
            detector.save(part)
            sign(part)
            part.replace(path)
            sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def load_detector(path: str | Path) -> Detector:
    """Loads a detector's `.keras` file in safe mode, after `closed.check_file`.

    Raises:
      MkdError: if it is missing, damaged, differs from its hash, has weights that are not finite,
        asks for what no file may, or is not a detector.

    Example:
      >>> load_detector("missing.keras")
      Traceback (most recent call last):
      mkd_tf.checks.MkdError: model missing.keras: expected a .keras file, got no such file. Check the path.
    """
    if not Path(path).is_file():
        fail(f"model {path}", expected="a .keras file", got="no such file", do="Check the path.")
    check_file(path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except MkdError as error:
        raise MkdError(f"model {path}: {error}") from None
    except Exception as error:
        if "module keras_hub" in str(error):  # Keras tells which module it could not import.
            do = "Install it with: pip install mkd_tf[hub]"
            fail(f"model {path}", expected="the package keras-hub, whose layers it has", got="none", do=do)
        reason = str(error).strip().splitlines()[0][:120]
        raise MkdError(
            f"model {path}: not a readable .keras file ({reason}). Train or save it again."
        ) from None
    if not isinstance(model, Detector):
        do = "Give a .keras file of this program."
        fail(f"model {path}", expected="a detector", got=type(model).__name__, do=do)
    check_weights(path, model.variables)
    return model


def in_precision(network: Any, precision: str) -> Any:
    """Returns a detector with the same weights whose layers compute in `precision`; itself for float32.

    What is no detector, as answers that come with the batch, stays as it is. A file holds no
    precision: a loaded detector has that of Keras's dtype policy, float32 unless set.
    """
    if precision == "float32" or not isinstance(network, Detector):
        return network
    with LayerPrecision(precision):
        made = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
    made.set_weights(network.get_weights())
    return made


def take_weights(detector: Detector, path: str | Path) -> None:
    """Gives `detector` the weights of a detector file.

    Raises:
      MkdError: if the shapes of the weights differ.
    """
    source = load_detector(path)
    ours, theirs = ([tuple(w.shape) for w in m.weights] for m in (detector, source))
    if ours != theirs:
        expected = f"{len(ours)} weights of the shapes of {detector.name}"
        do = "Use weights of the same detector for the same classes."
        fail(f"weights {path}", expected=expected, got=f"{len(theirs)} weights that differ from them", do=do)
    detector.set_weights(source.get_weights())
