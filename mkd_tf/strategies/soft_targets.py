"""Soft targets: the student imitates the teacher's predictions, anchor by anchor.

With class logits z of student S and source T, t = sigmoid(z_T / tau), and the
source's confidence c = max over classes of sigmoid(z_T):

    sigmoid   1 / max(1, sum c) * sum m |sigmoid(z_S / tau) - t|^beta * BCE(z_S / tau, t)
    softmax   1 / max(1, sum c) * sum m tau^2 * KL(softmax([z_T, 0] / tau) || softmax([z_S, 0] / tau))
    boxes     1 / max(1, sum c) * sum c * (1 - GIoU(S box, T box))

with m = 1, or m = c under the foreground mask.

References: Hinton et al., 2015 (soft targets, tau^2); Li et al., "Generalized Focal
Loss", NeurIPS 2020 (the factor); Wang et al., CrossKD, CVPR 2024 (dense form);
Zheng et al., LD, CVPR 2022 (boxes are knowledge too); Du et al., "Distilling Object
Detectors with Feature Richness", NeurIPS 2021 (c as the mask). Departures: for
beta = 0 the entropy of t, a constant, is subtracted, so that the term is 0 when the
student agrees; beta is 1 by default, since 2 starves the class term and lets
boxes dominate. A detector's class logits have no background, which the softmax form
needs (and without which one class would always have probability 1): its logit is 0.
For a head with a softmax that only fixes the constant which a softmax leaves free;
for one class it makes the form tau^2 times the sigmoid form of beta 0. The two
strategies have weights of their own because their balance decides the result more
than anything else.
"""

import keras
from keras import ops

from mkd_tf.checks import check_one_of, check_positive, fail
from mkd_tf.detection import boxes as box_math
from mkd_tf.detection import losses
from mkd_tf.strategies.base import SOURCES, Strategy, match_anchors
from mkd_tf.strategies.foreground import MASKS

FORMS = ("sigmoid", "softmax")


def soft_class_loss(
    student_logits,
    source_logits,
    matched,
    tau: float = 1.0,
    beta: float = 1.0,
    form: str = "sigmoid",
    mask: str = "none",
):
    """Distance of class responses, summed and divided by the source's confidence.

    Args:
      student_logits: `[B, N, C]` before the sigmoid.
      source_logits: `[B, N, C]` at the same anchors.
      matched: `[N]` or `[B, N]` float, 0 where the source has no such anchor.
      tau: temperature of both.
      beta: exponent of the quality focal factor, 0 for plain cross-entropy; sigmoid only.
      form: `sigmoid` or `softmax`.
      mask: `none`, or `foreground` to weigh anchors by the source's confidence.

    Returns:
      `[B]` float32.
    """
    logits = ops.cast(student_logits, "float32") / tau
    source = ops.stop_gradient(ops.cast(source_logits, "float32"))
    if form == "softmax":
        loss = tau**2 * losses.kl_divergence(_with_background(source / tau), _with_background(logits))
    else:
        soft = ops.sigmoid(source / tau)
        each = losses.quality_focal(soft, logits, beta)
        if beta == 0:
            each = each - losses.binary_cross_entropy(soft, source / tau)
        loss = ops.sum(each, axis=-1)
    weights = matched if mask == "none" else matched * confidence(source)
    return ops.sum(loss * weights, axis=-1) / normalizer(source, matched)


def soft_box_loss(student_boxes, source_boxes, source_logits, matched):
    """Confidence-weighted `1 - GIoU` of boxes `[B, N, 4]` yxyx, both in one unit: `[B]`."""
    source = ops.stop_gradient(ops.cast(source_logits, "float32"))
    distance = losses.giou_loss(ops.stop_gradient(source_boxes), student_boxes)
    return ops.sum(distance * confidence(source) * matched, axis=-1) / normalizer(source, matched)


def _with_background(logits):
    """`[B, N, C]` to `[B, N, C + 1]`: the background's logit is 0."""
    return ops.pad(logits, ((0, 0), (0, 0), (0, 1)))


