"""The objective: task + sum over strategies of weight(step) x term. The one place that adds.

`Distiller` and the compression's trainer call the same object, so a student that
is pruned or quantised goes on learning from its teacher in the same terms.
"""

from collections.abc import Sequence

from keras import ops

from mkd_tf import boxes as box_math
from mkd_tf import losses
from mkd_tf.anchors import Anchors
from mkd_tf.schedules import ramp
from mkd_tf.strategies.base import Strategy


def detection_terms(outputs, targets, anchors: Anchors, beta: float, box_weight: float) -> dict:
    """The task: quality focal loss on classes, GIoU on boxes, both per example.

    Sums over anchors are divided by max(1, summed weight of that example's
    positives). The class target of a positive is the IoU of its predicted box
    (Li et al., NeurIPS 2020) times the weight of the box it answers for.

    Args:
      outputs: of the network that learns: `class_logits`, `box_encodings`.
      targets: its `labels`, `boxes`, `weights` from `targets.assign`, and `known`
        `[B]`, 0 for a picture of which nothing is known: it has no task.
      anchors: its anchors.
      beta: exponent of the quality focal loss.
      box_weight: factor of the box term.

    Returns:
      `class` and `box`, each `[B]` float32.
    """
    logits = ops.cast(outputs["class_logits"], "float32")
    weights = targets["weights"]
    predicted = box_math.decode(ops.cast(outputs["box_encodings"], "float32"), anchors.centers_and_sizes())
    quality = ops.stop_gradient(box_math.iou(predicted, targets["boxes"])) * weights
    # The background's label is C: its one-hot row is all zero.
    hot = ops.one_hot(targets["labels"], logits.shape[-1]) * quality[..., None]
    positives = ops.maximum(ops.sum(weights, axis=-1), 1.0)
    classes = ops.sum(losses.quality_focal(hot, logits, beta), axis=(1, 2)) / positives * targets["known"]
    boxes = ops.sum(losses.giou_loss(targets["boxes"], predicted) * weights, axis=-1) / positives
    return {"class": classes, "box": box_weight * boxes}


class Objective:
    """Adds the student's task and every strategy's term.

    Args:
      anchors: the student's.
      strategies: connected ones, each with a name of its own.
      beta: exponent of the task's quality focal loss.
      box_weight: factor of the task's box term.
    """

    def __init__(
        self, anchors: Anchors, strategies: Sequence[Strategy], beta: float = 1.0, box_weight: float = 2.0
    ):
        self.anchors, self.strategies = anchors, tuple(strategies)
        self.beta, self.box_weight = beta, box_weight

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the terms, in the order in which they are reported."""
        return ("class", "box", *(s.name for s in self.strategies))

    def __call__(self, outputs: dict, targets: dict, progress) -> dict:
        """Returns the weighted terms, `{name: [B] float32}`; the total is their sum.

        Args:
          outputs: by role, each network's dict of outputs.
          targets: by role that learns.
          progress: scalar float 0..1, the fraction of the run that is done.
        """
        terms = detection_terms(
            outputs["student"], targets["student"], self.anchors, self.beta, self.box_weight
        )
        for strategy in self.strategies:
            if strategy.weight:  # A weight of zero costs nothing.
                factor = strategy.weight * ramp(progress, strategy.rise, strategy.fall)
                terms[strategy.name] = factor * strategy(outputs, targets)
        return terms
