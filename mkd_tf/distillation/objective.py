"""The objective: task + sum over strategies of weight(step) x term. The one place that adds.

`Distiller` and the compression's trainer call the same object, so a student that
is pruned or quantised goes on learning from its teacher in the same terms.
"""

from collections.abc import Mapping, Sequence

from keras import ops

from mkd_tf.detection import boxes as box_math
from mkd_tf.detection import losses
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.targets import without_ignored
from mkd_tf.distillation.balance import Balance
from mkd_tf.distillation.schedules import ramp
from mkd_tf.strategies.base import Strategy

DISTRIBUTION_WEIGHT = 0.25
"""Of the distribution focal loss, beside a box weight of 2 (Li et al., NeurIPS 2020)."""


def detection_terms(outputs, targets, anchors: Anchors, beta: float, box_weight: float) -> dict:
    """The task: quality focal loss on classes, GIoU on boxes, both per example.

    Sums over anchors are divided by max(1, summed weight of that example's
    positives). The class target of a positive is the IoU of its predicted box
    (Li et al., NeurIPS 2020) times the weight of the box it answers for.

    Args:
      outputs: of the network that learns: `class_logits`, `box_encodings`.
      targets: its `labels`, `boxes`, `weights` from `targets.assign`, and `known`
        `[B]`, 0 for an image of which nothing is known: it has no task. With `ignored`
        `[B, N]`, locations that take no part in the class term.
      anchors: its anchors.
      beta: exponent of the quality focal loss.
      box_weight: factor of the box term.

    Returns:
      `class` and `box`, each `[B]` float32. With `box_logits` among the outputs, `box` also
      holds the distribution focal loss.
    """
    logits = ops.cast(outputs["class_logits"], "float32")
    weights = targets["weights"]
    predicted = box_math.decode(ops.cast(outputs["box_encodings"], "float32"), anchors.centers_and_sizes())
    quality = ops.stop_gradient(box_math.iou(predicted, targets["boxes"])) * weights
    # The background's label is C: its one-hot row is all zero.
    hot = ops.one_hot(targets["labels"], logits.shape[-1]) * quality[..., None]
    positives = ops.maximum(ops.sum(weights, axis=-1), 1.0)
    each = without_ignored(losses.quality_focal(hot, logits, beta), targets)
    classes = ops.sum(each, axis=(1, 2)) / positives * targets["known"]
    boxes = box_weight * ops.sum(losses.giou_loss(targets["boxes"], predicted) * weights, axis=-1)
    if "box_logits" in outputs:
        truth = box_math.encode(targets["boxes"], anchors.centers_and_sizes())
        focal = losses.distribution_focal(truth, ops.cast(outputs["box_logits"], "float32"))
        boxes = boxes + DISTRIBUTION_WEIGHT * ops.sum(focal * weights, axis=-1)
    return {"class": classes, "box": boxes / positives}


def task_names(role: str) -> tuple[str, str]:
    """Names of a role's task terms; the student's are plain."""
    return ("class", "box") if role == "student" else (f"{role}_class", f"{role}_box")


class Objective:
    """Adds the task of every network that learns and every strategy's term.

    Args:
      anchors: of each role that learns; `student` among them.
      strategies: connected ones, each with a name of its own.
      beta: exponent of the task's quality focal loss.
      box_weight: factor of the task's box term.
      balance: how weights are found, `fixed` or `calibrated`; see `balance`.
      gradient_cap: largest gradient of a term in units of the task's; 0 for no limit.
      steps: length of the run, or None.
      warmup_steps: of the learning rate; see `balance`.
    """

    def __init__(
        self,
        anchors: Mapping[str, Anchors],
        strategies: Sequence[Strategy],
        beta: float = 1.0,
        box_weight: float = 2.0,
        balance: str = "fixed",
        gradient_cap: float = 0.0,
        steps: int | None = None,
        warmup_steps: int = 100,
    ):
        self.anchors, self.strategies = dict(anchors), tuple(strategies)
        self.beta, self.box_weight = beta, box_weight
        # A weight of zero costs nothing.
        self.active = tuple(s for s in strategies if s.weight)
        tasks = {s.name: task_names(s.target) for s in self.active}
        self.balance = Balance(tasks, balance, gradient_cap, steps, warmup_steps)

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks' terms, in the order in which they are reported."""
        return tuple(name for role in self.anchors for name in task_names(role))

    def terms(self, outputs: dict, targets: dict) -> dict:
        """Returns every term before its weight, `{name: [B] float32}`.

        Args:
          outputs: by role, each network's dict of outputs.
          targets: by role that learns.
        """
        found: dict = {}
        for role, anchors in self.anchors.items():
            task = detection_terms(outputs[role], targets[role], anchors, self.beta, self.box_weight)
            found |= dict(zip(task_names(role), task.values(), strict=True))
        return found | {s.name: s(outputs, targets) for s in self.active}

    def weights(self, progress) -> dict:
        """Returns the weight of every term now, scalars; the total is the sum of weight x term.

        Args:
          progress: scalar float 0..1, the fraction of the run that is done.
        """
        scales = self.balance.scales()
        ramps = {s.name: s.weight * ramp(progress, s.rise, s.fall) * scales[s.name] for s in self.active}
        return dict.fromkeys(self.task_names, 1.0) | ramps

    def __call__(self, outputs: dict, targets: dict, progress) -> dict:
        """Returns the weighted terms, `{name: [B] float32}`; the total is their sum."""
        weights = self.weights(progress)
        return {name: weights[name] * term for name, term in self.terms(outputs, targets).items()}
