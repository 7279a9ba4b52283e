"""Soft targets: the student imitates the teacher's predictions, anchor by anchor.

With class logits z of student S and source T, t = sigmoid(z_T / tau), and the
source's confidence c = max over classes of sigmoid(z_T):

    sigmoid   1 / max(1, sum c) * sum m |sigmoid(z_S / tau) - t|^beta * BCE(z_S / tau, t)
    softmax   1 / max(1, sum c) * sum m tau^2 * KL(softmax([z_T, 0] / tau) || softmax([z_S, 0] / tau))
    boxes     1 / max(1, sum c) * sum c * (1 - GIoU(S box, T box))

with m = 1, or m = c under the foreground mask. With `soft_target="score_iou"` t is multiplied by
the IoU of S's and T's box, which gets no gradient: a score then asks for no more than the
student's box deserves, as in the task (Li et al.). Class and box form have weights of their
own, because their balance affects the result more than anything else.

References: Hinton et al., 2015 (soft targets, tau^2); Li et al., "Generalized Focal
Loss", NeurIPS 2020 (the factor); Wang et al., CrossKD, CVPR 2024 (dense form);
Zheng et al., LD, CVPR 2022 (boxes); Du et al., "Distilling Object
Detectors with Feature Richness", NeurIPS 2021 (c as the mask). Departures: for
beta = 0 the entropy of t, a constant, is subtracted, so that the term is 0 when the
student agrees; beta is 1 by default, since 2 starves the class term and lets
boxes dominate. A detector's class logits have no background, which the softmax form
needs (and without which one class would always have probability 1): its logit is 0.
For a head with a softmax that only fixes the constant which a softmax leaves free;
for one class it makes the form tau^2 times the sigmoid form of beta 0.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

from mkd_tf.checks import check_one_of, check_positive, fail
from mkd_tf.detection import boxes as box_math
from mkd_tf.detection import losses
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.types import (
    Array,
    Arrays,
    ArraysByRole,
    Boxes,
    Float,
    Logits,
    Matched,
    PerAnchor,
    PerExample,
)
from mkd_tf.strategies.base import SOURCES, Port, Strategy
from mkd_tf.strategies.foreground import MASKS
from mkd_tf.strategies.matching import match_anchors

FORMS = ("sigmoid", "softmax")
TARGETS = ("score", "score_iou")
SourcePredictions: TypeAlias = tuple[Float[Array, "batch anchors ..."], Logits, Matched]
"""At the target's anchors: compared values, class logits, and 1 where the source has such an anchor."""


def soft_class_loss(
    student_logits: Logits,
    source_logits: Logits,
    matched: Matched,
    tau: float = 1.0,
    beta: float = 1.0,
    form: str = "sigmoid",
    mask: str = "none",
    overlap: PerAnchor | None = None,
) -> PerExample:
    """Returns the distance of class responses, summed and divided by the source's confidence, float32.

    Args:
      student_logits, source_logits: before the sigmoid, at the same anchors.
      matched: 0 where the source has no such anchor.
      tau: temperature of both.
      beta: exponent of the quality focal factor, 0 for plain cross-entropy; sigmoid only.
      form: `sigmoid` or `softmax`.
      mask: `none`, or `foreground` to weight anchors by the source's confidence.
      overlap: IoU by which the source's probabilities are multiplied, or None; sigmoid only.
    """
    logits = ops.cast(student_logits, "float32") / tau
    source = ops.stop_gradient(ops.cast(source_logits, "float32"))
    if form == "softmax":
        loss = tau**2 * losses.kl_divergence(_with_background(source / tau), _with_background(logits))
    else:
        soft = ops.sigmoid(source / tau)
        if overlap is not None:
            soft = soft * ops.stop_gradient(overlap)[..., None]
        each = losses.quality_focal(soft, logits, beta)
        if beta == 0:
            own = source / tau if overlap is None else _logit(soft)
            each = each - losses.binary_cross_entropy(soft, own)
        loss = ops.sum(each, axis=-1)
    weights = matched if mask == "none" else matched * confidence(source)
    return ops.sum(loss * weights, axis=-1) / normalizer(source, matched)


