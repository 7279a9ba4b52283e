"""Cross head: the student's pyramid must make sense to the source's head.

A transition adapter A, a 1x1 convolution for each level, brings the student's pyramid maps
into the source's frozen head h, and what h predicts from them is compared with what the
source predicts itself, at the source's own anchors:

    classes * soft_class_loss(h(A(P_S)), z_T) + boxes * soft_box_loss(h(A(P_S)), b_T)

with the losses of `soft_targets`, whose gradient reaches the student's backbone and pyramid
through a head that already tells objects apart; the student's own head is left to the
labels. The head is a part of the source, run in inference mode: it gets no gradient, its
batch norms do not move, and the strategy has no variables but the adapters.

Reference: Wang et al., "CrossKD: Cross-Head Knowledge Distillation for Object Detection",
CVPR 2024, Eq. 4-7. Departure: the paper hands over maps inside the student's head, of equal
width, to the rest of the teacher's; here pyramid maps pass an adapter, as in FitNets (Romero
et al., ICLR 2015), and the whole head, so that families of other heads can be paired.

Levels are paired by equal grid. A level of the source without a partner keeps the source's
own map, which the head needs as input, and takes no part in the term.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mkd_tf.checks import check_at_least, check_positive, fail
from mkd_tf.detection.types import ArraysByRole, PerExample
from mkd_tf.strategies.base import Port, Strategy
from mkd_tf.strategies.maps import adapter
from mkd_tf.strategies.matching import level_cells, pair_levels
from mkd_tf.strategies.soft_targets import decoded, fractions, soft_box_loss, soft_class_loss


@keras.saving.register_keras_serializable("mkd_tf")
class CrossHead(Strategy):
    """Distillation through the source's frozen head; see the module.

    >>> import mkd_tf
    >>> student = mkd_tf.Tiny(64, ("cat", "cup"), size="fast")
    >>> teacher = mkd_tf.Tiny(64, ("cat", "cup"))
    >>> distiller = mkd_tf.Distiller(student, teacher, strategies=[CrossHead(weight=0.5)])
    >>> [variable.path for variable in distiller.strategies[0].variables][:2]
    ['cross_head_P3/kernel', 'cross_head_P3/bias']

    Args:
      taps: pyramid taps, in the order of the anchors' levels.
      classes: weight of the class half; 0 switches a half off.
      boxes: weight of the box half.
      tau: temperature of the classes.
      beta: exponent of the quality focal factor of the classes.
    """

    options = ("taps", "classes", "boxes", "tau", "beta")

    def __init__(
        self,
        weight: float = 1.0,
        taps: Sequence[str] = ("P3", "P4", "P5"),
        classes: float = 1.0,
        boxes: float = 2.0,
        tau: float = 1.0,
        beta: float = 1.0,
        name: str = "cross_head",
        **kwargs: Any,
    ):
        super().__init__(weight, name=name, **kwargs)
        for half, value in (("classes", classes), ("boxes", boxes)):
            check_at_least(f"{half} of {name}", value, 0)
        check_positive(f"tau of {name}", tau)
        if not (classes or boxes):
            do = "Use weight=0 to switch the strategy off."
            fail(name, expected="classes or boxes above 0", got="0 for both", do=do)
        self.taps, self.classes, self.boxes = tuple(taps), classes, boxes
        self.tau, self.beta = tau, beta

    def _connect(self, source: Port, target: Port) -> None:
        levels = level_cells(self.name, source, self.taps)
        self._pairs = pair_levels(source, target, self.taps)
        if source.head is None:
            fail(
                f"strategy {self.name}",
                expected=f"a {self.source} whose predictions follow from {', '.join(self.taps)} alone",
                got="one without such a head",
                do="Use soft_classes and soft_boxes, or a single network on the detectors' contract.",
            )
        self._head = source.head(self.taps)
        self._anchors = fractions(source.anchors)
        paired = {s for s, _ in self._pairs}
        is_paired = np.array([tap in paired for tap in self.taps], "float32")
        self._matched = np.repeat(is_paired, [count for count, _ in levels])
        self.adapters = {
            t: adapter(source.shape(s)[-1], target.shape(t)[-1], f"{self.name}_{t}", use_bias=True)
            for s, t in self._pairs
        }

    def call(self, outputs: ArraysByRole, targets: ArraysByRole) -> PerExample:
        source, target = outputs[self.source], outputs[self.target]
        maps = {tap: ops.stop_gradient(source[tap]) for tap in self.taps}
        maps |= {s: self.adapters[t](target[t]) for s, t in self._pairs}
        found = self._head([maps[tap] for tap in self.taps])
        logits, terms = source["class_logits"], []
        if self.classes:
            loss = soft_class_loss(found["class_logits"], logits, self._matched, self.tau, self.beta)
            terms.append(self.classes * loss)
        if self.boxes:
            ours, theirs = decoded(found, self._anchors), decoded(source, self._anchors)
            terms.append(self.boxes * soft_box_loss(ours, theirs, logits, self._matched))
        return sum(terms)
