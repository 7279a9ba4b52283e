"""A saved distiller goes on in another process as if nothing had happened."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.schedules import WarmupCosine
from mkd_tf.registry import parse_specs
from mkd_tf.strategies import STRATEGIES
from mkd_tf.training.plan import expanded
from tests.distillation.test_distiller import batch, detector, endless, snapshot

ROOT = Path(__file__).resolve().parents[2]
# The balance measures in steps 1 and 2 of 40: the file is of the midst of it. Its guard looked at 0.
STEPS, WARMUP, SAVED, ENDED = 40, 1, 2, 4
_GO_ON = """
import json, sys
import mkd_tf
import keras
import numpy as np
import tensorflow as tf
path, data, steps, logs = sys.argv[1:]
distiller = keras.saving.load_model(path, safe_mode=True)
with np.load(data) as stored:
    of = lambda role: {k.split(".")[1]: stored[k] for k in stored if k.startswith(role + ".")}
    batch = {"images": stored["images"], "targets": {r: of(r) for r in ("student", "guide")}}
batches = tf.data.Dataset.from_tensors(batch).repeat()
print("iterations", int(distiller.optimizer.iterations))
history = distiller.fit(batches, epochs=int(steps), steps_per_epoch=1, shuffle=False, verbose=0).history
everything = [*distiller.student.variables, *distiller.guide.variables, *distiller.optimizer.variables,
              *distiller.balance.variables, *[v for s in distiller.strategies for v in s.variables]]
with open(logs, "w") as stream:
    sums = [float(np.abs(np.array(v).astype("float64")).sum()) for v in everything]
    json.dump({"history": history, "sums": sums}, stream)
"""


def adamw():
    """As a run's: half of the variables do not decay."""
    optimizer = keras.optimizers.AdamW(WarmupCosine(4e-3, STEPS, 4), weight_decay=2.0, global_clipnorm=10.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def whole_method():
    """Teacher, a guide that learns, the strategies of `mkd` and exploration, every measure of balance."""
    keras.utils.set_random_seed(3)
    specs = f"{expanded('mkd', has_guide=True)}, exploration(weight=0.5)"
    strategies = [STRATEGIES.build(spec) for spec in parse_specs(specs, "strategies")]
    for spec in ("soft_classes", "soft_boxes"):
        strategies.append(STRATEGIES.build(spec, target="guide", name=f"guide_{spec}"))
    made = Distiller(
        detector(), detector(64, 1), detector(64, 2), strategies,
        steps=STEPS, warmup_steps=WARMUP, learn_guide=True, balance="calibrated", gradient_cap=0.3,
    )  # fmt: skip
    # Compiling all of it would take longer than these few steps.
    made.compile(optimizer=adamw(), run_eagerly=True)
    return made


def both():
    data = batch(64)
    return data | {"targets": dict.fromkeys(("student", "guide"), data["targets"]["student"])}


def go_on_elsewhere(folder, data, steps):
    """Loads the distiller in a process that only imports mkd_tf and keras, and trains it."""
    flat = {f"{role}.{k}": v for role, held in data["targets"].items() for k, v in held.items()}
    np.savez(folder / "batch.npz", images=data["images"], **flat)
    files = [folder / "distiller.keras", folder / "batch.npz", str(steps), folder / "logs.json"]
    child = subprocess.run(
        [sys.executable, "-c", _GO_ON, *files],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert f"iterations {SAVED}" in child.stdout
    return json.loads((folder / "logs.json").read_text())


@pytest.mark.slow
def test_another_process_goes_on_with_the_same_losses(tmp_path):
    made, data = whole_method(), both()
    made.fit(endless(data), epochs=SAVED, steps_per_epoch=1, shuffle=False, verbose=0)
    made.save(tmp_path / "distiller.keras")
    scales = made.balance.scales()
    history = made.fit(
        endless(data), epochs=ENDED - SAVED, steps_per_epoch=1, shuffle=False, verbose=0
    ).history
    found = go_on_elsewhere(tmp_path, data, ENDED - SAVED)
    # Otherwise there would be nothing to lose.
    assert any(float(value) not in (0.0, 1.0) for value in scales.values())
    assert float(np.min(made.balance.variables[2])) < 1, "no term was capped"
    assert set(found["history"]) == set(history)
    for name in history:
        np.testing.assert_allclose(found["history"][name], history[name], rtol=1e-5, atol=1e-7, err_msg=name)
    owners = [made.student, made.guide, made.optimizer, made.balance, *made.strategies]
    sums = [np.abs(v.astype("float64")).sum() for v in snapshot(*owners)]
    np.testing.assert_allclose(found["sums"], sums, rtol=1e-4, atol=1e-6)


def test_what_does_not_decay_is_kept(tmp_path):
    made = Distiller(detector())
    made.compile(optimizer=adamw(), jit_compile=False)
    made.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras", safe_mode=True)
    decays = [again.optimizer._use_weight_decay(v) for v in again.trainable_variables]
    assert decays == [not v.name.startswith(("bias", "gamma", "beta")) for v in made.trainable_variables]
    assert len(set(decays)) == 2
    for variables in (made.trainable_variables, again.trainable_variables):
        for v in variables:
            v.assign(tf.ones(v.shape))
    for distiller in (made, again):
        distiller.optimizer.apply([tf.zeros(v.shape) for v in distiller.trainable_variables])
    for a, b in zip(made.trainable_variables, again.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_distiller_that_was_never_compiled_is_saved(tmp_path):
    Distiller(detector()).save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras", safe_mode=True)
    assert not again.compiled
