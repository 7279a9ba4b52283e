"""Weights that a backbone starts from: ImageNet's, a file of the same backbone, another detector's.

They are copied layer by layer, by name, when a detector is built for training. The
detector's own file holds the result; loading it reads no other file.
"""

import dataclasses
import os
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np

from mkd_tf.addresses import refusal
from mkd_tf.checks import MkdError, fail
from mkd_tf.detection.layers import BATCH_NORM_MOMENTUM
from mkd_tf.detectors.assembly import backbone_of
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.channel_selection import selected
from mkd_tf.detectors.closed import check_file

IMAGENET = "imagenet"
Reader: TypeAlias = Callable[[str, str], Mapping[str, list[np.ndarray]]]
# Waiting longer does not help, and the user gets the error within a minute.
ANSWER_SECONDS = 25.0


@dataclasses.dataclass(frozen=True)
class Original:
    """The model of keras.applications that a backbone is built from.

    Attributes:
      build: its constructor.
      arguments: of the constructor, beside `include_top`, `input_shape` and `weights`.
      url: of its ImageNet weights without the classifier; empty if none are published.
      md5: of that file; empty if none is published.
      rewrite: by layer, the change to its weights because our input is RGB in -1..1.
    """

    build: Callable[..., keras.Model]
    arguments: Mapping[str, Any]
    url: str
    md5: str = ""
    rewrite: Mapping[str, Callable[[list[np.ndarray]], list[np.ndarray]]] = dataclasses.field(
        default_factory=dict
    )

    def maps(self, images: keras.KerasTensor, names: Sequence[str]) -> list[keras.KerasTensor]:
        """Returns the outputs of the layers `names` on `images` `[B, S, S, 3]`."""
        # Called on our input, its layers join our graph: a nested model could not be quantised.
        form = {"include_top": False, "weights": None, **self.arguments}
        model = self.build(input_shape=images.shape[1:], input_tensor=images, **form)
        for layer in model.layers:
            # With 0.99 or 0.999 a short run would end before statistics settle.
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = BATCH_NORM_MOMENTUM
        return [model.get_layer(name).output for name in names]


def load_backbone(
    detector: Detector, weights: str, original: Original | None, published: Reader | None = None
) -> None:
    """Gives the backbone of `detector`, up to its tap C5, trained weights.

    Args:
      detector: just built.
      weights: `imagenet`; a `.h5`, `.weights.h5` or `.keras` file of the same model of
        keras.applications, with or without its classifier; the `.keras` file of a
        detector on the same backbone; with `published`, a `.pth` file.
      original: the model of keras.applications; None for a backbone of our own, of
        which only detectors' files exist.
      published: reads weights that were published for a backbone of our own, by layer,
        from a path, or from an installed package where the path is empty. A narrower
        backbone then takes evenly spaced channels, of any file.

    Raises:
      MkdError: if the weights do not exist, cannot be downloaded or read, or do not fit.
    """
    where = f"backbone_weights of {detector.name}"
    if published and (weights == IMAGENET or weights.endswith(".pth")):
        found = published("" if weights == IMAGENET else weights, where)
        give(detector, found, f"{where}: {weights}", selects=True)
        return
    if weights == IMAGENET:
        if original is None or not original.url:
            got = f"{IMAGENET}, which was not published for this form"
            forms = "efficientnet_lite, resnet(depth=50) or mobilenet_v2"
            do = f"Choose {forms} with alpha 0.35, 0.5, 0.75, 1.0, 1.3 or 1.4."
            fail(where, expected="the path of a file", got=got, do=do)
        weights = fetch(original.url, original.md5, where)
    if not Path(weights).is_file():
        fail(where, expected=f"{IMAGENET} or a file", got=f"{weights}, which does not exist", do="Check it.")
    source, is_ours = _read(weights, original, where)
    arrays = {layer.name: layer.get_weights() for layer in source.layers}
    if original and not is_ours:
        arrays |= {name: change(arrays[name]) for name, change in original.rewrite.items() if name in arrays}
    give(detector, arrays, f"{where}: {weights}", selects=published is not None)


