"""The exploration head: a light detector on the exploring channels alone.

It learns from the labels, most where the source is wrong, so that these channels
represent what the source misses. Its loss is the task's,

    (sum_n v_n sum_c QFL(y_nc, z_nc) + box_weight sum_n v_n w_n (1 - GIoU_n)) / max(1, sum w)

with v_n = 1 + gamma d_n and the wrongness d_n in 0..1 of the source at location n:

    of an object    max(0, w_n - min(p_n, IoU_n)), p_n its probability of the true class and
                    IoU_n that of its box with the true one; w_n is 1, or the score of a
                    teacher's box that is used as a label
    elsewhere       its largest probability of any class: a false detection

v is not divided by its mean: in an image with one object that the source misses,
all of whose locations are equally wrong, the division would cancel the emphasis. So
the size depends on the source, between the plain loss (a source without error, or
gamma 0) and 1 + gamma times that.

Every layer is a 1x1 convolution without norm. The head is discarded after training,
so what it detects must be represented in the channels of one cell, which stay with the
student. Without norms there are no batch statistics, which depend on the mode and the
replicas.
"""

import itertools
import math
from collections.abc import Sequence

import keras
from keras import ops

from mkd_tf.detection import boxes as box_math
from mkd_tf.detection import losses
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.types import Array, Arrays, Boxes, Float, Logits, PerAnchor, PerExample
from mkd_tf.strategies.maps import flatten_map


def wrongness(
    source_logits: Logits, source_boxes: Boxes, targets: Arrays, matched: Float[Array, " anchors"]
) -> PerAnchor:
    """Returns how wrong the source is at each location of the target, 0..1, float32.

    Args:
      source_logits: at the target's anchors.
      source_boxes: yxyx in pixels of the target's input.
      targets: `labels`, `boxes`, `weights` from `targets.assign`.
      matched: 0 where the source has no such anchor; it is not wrong there.
    """
    probability = ops.sigmoid(ops.cast(source_logits, "float32"))
    # The background's label is C: its one-hot row is all zero.
    hot = ops.one_hot(targets["labels"], probability.shape[-1])
    found = ops.minimum(ops.sum(probability * hot, axis=-1), box_math.iou(source_boxes, targets["boxes"]))
    missed = ops.maximum(targets["weights"] - found, 0.0)
    claimed = ops.max(probability, axis=-1)
    return ops.stop_gradient(ops.where(targets["weights"] > 0, missed, claimed) * matched)


def head_loss(
    predictions: Arrays,
    targets: Arrays,
    anchors: Anchors,
    emphasis: PerAnchor,
    beta: float,
    box_weight: float,
) -> PerExample:
    """Returns the task's loss with an emphasis on every location, float32.

    Args:
      predictions: the head's `class_logits` `[B, N, C]` and `box_encodings` `[B, N, 4]`.
      targets: `labels`, `boxes`, `weights`, and `known` `[B]`, 0 for an image of unknown
        content; `ignored` if there is any.
      anchors: the target's.
      emphasis: v of the module.
      beta: exponent of the quality focal loss.
      box_weight: factor of the boxes.
    """
    classes, boxes, positives = losses.location_losses(predictions, targets, anchors, beta)
    each = ops.sum(classes, axis=-1) + box_weight * boxes
    return targets["known"] * ops.sum(emphasis * each, axis=-1) / positives


PRIOR = 0.01
"""Initial probability of every class at every location."""


class ExplorationHead(keras.layers.Layer):
    """Predicts classes and boxes at every location; shared by the levels.

    Levels of equal width share the first convolution, all share the predictions.

    Args:
      widths: channels of each level's map.
      num_classes: C.
      anchors_per_cell: A; the N locations are cells times A.
      channels: between the two convolutions.
      name: prefix of the layers' names.
    """

    def __init__(
        self,
        widths: Sequence[int],
        num_classes: int,
        anchors_per_cell: int,
        channels: int,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.num_classes = num_classes
        prefix, bias = self.name, keras.initializers.Constant(-math.log((1.0 - PRIOR) / PRIOR))
        normal = keras.initializers.RandomNormal(stddev=0.01)
        self.towers = {
            str(width): keras.layers.Conv2D(
                channels, 1, activation="relu", kernel_initializer="he_normal", name=f"{prefix}_tower{width}"
            )
            for width in sorted(set(widths))
        }
        self.classify = keras.layers.Conv2D(
            anchors_per_cell * num_classes,
            1,
            kernel_initializer=normal,
            bias_initializer=bias,
            name=f"{prefix}_class",
        )
        self.regress = keras.layers.Conv2D(
            anchors_per_cell * 4, 1, kernel_initializer=normal, name=f"{prefix}_box"
        )
        for width, tower in self.towers.items():
            tower.build((None, None, None, int(width)))
        for layer in (self.classify, self.regress):
            layer.build((None, None, None, channels))
        self.built = True

    def call(self, maps: Sequence[Float[Array, "batch _ _ _"]]) -> dict[str, Float[Array, "batch anchors _"]]:
        """Returns `class_logits` `[B, N, C]` and `box_encodings` `[B, N, 4]` of each level's map."""
        # A 1x1 convolution is a product of matrices: levels of one tower are one product, and so
        # are the predictions. As convolutions of few channels they take several times as long.
        hidden = []
        for width, group in itertools.groupby(maps, lambda x: x.shape[-1]):
            cells = [flatten_map(x) for x in group]
            joined = cells[0] if len(cells) == 1 else ops.concatenate(cells, axis=1)
            tower = self.towers[str(width)]
            hidden.append(ops.relu(_mixed(joined, tower.kernel[0, 0], tower.bias)))
        x = hidden[0] if len(hidden) == 1 else ops.concatenate(hidden, axis=1)
        layers = self.classify, self.regress
        kernel = ops.concatenate([layer.kernel[0, 0] for layer in layers], axis=-1)
        found = _mixed(x, kernel, ops.concatenate([layer.bias for layer in layers]))
        classes, boxes = ops.split(found, [self.classify.filters], axis=-1)
        return {
            "class_logits": ops.reshape(classes, (ops.shape(classes)[0], -1, self.num_classes)),
            "box_encodings": ops.reshape(boxes, (ops.shape(boxes)[0], -1, 4)),
        }


def _mixed(cells: Float[Array, "batch cells c"], kernel: Array, bias: Array) -> Float[Array, "batch cells _"]:
    rows = ops.matmul(ops.reshape(cells, (-1, cells.shape[-1])), kernel) + bias
    return ops.reshape(rows, (-1, cells.shape[1], kernel.shape[-1]))