def confidence(source_logits):
    """The source's largest class probability at each anchor: `[B, N]`."""
    return ops.max(ops.sigmoid(source_logits), axis=-1)


def normalizer(source_logits, matched):
    """How many objects the source sees in each example, at least 1: `[B]`."""
    return ops.maximum(ops.sum(confidence(source_logits) * matched, axis=-1), 1.0)


def more_confident(first, second):
    """Chooses per anchor the source of higher confidence, the first where they are equal.

    Args:
      first, second: values `[B, N, ...]`, class logits `[B, N, C]` and where they are
        matched, `[N]`, of two sources at the same anchors.

    Returns:
      The same three of the chosen; matched is `[B, N]`.
    """
    (_, first_logits, first_matched), (_, second_logits, second_matched) = first, second
    better = confidence(second_logits) * second_matched > confidence(first_logits) * first_matched

    def choose(a, b):
        return ops.where(ops.expand_dims(better, tuple(range(2, len(a.shape)))), b, a)

    values, logits = (choose(a, b) for a, b in zip(first[:2], second[:2], strict=True))
    return values, logits, ops.where(better, second_matched, first_matched)


class Dense(Strategy):
    """What strategies on predictions share: the source's, or the better source's, at the target's anchors."""

    sources = SOURCES
    least_iou = 0.5  # Of anchors that are matched.

    def connect(self, ports):
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

    def _known(self, outputs, read):
        """The source's knowledge at the target's anchors.

        Args:
          outputs: by role.
          read: takes one network's outputs and its anchors to values `[B, N, ...]`.

        Returns:
          The values, the source's class logits, and where it has such an anchor.
        """
        found = []
        for role, (anchors, index, matched) in zip(self.roles, self._matches, strict=True):
            seen = read(outputs[role], anchors), outputs[role]["class_logits"]
            found.append((*(ops.take(x, index, axis=1) for x in seen), matched))
        return found[0] if len(found) == 1 else more_confident(*found)


def fractions(anchors):
    """Centres and sizes as fractions of the image: `[N, 4]`."""
    return anchors.centers_and_sizes() / anchors.image_size


@keras.saving.register_keras_serializable("mkd_tf")
class SoftClasses(Dense):
    """The class half of the soft targets; see the module.

    Args:
      tau: temperature. Above 1 it lifts the background of a detector (a probability of
        0.01 becomes 0.24 at tau 4): set mask="foreground" with it.
      beta: exponent of the quality focal factor; of the sigmoid form only.
      form: `sigmoid`, or `softmax` for heads whose classes compete.
      mask: `none` or `foreground`.
    """

    def __init__(
        self,
        weight: float = 1.0,
        tau: float = 1.0,
        beta: float = 1.0,
        form: str = "sigmoid",
        mask: str = "none",
        name="soft_classes",
        **kwargs,
    ):
        super().__init__(weight, name=name, **kwargs)
        check_positive("tau of soft_classes", tau)
        check_one_of("form of soft_classes", form, FORMS)
        check_one_of("mask of soft_classes", mask, MASKS)
        self.tau, self.beta, self.form, self.mask = tau, beta, form, mask

    def call(self, outputs, targets):
        source, _, matched = self._known(outputs, lambda found, anchors: found["class_logits"])
        logits = outputs[self.target]["class_logits"]
        return soft_class_loss(logits, source, matched, self.tau, self.beta, self.form, self.mask)

    def get_config(self):
        own = {"tau": self.tau, "beta": self.beta, "form": self.form, "mask": self.mask}
        return super().get_config() | own


@keras.saving.register_keras_serializable("mkd_tf")
class SoftBoxes(Dense):
    """The box half of the soft targets; see the module."""

    def __init__(self, weight: float = 1.0, name="soft_boxes", **kwargs):
        super().__init__(weight, name=name, **kwargs)

    def call(self, outputs, targets):
        def decoded(found, anchors):
            return box_math.decode(found["box_encodings"], anchors)

        source, logits, matched = self._known(outputs, decoded)
        return soft_box_loss(decoded(outputs[self.target], self._target_anchors), source, logits, matched)
