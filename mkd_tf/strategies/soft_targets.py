"""Soft targets: the student imitates the teacher's predictions, anchor by anchor.

With class logits z of student S and source T, t = sigmoid(z_T / tau), and the
source's confidence c = max over classes of sigmoid(z_T):

    classes   1 / max(1, sum c) * sum |sigmoid(z_S / tau) - t|^beta * BCE(z_S / tau, t)
    boxes     1 / max(1, sum c) * sum c * (1 - GIoU(S box, T box))

References: Hinton et al., 2015 (soft targets); Li et al., "Generalized Focal
Loss", NeurIPS 2020 (the factor); Wang et al., CrossKD, CVPR 2024 (dense form);
Zheng et al., LD, CVPR 2022 (boxes are knowledge too). Departures: for beta = 0
the entropy of t, a constant, is subtracted, so that the term is 0 when the
student agrees; beta is 1 by default, since 2 starves the class term and lets
boxes dominate. The two have weights of their own because their balance decides
the result more than anything else.
"""

import keras
from keras import ops

from mkd_tf import boxes as box_math
from mkd_tf import losses
from mkd_tf.checks import check_positive, fail
from mkd_tf.strategies.base import Port, Strategy, match_anchors


def soft_class_loss(student_logits, source_logits, matched, tau: float = 1.0, beta: float = 1.0):
    """Distance of class responses, summed and divided by the source's confidence.

    Args:
      student_logits: `[B, N, C]` before the sigmoid.
      source_logits: `[B, N, C]` at the same anchors.
      matched: `[N]` float, 0 where the source has no such anchor.
      tau: temperature of both.
      beta: exponent of the quality focal factor, 0 for plain cross-entropy.

    Returns:
      `[B]` float32.
    """
    logits = ops.cast(student_logits, "float32") / tau
    source = ops.stop_gradient(ops.cast(source_logits, "float32"))
    soft = ops.sigmoid(source / tau)
    loss = losses.quality_focal(soft, logits, beta)
    if beta == 0:
        loss = loss - losses.binary_cross_entropy(soft, source / tau)
    return ops.sum(ops.sum(loss, axis=-1) * matched, axis=-1) / normalizer(source, matched)


def soft_box_loss(student_boxes, source_boxes, source_logits, matched):
    """Confidence-weighted `1 - GIoU` of boxes `[B, N, 4]` yxyx, both in one unit: `[B]`."""
    source = ops.stop_gradient(ops.cast(source_logits, "float32"))
    distance = losses.giou_loss(ops.stop_gradient(source_boxes), student_boxes)
    return ops.sum(distance * confidence(source) * matched, axis=-1) / normalizer(source, matched)


def confidence(source_logits):
    """The source's largest class probability at each anchor: `[B, N]`."""
    return ops.max(ops.sigmoid(source_logits), axis=-1)


def normalizer(source_logits, matched):
    """How many objects the source sees in each example, at least 1: `[B]`."""
    return ops.maximum(ops.sum(confidence(source_logits) * matched, axis=-1), 1.0)


class _Dense(Strategy):
    """What both strategies share: the source's predictions at the target's anchors."""

    def _connect(self, source: Port, target: Port) -> None:
        if source.num_classes != target.num_classes:
            fail(
                f"strategy {self.name}",
                expected=f"the {target.num_classes} classes of the {self.target}",
                got=f"{source.num_classes} classes in the {self.source}",
                do="Train both on the same classes.",
            )
        self._index, self._matched = match_anchors(source.anchors, target.anchors)
        self._source_anchors = source.anchors.centers_and_sizes() / source.anchors.image_size
        self._target_anchors = target.anchors.centers_and_sizes() / target.anchors.image_size

    def _at_anchors(self, values):
        return ops.take(values, self._index, axis=1)


@keras.saving.register_keras_serializable("mkd_tf")
class SoftClasses(_Dense):
    """The class half of the soft targets; see the module."""

    def __init__(
        self, weight: float = 1.0, tau: float = 1.0, beta: float = 1.0, name="soft_classes", **kwargs
    ):
        super().__init__(weight, name=name, **kwargs)
        check_positive("tau of soft_classes", tau)
        self.tau, self.beta = tau, beta

    def call(self, outputs, targets):
        source = self._at_anchors(outputs[self.source]["class_logits"])
        return soft_class_loss(
            outputs[self.target]["class_logits"], source, self._matched, self.tau, self.beta
        )

    def get_config(self):
        return super().get_config() | {"tau": self.tau, "beta": self.beta}


@keras.saving.register_keras_serializable("mkd_tf")
class SoftBoxes(_Dense):
    """The box half of the soft targets; see the module."""

    def __init__(self, weight: float = 1.0, name="soft_boxes", **kwargs):
        super().__init__(weight, name=name, **kwargs)

    def call(self, outputs, targets):
        source, target = outputs[self.source], outputs[self.target]
        source_boxes = box_math.decode(source["box_encodings"], self._source_anchors)
        return soft_box_loss(
            box_math.decode(target["box_encodings"], self._target_anchors),
            self._at_anchors(source_boxes),
            self._at_anchors(source["class_logits"]),
            self._matched,
        )
