"""The peer in PyTorch is the same networks and the same loss; where PyTorch is missing, that is said."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.benchmarks import torch_steps as peer
from mkd_tf.benchmarks.running import timed
from mkd_tf.benchmarks.steps import DEFAULT, SMALL, network
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.training.networks import strategies_of
from tests import harness


def copied(core, size):
    """The peer's network with the weights of ours, layer by layer, in inference mode."""
    torch, layers = pytest.importorskip("torch"), {layer.name: layer for layer in core.layers}
    parts = peer.tiny(size, 3)

    def fill(variable, value):
        assert tuple(variable.shape) == value.shape
        variable.data.copy_(torch.tensor(value))

    def convolution(module, layer):
        fill(module.weight, layer.kernel.numpy().transpose(3, 2, 0, 1))
        if layer.use_bias:
            fill(module.bias, layer.bias.numpy())

    def unit(module, name):
        convolution(module[1], layers[f"{name}_conv"])
        norm, ours = module[2], layers[f"{name}_bn"]
        values = (ours.gamma, ours.beta, ours.moving_mean, ours.moving_variance)
        for variable, value in zip(
            (norm.weight, norm.bias, norm.running_mean, norm.running_var), values, strict=True
        ):
            fill(variable, value.numpy())

    unit(parts["stem"], "stem")
    first = 6 - len(parts["stages"])
    for i, stage in enumerate(parts["stages"], start=first):
        for part, name in (("first", "_a"), ("second", "_b"), ("shortcut", "_shortcut")):
            if "second" not in stage:
                unit(stage["first"], f"stage{i}")
                break
            if len(list(stage[part].parameters())):
                unit(stage[part], f"stage{i}{name}")
    for i in range(3):
        unit(parts["laterals"][i], f"pyramid_lateral{i + 3}")
        unit(parts["merged"][i], f"pyramid_out{i + 3}")
        unit(parts["towers"][i], f"head_tower{i + 3}_0")
    convolution(parts["classes"], layers["head_class"])
    convolution(parts["boxes"], layers["head_box"])
    return parts.eval()


def test_it_computes_what_ours_does():
    torch = pytest.importorskip("torch")
    ours = {size: harness.shake(network(size)) for size in ("fast", "teacher")}
    theirs = {size: copied(detector.core, size) for size, detector in ours.items()}
    data = SMALL.data(ours["fast"])
    images = torch.tensor(data["images"].numpy()).permute(0, 3, 1, 2)
    expected = {size: detector(data["images"], training=False) for size, detector in ours.items()}
    with torch.no_grad():
        found = {size: peer.predictions(parts, images) for size, parts in theirs.items()}
    for size, (logits, encodings) in found.items():
        np.testing.assert_allclose(logits.numpy(), expected[size]["class_logits"], atol=2e-5)
        np.testing.assert_allclose(encodings.numpy(), expected[size]["box_encodings"], atol=2e-5)

    distiller = Distiller(ours["fast"], ours["teacher"], strategies=strategies_of(DEFAULT), beta=2.0, steps=9)
    outputs = {"teacher": expected["teacher"], "student": expected["fast"]}
    terms, weights = (
        distiller.objective.terms(outputs, data["targets"]),
        distiller.objective.weights(tf.constant(0.0)),
    )
    total = sum(float(weights[name] * tf.reduce_mean(term)) for name, term in terms.items())
    given = data["targets"]["student"]
    targets = {name: torch.tensor(np.asarray(given[name])) for name in ("labels", "boxes", "weights")}
    targets["labels"] = targets["labels"].long()
    anchors = torch.tensor(ours["fast"].anchors.centers_and_sizes(), dtype=torch.float32)
    assert float(peer.loss_of(found["fast"], found["teacher"], targets, anchors)) == pytest.approx(
        total, rel=1e-5
    )


def test_its_step_is_timed():
    pytest.importorskip("torch")
    found = timed("step", "the default step in PyTorch", 1)
    assert found["unit"] == "step" and found["cpu_ms"] > 0


def test_a_missing_peer_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert timed("step", "the default step in PyTorch", 1) == {"missing": "torch is not installed"}
