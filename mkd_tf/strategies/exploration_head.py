"""The exploration head: a light detector on the exploring channels alone.

It learns from the truth, most where the source is wrong, so that these channels
come to hold what the source does not see. Its loss is the task's,

    (sum_n v_n sum_c QFL(y_nc, z_nc) + box_weight sum_n v_n w_n (1 - GIoU_n)) / max(1, sum w)

with v_n = 1 + gamma d_n and the wrongness d_n in 0..1 of the source at location n:

    of an object    max(0, w_n - min(p_n, IoU_n)), p_n its probability of the true class and
                    IoU_n that of its box with the true one; w_n is 1, or the score of a
                    teacher's box that stands for the truth, of which no more can be asked
    elsewhere       its largest probability of any class: it claims what is not there

v is not divided by its mean. In an image with one object that the source misses,
all of whose locations are equally wrong, this would cancel what is asked for. So the
size does depend on the source, within known limits: it lies between the plain loss
(a source without fault, or gamma 0) and 1 + gamma times that.

Every layer is a 1x1 convolution without norm. What the head needs it must find in
the channels of one cell, which stay with the student; a strong head would keep it
to itself and be thrown away. And there are no batch statistics to depend on the mode
or the replicas.
"""

import math

import keras
from keras import ops

from mkd_tf.detection import boxes as box_math
from mkd_tf.detection import losses
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.targets import without_ignored


def wrongness(source_logits, source_boxes, targets: dict, matched):
    """How wrong the source is at each location of the target: `[B, N]` float32 in 0..1.

    Args:
      source_logits: `[B, N, C]` at the target's anchors.
      source_boxes: `[B, N, 4]` yxyx in pixels of the target's input.
      targets: `labels`, `boxes`, `weights` from `targets.assign`.
      matched: `[N]` float, 0 where the source has no such anchor: nothing is held against it.
    """
    probability = ops.sigmoid(ops.cast(source_logits, "float32"))
    # The background's label is C: its one-hot row is all zero.
    hot = ops.one_hot(targets["labels"], probability.shape[-1])
    found = ops.minimum(ops.sum(probability * hot, axis=-1), box_math.iou(source_boxes, targets["boxes"]))
    missed = ops.maximum(targets["weights"] - found, 0.0)
    claimed = ops.max(probability, axis=-1)
    return ops.stop_gradient(ops.where(targets["weights"] > 0, missed, claimed) * matched)


def head_loss(predictions, targets: dict, anchors: Anchors, emphasis, beta: float, box_weight: float):
    """The task's loss, each location with an emphasis of its own: `[B]` float32.

    Args:
      predictions: the head's `class_logits` `[B, N, C]` and `box_encodings` `[B, N, 4]`.
      targets: `labels`, `boxes`, `weights`, and `known` `[B]`; 0 for an image of which
        nothing is known. With `ignored`, as the task's.
      anchors: the target's.
      emphasis: `[B, N]` float, v of the module.
      beta: exponent of the quality focal loss.
      box_weight: factor of the boxes.
    """
    logits = ops.cast(predictions["class_logits"], "float32")
    encodings = ops.cast(predictions["box_encodings"], "float32")
    weights = targets["weights"]
    predicted = box_math.decode(encodings, anchors.centers_and_sizes())
    quality = ops.stop_gradient(box_math.iou(predicted, targets["boxes"])) * weights
    hot = ops.one_hot(targets["labels"], logits.shape[-1]) * quality[..., None]
    classes = ops.sum(without_ignored(losses.quality_focal(hot, logits, beta), targets), axis=-1)
    boxes = weights * losses.giou_loss(targets["boxes"], predicted)
    total = ops.sum(emphasis * (classes + box_weight * boxes), axis=-1)
    return targets["known"] * total / ops.maximum(ops.sum(weights, axis=-1), 1.0)


class ExplorationHead(keras.layers.Layer):
    """Predicts classes and boxes at every location; shared by the levels.

    Levels of equal width share the first convolution, all share the predictions.

    Args:
      widths: channels of each level's map.
      num_classes: C.
      anchors_per_cell: A; the N locations are cells times A.
      channels: between the two convolutions.
      prior: initial probability of every class at every location.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        num_classes: int,
        anchors_per_cell: int,
        channels: int,
        prior: float = 0.01,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        prefix, bias = self.name, keras.initializers.Constant(-math.log((1.0 - prior) / prior))
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

    def call(self, maps):
        """Returns `class_logits` `[B, N, C]` and `box_encodings` `[B, N, 4]` of maps `[B, h, w, c]`."""
        logits, encodings = [], []
        for x in maps:
            locations = ops.shape(x)[0], -1
            x = self.towers[str(x.shape[-1])](x)
            logits.append(ops.reshape(self.classify(x), (*locations, self.num_classes)))
            encodings.append(ops.reshape(self.regress(x), (*locations, 4)))
        return {
            "class_logits": ops.concatenate(logits, axis=1),
            "box_encodings": ops.concatenate(encodings, axis=1),
        }
