"""Trains some steps on so many replicas: `python -m tests.training.replica_steps NUMBER CASE`.

A process of its own, since the number of devices cannot change within one. As a phase of
`worker_processes`, the same steps in two workers; each leaves its JSON in the folder of the
environment variable FOLDER.
"""

import json
import os
import sys
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.ops import custom_gradient

from mkd_tf.config import RunConfig
from mkd_tf.detection import targets as target_math
from mkd_tf.detectors import DETECTORS
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.strategies import STRATEGIES
from mkd_tf.training.distribution import scope
from mkd_tf.training.networks import strategies_of, synchronize
from mkd_tf.training.workers import Workers

STEPS, BATCH, SIZE = 20, 4, 64


def network(seed):
    keras.utils.set_random_seed(seed)
    spec = "tiny(widths=(8, 8, 8, 8), pyramid=8, bins=4)"
    made = DETECTORS.build(spec, image_size=SIZE, class_names=("a", "b", "c"), name=f"tiny{seed}")
    synchronize(made)
    return made


def batches(anchors):
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        coarse = rng.uniform(0, 255, (BATCH, 8, 8, 3)).astype("float32")
        low = rng.uniform(0, 0.6, (BATCH, 3, 2)) * SIZE
        boxes = np.concatenate([low, low + rng.uniform(0.2, 0.4, (BATCH, 3, 2)) * SIZE], axis=-1)
        labels, weights = rng.integers(0, 3, (BATCH, 3)), rng.choice([0.5, 1.0], (BATCH, 3))
        assigned = target_math.assign(
            anchors, boxes.astype("float32"), labels.astype("int32"), weights.astype("float32"), 3
        )
        targets = {k: np.asarray(v) for k, v in assigned.items()} | {"known": np.ones(BATCH, "float32")}
        images = coarse.repeat(SIZE // 8, axis=1).repeat(SIZE // 8, axis=2)
        yield {"images": images, "targets": dict.fromkeys(("student", "guide"), targets)}


CASES = {
    # Every strategy, with a guide that learns; and the guard, which looks at every step here.
    "all": (", ".join(STRATEGIES), "soft_classes, soft_boxes, layer_relation", 0.0),
    "guard": ("soft_classes, attention_map", "", 0.2),
}


PHASES = {"workers": 2}


def phase(name: str) -> None:
    """Trains in one of two workers."""
    with scope(RunConfig(distribution="multi_worker")) as workers:
        found = trained("all", workers)
        found["silent_ms"] = context.context().config.experimental.coordination_config.heartbeat_timeout_in_ms
    Path(os.environ["FOLDER"], f"{name}{workers.index}.json").write_text(json.dumps(found))


def main(replicas: int, case: str) -> None:
    """Prints the losses of every step, and every weight before and after, as JSON."""
    config = RunConfig(distribution="mirrored" if replicas > 1 else "none", replicas=replicas)
    # TensorFlow asks, at each all-reduce, which variables lie between its input and output, of which there
    # are none; it walks the graph back to its beginning for that, 80 of a test's 100 seconds.
    no_walk = mock.patch.object(custom_gradient, "_get_dependent_variables", lambda **_: [])
    with no_walk, scope(config) as workers:
        print(json.dumps(trained(case, workers)))


def trained(case: str, workers: Workers) -> dict:
    """Returns the losses of every step, and every weight before and after."""
    specs, of_guide, cap = CASES[case]
    with workers.scope():
        made = Distiller(
            network(0),
            network(1),
            network(2) if of_guide else None,
            strategies_of(specs) + strategies_of(of_guide, target="guide"),
            steps=STEPS,
            learn_guide=bool(of_guide),
            balance="calibrated",
            gradient_cap=cap,
        )
        # Not AdamW: it divides by a gradient's size, and makes a step of one that is rounding alone.
        made.compile(keras.optimizers.SGD(1e-3, momentum=0.9, global_clipnorm=1.0), jit_compile=False)
    rows = list(batches(made.student.anchors))
    stacked = tf.nest.map_structure(lambda *x: np.concatenate(x), *rows)

    def data(part: tuple[int, int]) -> tf.data.Dataset:
        whole = tf.data.Dataset.from_tensor_slices(stacked)
        return whole.batch(BATCH // part[1], drop_remainder=True).shard(part[1], part[0])

    shared = workers.shared(data, BATCH)
    if workers.count == 1:
        shared = shared.repeat()
    before = flat(made)
    logs = made.fit(shared, epochs=STEPS, steps_per_epoch=1, shuffle=False, verbose=0).history
    return {"logs": logs, "before": before, "weights": flat(made)}


def flat(distiller: Distiller) -> list[float]:
    """Every variable but the shares, which replicas measure only where there is a cap."""
    found = [np.asarray(v).astype("float64").ravel() for v in distiller.variables if "shares" not in v.path]
    return np.concatenate(found).tolist()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
