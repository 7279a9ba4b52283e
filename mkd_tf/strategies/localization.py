"""Localisation: the student imitates the source's certainty of every side of a box.

A head with bins predicts each box encoding (ty, tx, th, tw) as a distribution. With its
logits l, the source's confidence c = max over classes of sigmoid(z_T), and means over
the four encodings:

    1 / max(1, sum c) * sum c * tau^2 * mean KL(softmax(l_T / tau) || softmax(l_S / tau))

Reference: Zheng et al., "Localization Distillation for Dense Object Detection", CVPR
2022, Eq. 3-4 and its code (tau 10, tau^2). Departures: the distribution is over box
encodings, not over distances of the edges (see `losses.distribution_focal`). The paper
weights two regions, positives and a "valuable" ring around them; here the source's
confidence weights every anchor, which is known on images without labels too.
"""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mkd_tf.checks import check_positive, fail
from mkd_tf.detection import losses
from mkd_tf.detection.types import ArraysByRole, BinLogits, Logits, Matched, PerExample
from mkd_tf.strategies.base import Port
from mkd_tf.strategies.soft_targets import Dense, confidence, normalizer


def localization_loss(
    student_logits: BinLogits,
    source_logits: BinLogits,
    source_classes: Logits,
    matched: Matched,
    tau: float = 10.0,
) -> PerExample:
    """Returns the confidence-weighted divergence of box distributions, float32.

    Args:
      student_logits, source_logits: before the softmax, at the same anchors.
      source_classes: class logits of the source.
      matched: 0 where the source has no such anchor.
      tau: temperature of both.
    """
    source = ops.stop_gradient(ops.cast(source_logits, "float32")) / tau
    classes = ops.stop_gradient(ops.cast(source_classes, "float32"))
    each = losses.kl_divergence(source, ops.cast(student_logits, "float32") / tau)
    distance = tau**2 * ops.mean(each, axis=-1)
    return ops.sum(distance * confidence(classes) * matched, axis=-1) / normalizer(classes, matched)


@keras.saving.register_keras_serializable("mkd_tf")
class Localization(Dense):
    """Localisation distillation between heads with bins; see the module.

    >>> import numpy as np
    >>> strategy = Localization(weight=0.5, tau=10.0)
    >>> logits = np.random.default_rng(0).normal(size=(1, 21, 4, 8))
    >>> float(localization_loss(logits, logits, np.zeros((1, 21, 3)), np.ones(21))[0])
    0.0

    Args:
      tau: temperature.
    """

    options = ("tau",)
    # Encodings are relative to their anchor: distributions are comparable where anchors coincide.
    least_iou = 0.95

    def __init__(self, weight: float = 1.0, tau: float = 10.0, name: str = "localization", **kwargs: Any):
        super().__init__(weight, name=name, **kwargs)
        check_positive("tau of localization", tau)
        self.tau = tau

    def connect(self, ports: Mapping[str, Port]) -> None:
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
                expected, got = f"anchors of the {role} that coincide with the {self.target}'s", "none"
                do = "Use the same anchor_scale, and input sizes whose ratio is a power of two."
                fail(f"strategy {self.name}", expected=expected, got=got, do=do)

    def call(self, outputs: ArraysByRole, targets: ArraysByRole) -> PerExample:
        source, classes, matched = self._of_source(outputs, lambda found, anchors: found["box_logits"])
        return localization_loss(outputs[self.target]["box_logits"], source, classes, matched, self.tau)


def _bins(name: str, role: str, port: Port) -> int:
    if "box_logits" not in port.shapes:
        expected, got = f"box_logits of the {role}", f"outputs {', '.join(port.shapes)}"
        do = "Build it with a distribution head, as in tiny(bins=8)."
        fail(f"strategy {name}", expected=expected, got=got, do=do)
    return port.shapes["box_logits"][-1]
