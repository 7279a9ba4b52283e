"""Imitation: before its own training, the small network learns to compute the large one's pyramid.

Of every pyramid level of equal grid, with f the small network's map of D channels and
g the evenly spaced D channels of the large network's, on images without labels:

    loss = sum over levels of mean((f - g)^2 / variance of g in its channel) / levels

Those channels are the ones that the head inherits when it is selected evenly as well,
so that after imitation the small network's head reads what it knows. Nothing but the
pyramid is compared: a network of another family needs no layer in common with the
large one, only a pyramid and a head of the same names.

References: Romero et al., FitNets, ICLR 2015 (a stage of hints before training); Cao et
al., PKD, NeurIPS 2022 (features of detectors of different families). Departure: no
adapter, which would be thrown away with what it has learned.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from mkd_tf.checks import check_at_least, check_positive, fail
from mkd_tf.detectors.base import Detector, tap_names
from mkd_tf.detectors.channel_selection import evenly_spaced
from mkd_tf.distillation.outputs import port_of
from mkd_tf.distillation.schedules import WarmupCosine
from mkd_tf.starts.base import Inherited, Start, inputs_of
from mkd_tf.strategies.matching import pair_levels


class Imitation(Start):
    """See the module.

    Args:
      steps: length; they come on top of the task's steps.
      batch: images in a step.
      learning_rate: peak, of AdamW with a cosine.
      images: how many different images it learns on, at most.
    """

    def __init__(self, steps: int = 300, batch: int = 16, learning_rate: float = 4e-3, images: int = 1024):
        check_at_least("imitation steps", steps, 1)
        check_at_least("imitation batch", batch, 1)
        check_positive("imitation learning_rate", learning_rate)
        check_at_least("imitation images", images, 1)
        self.steps, self.batch, self.learning_rate, self.images = steps, batch, learning_rate, images

    def __call__(self, small: Detector, large: Detector, images: np.ndarray) -> Inherited:
        taps = tuple(n for n in tap_names(small.output) if n.startswith("P") and n in large.output)
        if not taps:
            fail(
                "start imitation",
                expected="a pyramid in both networks",
                got=f"outputs {', '.join(large.output)}",
                do="Use --start=uniform or least_squares.",
            )
        ports = port_of(large), port_of(small)
        pairs = pair_levels(*ports, taps)
        channels = [evenly_spaced(ports[0].shape(s)[-1], ports[1].shape(t)[-1]) for s, t in pairs]
        learner = keras.Model(small.core.input, [small.core.output[t] for _, t in pairs])
        variables = learner.trainable_variables
        optimizer = keras.optimizers.AdamW(
            WarmupCosine(self.learning_rate, self.steps, self.steps // 10),
            weight_decay=0.0,
            global_clipnorm=10.0,
        )
        optimizer.build(variables)

        @tf.function
        def step(ours: tf.Tensor, theirs: tf.Tensor) -> None:
            maps = large.core(theirs, training=False)
            wanted = [tf.gather(maps[s], c, axis=-1) for (s, _), c in zip(pairs, channels, strict=True)]
            with tf.GradientTape() as tape:
                loss = distance(learner(ours, training=True), wanted)
            optimizer.apply(tape.gradient(loss, variables), variables)

        generator = np.random.default_rng(self.run_seed)
        for _ in range(self.steps):
            picked = images[generator.integers(len(images), size=self.batch)]
            mirrored = generator.random(self.batch) < 0.5
            picked = np.where(mirrored[:, None, None, None], picked[:, :, ::-1], picked)
            step(*(tf.constant(inputs_of(n, picked), "float32") for n in (small, large)))
        reached = {layer.name for layer in learner.layers if layer.weights}
        names = [layer.name for layer in small.core.layers if layer.weights]
        return Inherited(tuple(n for n in names if n in reached), tuple(n for n in names if n not in reached))


def distance(found: Sequence[tf.Tensor], wanted: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the mean squared error of maps `[B, h, w, D]`, each channel in units of its variance."""
    parts = []
    for f, g in zip(found, wanted, strict=True):
        variance = tf.math.reduce_variance(g, axis=(0, 1, 2))
        # A channel without variation is no knowledge, and would count without bound.
        share = variance / (variance + 1e-3 * tf.reduce_mean(tf.square(g)) + 1e-12)
        error = tf.reduce_mean(tf.square(f - g), axis=(0, 1, 2))
        parts.append(tf.reduce_mean(share * error / (variance + 1e-12)))
    return tf.add_n(parts) / len(parts)