def give(
    detector: Detector, arrays: Mapping[str, list[np.ndarray]], where: str, *, selects: bool = False
) -> None:
    """Sets the weights of the backbone's layers; with `selects` some of the channels of wider ones.

    Raises:
      MkdError: if a layer is missing among `arrays`, or is of another form.
    """
    chosen = {}
    for layer in backbone_of(detector.core).layers:
        if not layer.weights:
            continue
        found, ours = arrays.get(layer.name, []), [tuple(w.shape) for w in layer.weights]
        if selects and _is_narrower(ours, [w.shape for w in found]):
            found = [selected(w, shape) for w, shape in zip(found, ours, strict=True)]
        shapes = [w.shape for w in found]
        if ours != shapes:
            got = f"{shapes}" if found else "no layer of that name"
            expected = f"weights {ours} of layer {layer.name}"
            do = "Use weights of the same backbone, of the same depth and width."
            fail(where, expected=expected, got=got, do=do)
        chosen[layer] = found
    for layer, values in chosen.items():
        layer.set_weights(values)


def _is_narrower(ours: list[tuple[int, ...]], theirs: list[tuple[int, ...]]) -> bool:
    """Whether weights differ in their channels alone, and there are enough: the last two axes of a kernel."""
    return len(ours) == len(theirs) and all(
        len(a) == len(b)
        and a[:-2] == b[:-2]
        and all(small <= large for small, large in zip(a, b, strict=True))
        for a, b in zip(ours, theirs, strict=True)
    )


def _read(weights: str, original: Original | None, where: str) -> tuple[keras.Model, bool]:
    """Returns a model that holds the file's weights, and whether it is the core of a detector."""
    try:
        if weights.endswith(".keras"):
            check_file(weights)
            model = keras.saving.load_model(weights, compile=False, safe_mode=True)
            return (model.core, True) if isinstance(model, Detector) else (model, False)
        if original is not None:
            return _filled(original, weights), False
    except (OSError, ValueError, TypeError, KeyError, UserWarning) as error:
        reason = str(error).strip().splitlines()[0][:120]
        raise MkdError(
            f"{where}: expected weights of this backbone in {weights}, got a file that cannot be read so "
            f"({reason}). Use a file of the same backbone; a download that broke off: delete it."
        ) from None
    do = "Only the backbones of keras.applications have other files."
    fail(where, expected="the .keras file of a detector on the same backbone", got=weights, do=do)


def _filled(original: Original, weights: str) -> keras.Model:
    """Returns the original with the weights of a file, which may include the classifier."""
    arguments = {"weights": None, **original.arguments}
    with warnings.catch_warnings():
        # Keras only warns of layers that are missing in the file, and leaves them random.
        warnings.filterwarnings("error", message="Skipping nested container")
        try:
            model = original.build(include_top=False, input_shape=(224, 224, 3), **arguments)
            model.load_weights(weights)
        except (ValueError, UserWarning):
            model = original.build(include_top=True, **arguments)
            model.load_weights(weights)
    return model


def fetch(url: str, md5: str, where: str) -> str:
    """Returns the path of a file from Keras's cache, downloading it first where it is missing.

    Raises:
      MkdError: if the server does not answer, the download stalls, or the file is not the expected one.
    """
    name = url.rsplit("/", 1)[-1]
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    before = socket.getdefaulttimeout()
    try:
        is_cached = os.path.isfile(os.path.join(home, "models", name))
        if not is_cached and (reason := refusal([url], ANSWER_SECONDS)):
            raise OSError(reason.replace(f" from {url}", ""))
        # A stalled transfer must end too.
        socket.setdefaulttimeout(ANSWER_SECONDS)
        hash_of = {"file_hash": md5, "hash_algorithm": "md5"} if md5 else {}
        return keras.utils.get_file(name, url, cache_subdir="models", cache_dir=home, **hash_of)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise MkdError(
            f"{where}: expected to download {url}, got: {reason}. Download it elsewhere and give "
            f"its path as backbone_weights, or put it into {os.path.join(home, 'models')}."
        ) from None
    finally:
        socket.setdefaulttimeout(before)
