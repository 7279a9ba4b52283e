"""Localisation: the student imitates how sure the source is of every side of a box.

A head with bins says each box encoding (ty, tx, th, tw) as a distribution. With its
logits l, the source's confidence c = max over classes of sigmoid(z_T), and means over
the four encodings:

    1 / max(1, sum c) * sum c * tau^2 * mean KL(softmax(l_T / tau) || softmax(l_S / tau))

Reference: Zheng et al., "Localization Distillation for Dense Object Detection", CVPR
2022, Eq. 3-4 and its code (tau 10, tau^2). Departures: the distribution is over box
encodings, not over distances of the edges (see `losses.distribution_focal`); the
regions, positives and a "valuable" ring around them with a weight each, are the
source's confidence, which is known on images without labels too.
"""

import keras
from keras import ops

from mkd_tf.checks import check_positive, fail
from mkd_tf.detection import losses
from mkd_tf.strategies.soft_targets import Dense, confidence, normalizer


def localization_loss(student_logits, source_logits, source_classes, matched, tau: float = 10.0):
    """Confidence-weighted divergence of box distributions.

    Args:
      student_logits: `[B, N, 4, bins]` before the softmax.
      source_logits: `[B, N, 4, bins]` at the same anchors.
      source_classes: `[B, N, C]` class logits of the source.
      matched: `[N]` or `[B, N]` float, 0 where the source has no such anchor.
      tau: temperature of both.

    Returns:
      `[B]` float32.
    """
    source = ops.stop_gradient(ops.cast(source_logits, "float32")) / tau
    classes = ops.stop_gradient(ops.cast(source_classes, "float32"))
    each = losses.kl_divergence(source, ops.cast(student_logits, "float32") / tau)
    distance = tau**2 * ops.mean(each, axis=-1)
    return ops.sum(distance * confidence(classes) * matched, axis=-1) / normalizer(classes, matched)


@keras.saving.register_keras_serializable("mkd_tf")
class Localization(Dense):
    """Localisation distillation between heads with bins; see the module.

    Args:
      tau: temperature.
    """

    # An encoding is measured from its anchor: distributions compare where anchors coincide.
    least_iou = 0.95

    def __init__(self, weight: float = 1.0, tau: float = 10.0, name="localization", **kwargs):
        super().__init__(weight, name=name, **kwargs)
        check_positive("tau of localization", tau)
        self.tau = tau

    def connect(self, ports):
        super().connect(ports)
        bins = {role: _bins(self.name, role, ports[role]) for role in (*self.roles, self.target)}
        if len(set(bins.values())) > 1:
            fail(
                f"strategy {self.name}",
                expected=f"the {bins[self.target]} bins of the {self.target}",
                got=", ".join(f"{bins[role]} in the {role}" for role in self.roles),
                do="Build all of them with the same bins=.",
            )
        for role, (_, _, matched) in zip(self.roles, self._matches, strict=True):
            if not matched.any():
                fail(
                    f"strategy {self.name}",
                    expected=f"anchors of the {role} that coincide with the {self.target}'s",
                    got="none",
                    do="Use the same anchor_scale, and input sizes whose ratio is a power of two.",
                )

    def call(self, outputs, targets):
        source, classes, matched = self._known(outputs, lambda found, anchors: found["box_logits"])
        return localization_loss(outputs[self.target]["box_logits"], source, classes, matched, self.tau)

    def get_config(self):
        return super().get_config() | {"tau": self.tau}


def _bins(name: str, role: str, port) -> int:
    if "box_logits" not in port.shapes:
        fail(
            f"strategy {name}",
            expected=f"box_logits of the {role}",
            got=f"outputs {', '.join(port.shapes)}",
            do="Build it with a distribution head, as in tiny(bins=8).",
        )
    return port.shapes["box_logits"][-1]