def soft_box_loss(
    student_boxes: Boxes, source_boxes: Boxes, source_logits: Logits, matched: Matched
) -> PerExample:
    """Returns the confidence-weighted `1 - GIoU` of boxes yxyx in one unit (see `soft_class_loss`)."""
    source = ops.stop_gradient(ops.cast(source_logits, "float32"))
    distance = losses.giou_loss(ops.stop_gradient(source_boxes), student_boxes)
    return ops.sum(distance * confidence(source) * matched, axis=-1) / normalizer(source, matched)


def _with_background(logits: Logits) -> Float[Array, "batch anchors classes+1"]:
    """Returns logits with a background, whose logit is 0."""
    return ops.pad(logits, ((0, 0), (0, 0), (0, 1)))


def _logit(probability: Array) -> Array:
    """Returns the logit of a probability, finite at 0 and 1."""
    inside = ops.clip(probability, 1e-20, 1.0 - 1e-7)
    return ops.log(inside) - ops.log1p(-inside)


def confidence(source_logits: Logits) -> PerAnchor:
    """Returns the largest class probability at each anchor."""
    return ops.max(ops.sigmoid(source_logits), axis=-1)


def normalizer(source_logits: Logits, matched: Matched) -> PerExample:
    """Returns the source's summed confidence in each example, at least 1."""
    return ops.maximum(ops.sum(confidence(source_logits) * matched, axis=-1), 1.0)


def more_confident(first: SourcePredictions, second: SourcePredictions) -> SourcePredictions:
    """Returns per anchor the predictions of the more confident source, the first where they are equal."""
    (_, first_logits, first_matched), (_, second_logits, second_matched) = first, second
    better = confidence(second_logits) * second_matched > confidence(first_logits) * first_matched

    def choose(a: Array, b: Array) -> Array:
        return ops.where(ops.expand_dims(better, tuple(range(2, len(a.shape)))), b, a)

    values, logits = (choose(a, b) for a, b in zip(first[:2], second[:2], strict=True))
    return values, logits, ops.where(better, second_matched, first_matched)


class Dense(Strategy):
    """Base of strategies that compare predictions, at the target's anchors, with one source or the best."""

    sources = SOURCES
    least_iou = 0.5  # Of two anchors that match.

    def connect(self, ports: Mapping[str, Port]) -> None:
        super().connect(ports)
        target = ports[self.target]
        self._matches = []
        for role in self.roles:
            source = ports[role]
            if source.num_classes != target.num_classes:
                fail(
                    f"strategy {self.name}",
                    expected=f"the {target.num_classes} classes of the {self.target}",
                    got=f"{source.num_classes} classes in the {role}",
                    do="Train both on the same classes.",
                )
            index, matched = match_anchors(source.anchors, target.anchors, self.least_iou)
            self._matches.append((fractions(source.anchors), index, matched))
        self._target_anchors = fractions(target.anchors)

    def _of_source(
        self, outputs: ArraysByRole, read: Callable[[Arrays, np.ndarray], Array]
    ) -> SourcePredictions:
        """Returns the source's predictions at the target's anchors.

        `read` returns the compared values `[B, N, ...]` of one network's outputs and its anchors.
        """
        found = []
        for role, (anchors, index, matched) in zip(self.roles, self._matches, strict=True):
            own = read(outputs[role], anchors), outputs[role]["class_logits"]
            values, logits = (ops.take(x, index, axis=1) for x in own)
            if "matched" in outputs[role]:  # A list of detections says nothing of other anchors.
                matched = matched * ops.take(outputs[role]["matched"], index, axis=1)
            found.append((values, logits, matched))
        return found[0] if len(found) == 1 else more_confident(*found)

    def _boxes(self, outputs: ArraysByRole) -> tuple[Boxes, SourcePredictions]:
        """Returns the target's boxes and the source's predictions, decoded, as fractions of the image."""
        ours = decoded(outputs[self.target], self._target_anchors)
        return ours, self._of_source(outputs, decoded)


