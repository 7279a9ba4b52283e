"""A teacher that is several detectors: their answers are averaged.

At every anchor, with p_v the class probabilities of member v and c_v its confidence,
the largest of them:

    class_logits     logit of the mean of p_v, so that its sigmoid is the mean
    box_encodings    sum_v c_v e_v / sum_v c_v
    box_logits       log of the same mixture of the members' distributions

A mean of logits would be a geometric mean: one member that is sure of background
overrules all others. The taps are the first member's, since channels of networks
that trained apart do not correspond.

Reference: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, Sec. 1-2
(the arithmetic or geometric mean of an ensemble's predictions as soft target).
The weights of the boxes are ours.
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
    # log(c_v / sum c_v); from logarithms, for confidences too small for float32 are weights too.
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
    """A detector whose answers come from others; for teachers, so always in inference mode.

    Args:
      layer: from images in 0..255 to the dict of outputs.
      like: the detector whose anchors, classes and input size it has.
      name: of the model.
    """

    scaling = (1.0, 0.0)  # Its layer takes images as they are.

    def __init__(self, layer: keras.layers.Layer, like: keras.Model, name: str):
        side = like.image_size
        images = keras.Input((side, side, 3), name="images")
        # Past the constructor of Detector: there is no one core behind one Rescaling here.
        super(Detector, self).__init__(images, layer(images), name=name)
        self.anchors = like.anchors
        self.class_names = tuple(like.class_names)
        self.image_size = side

    def inference_core(self) -> NoReturn:
        fail(
            f"core of {self.name}",
            expected="a single network",
            got="a combination of networks or views",
            do="Compress or export the network that it is made of.",
        )

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects=None) -> "Combined":
        return cls(**load_networks(config, custom_objects))


def load_networks(config: dict[str, Any], custom_objects: Any) -> dict[str, Any]:
    """Returns `config` with the networks in it, one or a list of them, made again."""

    def made(value: Any) -> Any:
        if isinstance(value, dict):
            return keras.saving.deserialize_keras_object(value, custom_objects)
        return [made(v) for v in value] if isinstance(value, list) else value

    return {name: made(value) for name, value in config.items()}


@keras.saving.register_keras_serializable("mkd_tf")
class Ensemble(Combined):
    """Several detectors of the same anchors and classes as one; see the module.

    It costs as much as all of them.

    Args:
      members: the detectors; the taps are those of the first.
      name: of the model.

    Raises:
      MkdError: if there is none, or they differ in input, anchors or classes.
    """

    def __init__(self, members: Sequence[keras.Model], name: str = "ensemble"):
        check_members(members)
        super().__init__(_Members(members, name="members"), members[0], name)
        self.members = list(members)

    def get_config(self) -> dict[str, Any]:
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

    def call(self, images):
        outputs = [network(images, training=False) for network in self.networks]
        stacked = {name: ops.stack([o[name] for o in outputs]) for name in self._averaged}
        taps = {k: v for k, v in outputs[0].items() if k not in (*PREDICTIONS, DISTRIBUTIONS)}
        return mean_predictions(stacked) | taps


def check_members(members: Sequence[keras.Model]) -> None:
    """Raises `MkdError` unless all members answer the same question."""
    if not members:
        fail("ensemble", expected="one detector or more", got="none", do="Give its members.")
    first = members[0]
    for i, member in enumerate(members[1:], start=2):
        where, do = f"ensemble, member {i} ({member.name})", "Take networks of one input size and data set."
        if tuple(member.class_names) != tuple(first.class_names):
            fail(
                where,
                expected=f"the classes {', '.join(first.class_names)}",
                got=", ".join(member.class_names),
                do=do,
            )
        if member.image_size != first.image_size:
            fail(where, expected=f"images of {first.image_size} px", got=f"{member.image_size} px", do=do)
        ours, theirs = first.anchors.boxes, member.anchors.boxes
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, atol=1e-3):
            fail(
                where,
                expected=f"the {len(ours)} anchors of the first",
                got=f"{len(theirs)} others",
                do="Take networks of one anchor grid.",
            )
