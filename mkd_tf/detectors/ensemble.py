"""A teacher made of several detectors, whose predictions are averaged.

At every anchor, with p_v the class probabilities of member v and c_v its confidence,
the largest of them:

    class_logits     logit of the mean of p_v, so that its sigmoid is the mean
    box_encodings    sum_v c_v e_v / sum_v c_v
    box_logits       log of the same mixture of the members' distributions

A mean of logits would be a geometric mean of probabilities, in which one member that is
sure of background overrules all others. The taps are those of the first member, since
the channels of networks that were trained separately do not correspond.

Reference: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, Sec. 1-2
(the arithmetic or geometric mean of an ensemble's predictions as soft target).
The weights of the boxes are our choice.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import keras
import numpy as np
from keras import ops

from mkd_tf.checks import fail
from mkd_tf.detectors.base import PREDICTIONS, Detector

DISTRIBUTIONS = "box_logits"


def mean_predictions(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Averages the predictions of V views or members of the same anchors.

    Args:
      outputs: `class_logits` `[V, B, N, C]`, `box_encodings` `[V, B, N, 4]` and, where
        there are distributions, `box_logits` `[V, B, N, 4, bins]`.

    Returns:
      The same without the first axis, in float32; finite for any finite values.
    """
    logits = ops.cast(outputs["class_logits"], "float32")
    positive, negative = ops.log_sigmoid(logits), ops.log_sigmoid(-logits)
    # log(c_v / sum c_v), from logarithms: confidences too small for float32 still give weights.
    share = ops.log_softmax(ops.max(positive, axis=-1), axis=0)[..., None]
    encodings = ops.cast(outputs["box_encodings"], "float32")
    found = {
        "class_logits": ops.logsumexp(positive, axis=0) - ops.logsumexp(negative, axis=0),
        "box_encodings": ops.sum(ops.exp(share) * encodings, axis=0),
    }
    if DISTRIBUTIONS in outputs:
        each = ops.log_softmax(ops.cast(outputs[DISTRIBUTIONS], "float32"), axis=-1)
        found[DISTRIBUTIONS] = ops.logsumexp(each + share[..., None], axis=0)
    return found


class Combined(Detector):
    """A detector that combines the predictions of others; a teacher, so always in inference mode.

    Args:
      layer: from images in 0..255 to the dict of outputs.
      like: the detector whose anchors, classes and input size this one takes over.
    """

    scaling = (1.0, 0.0)  # Its layer takes images in 0..255.

    def __init__(self, layer: keras.layers.Layer, like: keras.Model, name: str):
        side = like.image_size
        images = keras.Input((side, side, 3), name="images")
        # Skips the constructor of Detector: there is no single core behind a Rescaling here.
        super(Detector, self).__init__(images, layer(images), name=name)
        self.anchors = like.anchors
        self.class_names = tuple(like.class_names)
        self.image_size = side

    def inference_core(self) -> NoReturn:
        got, do = "a combination of networks or views", "Compress or export one of the networks in it."
        fail(f"core of {self.name}", expected="a single network", got=got, do=do)

    @classmethod
    def from_arguments(cls, arguments: dict[str, Any], custom_objects: Any) -> "Combined":
        # Turns every serialised network in it, alone or in a list, into the network.
        return cls(**keras.saving.deserialize_keras_object(arguments, custom_objects))


@keras.saving.register_keras_serializable("mkd_tf")
class Ensemble(Combined):
    """Several detectors of the same anchors and classes as one; the module has the formulas.

    It costs as much as all of its members together.

    Args:
      members: the detectors; the taps are those of the first.
      name: of the model.

    Raises:
      MkdError: if there is none, or they differ in input, anchors or classes.

    Example:
      >>> import mkd_tf
      >>> members = [mkd_tf.Tiny(64, ("cat", "dog"), size="fast", name=name) for name in "ab"]
      >>> teacher = mkd_tf.Ensemble(members)
      >>> teacher.output["class_logits"].shape
      (None, 84, 2)
    """

    def __init__(self, members: Sequence[keras.Model], name: str = "ensemble"):
        check_members(members)
        super().__init__(_Members(members, name="members"), members[0], name)
        self.members = list(members)

    def arguments(self) -> dict[str, Any]:
        members = [keras.saving.serialize_keras_object(m) for m in self.members]
        return {"members": members, "name": self.name}


class _Members(keras.layers.Layer):
    """Runs every network once and averages their predictions."""

    def __init__(self, networks: Sequence[keras.Model], **kwargs: Any):
        super().__init__(**kwargs)
        self.networks = list(networks)
        shapes = [n.output[DISTRIBUTIONS].shape for n in networks if DISTRIBUTIONS in n.output]
        shared = len(shapes) == len(networks) and len({tuple(s) for s in shapes}) == 1
        self._averaged = (*PREDICTIONS, DISTRIBUTIONS) if shared else PREDICTIONS
        self.built = True

    def call(self, images: Any) -> dict[str, Any]:
        outputs = [network(images, training=False) for network in self.networks]
        stacked = {name: ops.stack([o[name] for o in outputs]) for name in self._averaged}
        taps = {k: v for k, v in outputs[0].items() if k not in (*PREDICTIONS, DISTRIBUTIONS)}
        return mean_predictions(stacked) | taps


def check_members(members: Sequence[keras.Model]) -> None:
    """Raises `MkdError` unless all members have the same input size, classes and anchors."""
    if not members:
        fail("ensemble", expected="one detector or more", got="none", do="Give its members.")
    first = members[0]
    for i, member in enumerate(members[1:], start=2):
        where, do = f"ensemble, member {i} ({member.name})", "Take networks of one input size and data set."
        names, wanted = ", ".join(member.class_names), ", ".join(first.class_names)
        if tuple(member.class_names) != tuple(first.class_names):
            fail(where, expected=f"the classes {wanted}", got=names, do=do)
        if member.image_size != first.image_size:
            fail(where, expected=f"images of {first.image_size} px", got=f"{member.image_size} px", do=do)
        ours, theirs = first.anchors.boxes, member.anchors.boxes
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, atol=1e-3):
            expected, do = f"the {len(ours)} anchors of the first", "Take networks of one anchor grid."
            fail(where, expected=expected, got=f"{len(theirs)} others", do=do)