def decoded(found: Arrays, anchors: Float[np.ndarray, "anchors 4"]) -> Boxes:
    """Returns a network's boxes yxyx in float32, in the unit of its anchors (centres and sizes)."""
    return box_math.decode(ops.cast(found["box_encodings"], "float32"), anchors)


def fractions(anchors: Anchors) -> Float[np.ndarray, "anchors 4"]:
    """Returns centres and sizes of anchors as fractions of the image."""
    return anchors.centers_and_sizes() / anchors.image_size


@keras.saving.register_keras_serializable("mkd_tf")
class SoftClasses(Dense):
    """The class half of the soft targets; see the module.

    >>> import numpy as np
    >>> strategy = SoftClasses(weight=1.0, tau=2.0, source="best", mask="foreground")
    >>> source, student = np.full((1, 21, 3), 2.0), np.zeros((1, 21, 3))
    >>> float(soft_class_loss(source, source, np.ones(21), beta=0.0)[0])
    0.0
    >>> float(soft_class_loss(student, source, np.ones(21), beta=0.0)[0]) > 0
    True

    Args:
      tau: temperature. Above 1 it raises the background of a detector (a probability of
        0.01 becomes 0.24 at tau 4): set mask="foreground" with it.
      beta: exponent of the quality focal factor; of the sigmoid form only.
      form: `sigmoid`, or `softmax` for heads whose classes compete.
      mask: `none` or `foreground`.
      soft_target: `score`, or `score_iou` for the score times the boxes' IoU; sigmoid only.
    """

    options = ("tau", "beta", "form", "mask", "soft_target")
    from_detections = True

    def __init__(
        self,
        weight: float = 1.0,
        tau: float = 1.0,
        beta: float = 1.0,
        form: str = "sigmoid",
        mask: str = "none",
        soft_target: str = "score",
        name: str = "soft_classes",
        **kwargs: Any,
    ):
        super().__init__(weight, name=name, **kwargs)
        check_positive("tau of soft_classes", tau)
        check_one_of("form of soft_classes", form, FORMS)
        check_one_of("mask of soft_classes", mask, MASKS)
        check_one_of("soft_target of soft_classes", soft_target, TARGETS)
        if soft_target == "score_iou" and form == "softmax":
            expected, do = "score with form='softmax'", "Leave one of them out."
            fail("soft_target of soft_classes", expected=expected, got=repr(soft_target), do=do)
        self.tau, self.beta, self.form, self.mask = tau, beta, form, mask
        self.soft_target = soft_target

    def call(self, outputs: ArraysByRole, targets: ArraysByRole) -> PerExample:
        overlap = None
        if self.soft_target == "score_iou":
            ours, (theirs, source, matched) = self._boxes(outputs)
            overlap = box_math.iou(ours, theirs)
        else:
            source, _, matched = self._of_source(outputs, lambda found, anchors: found["class_logits"])
        logits = outputs[self.target]["class_logits"]
        return soft_class_loss(logits, source, matched, self.tau, self.beta, self.form, self.mask, overlap)


@keras.saving.register_keras_serializable("mkd_tf")
class SoftBoxes(Dense):
    """The box half of the soft targets; see the module.

    >>> import numpy as np
    >>> strategy = SoftBoxes(weight=2.0, rise=0.1)
    >>> box, half = np.float32([[[0, 0, 1, 1]]]), np.float32([[[0, 0, 1, 0.5]]])
    >>> sure = np.full((1, 1, 3), 20.0, "float32")
    >>> round(float(soft_box_loss(half, box, sure, np.ones(1, "float32"))[0]), 3)  # 1 - GIoU
    0.5
    """

    from_detections = True

    def __init__(self, weight: float = 1.0, name: str = "soft_boxes", **kwargs: Any):
        super().__init__(weight, name=name, **kwargs)

    def call(self, outputs: ArraysByRole, targets: ArraysByRole) -> PerExample:
        ours, (theirs, logits, matched) = self._boxes(outputs)
        return soft_box_loss(ours, theirs, logits, matched)
