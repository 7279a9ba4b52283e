"""Fine-tuning: which networks, which layers, what stays as it was, and a resumed stage."""

import io
import types

import keras
import numpy as np
import pytest
from rich.console import Console

from mkd_tf import config as configuration
from mkd_tf.checks import MkdError
from mkd_tf.detectors import ResNet, Tiny
from mkd_tf.detectors.assembly import backbone_of
from mkd_tf.detectors.files import load_detector, save_detector
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.distillation.optimizers import PartwiseAdamW
from mkd_tf.training.callbacks import WeightAveraging
from mkd_tf.training.fine_tuning import (
    backbone_variables,
    check_options,
    freeze,
    frozen_variables,
    is_pretrained,
    pretrained_of,
)
from mkd_tf.training.networks import Networks
from mkd_tf.training.plan import plan
from mkd_tf.training.stage import train_stage
from tests.distillation.test_distiller import batch, endless

NAMES = ("class0", "class1", "class2")
SPEC = "tiny(widths=(8, 8, 8, 8), pyramid=8)"


def options(**values):
    return configuration.from_values(values).optimizer


def tiny(seed=0, **values):
    keras.utils.set_random_seed(seed)
    made = Tiny(64, NAMES, widths=(8, 8, 8, 8), pyramid=8, tower=0, block="plain")
    freeze(made, options(**values))
    return made


def learning(network, kind=keras.layers.Layer):
    return {
        layer.name for layer in network.core.layers if layer.trainable_weights and isinstance(layer, kind)
    }


def arrays(variables):
    return [keras.ops.convert_to_numpy(v).copy() for v in variables]


def test_a_stage_is_a_stride():
    network = tiny()
    everything = learning(network)
    stages = ("stem", "stage2", "stage3", "stage4", "stage5")
    for count in range(6):
        freeze(network, options(freeze_stages=count))
        frozen = {name for name in everything if name.startswith(stages[:count])}
        assert learning(network) == everything - frozen
    assert backbone_variables(network) == []


def test_batch_norms_of_the_backbone_alone():
    network = tiny(freeze_batch_norms=True)
    norms = learning(network, keras.layers.BatchNormalization)
    assert norms and all(name.startswith(("pyramid", "head")) for name in norms)
    assert learning(network, keras.layers.Conv2D) == learning(tiny(), keras.layers.Conv2D)


def test_what_is_frozen_keeps_every_bit_in_training_and_on_average():
    network, averaged = tiny(freeze_stages=3, freeze_batch_norms=True), tiny(seed=1)
    averaged.set_weights(network.get_weights())
    frozen = {id(v) for v in frozen_variables(network)}
    before = arrays(network.variables)
    distiller = Distiller(network)
    distiller.compile(optimizer=keras.optimizers.AdamW(1e-2), run_eagerly=True)
    # Iterations, rate, and two for each variable that learns.
    assert len(distiller.optimizer.variables) == 2 + 2 * len(network.trainable_variables)
    average = WeightAveraging(network, averaged, 0.99)
    distiller.fit(endless(batch(64)), steps_per_epoch=3, callbacks=[average], shuffle=False, verbose=0)
    for old, raw, mean in zip(before, network.variables, averaged.variables, strict=True):
        if id(raw) in frozen:
            np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(raw))
            np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(mean))
        elif "gamma" not in raw.path:
            assert not np.array_equal(old, keras.ops.convert_to_numpy(raw)), raw.path
            assert not np.array_equal(old, keras.ops.convert_to_numpy(mean)), raw.path


def test_a_file_is_free_to_learn(tmp_path):
    network = tiny(freeze_stages=5)
    save_detector(network, tmp_path / "a.keras")
    again = load_detector(tmp_path / "a.keras")
    assert list(frozen_variables(again)) == []
    for a, b in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_only_pretrained_backbones_are_concerned(tmp_path):
    save_detector(ResNet(64, NAMES, width=0.125, pyramid=8), tmp_path / "a.keras")
    resnet = f"resnet(width=0.125, pyramid=8, backbone_weights={str(tmp_path / 'a.keras')!r})"
    values = {"teacher": resnet, "guide": "none", "student": SPEC, "image_size": 64, "freeze_stages": 2}
    config = configuration.from_values(values)
    stages = plan(config.roles)
    assert [pretrained_of(stage, config.roles) for stage in stages] == [["student"], []]
    networks = Networks(config, NAMES)
    check_options(config.optimizer, stages, config.roles)
    assert list(frozen_variables(networks.build("teacher", resnet)))
    assert not list(frozen_variables(networks.build("student", SPEC)))
    imagenet = configuration.from_values({"backbone_weights": "imagenet"}).roles
    assert is_pretrained("efficientnet_lite", imagenet)
    assert not is_pretrained("efficientnet_lite(backbone_weights='')", imagenet)
    assert not is_pretrained("tiny", imagenet)
    compressed = plan(config.roles, configuration.from_values({"compress": "qat"}).compression)[-1]
    assert pretrained_of(compressed, imagenet) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("backbone_learning_rate_scale", 0.5), ("freeze_stages", 2), ("freeze_batch_norms", True)],
)
def test_an_option_that_would_do_nothing_is_told(name, value):
    config = configuration.from_values({name: value})
    with pytest.raises(MkdError) as error:
        check_options(config.optimizer, plan(config.roles), config.roles)
    assert str(error.value) == (
        f"{name}: expected a network that starts from pretrained weights, got none. Give "
        f"--backbone_weights, as in --backbone_weights=imagenet, or leave --{name} out."
    )
    with pytest.raises(MkdError, match="freeze_stages: expected 0 to 5, got 6"):
        options(freeze_stages=6)


class Eager(Distiller):
    """Without a graph, whose making would take longer than these few steps."""

    def compile(self, *arguments, **named):
        super().compile(*arguments, **named | {"run_eagerly": True})


def trained(folder, killed_after=0):
    """A stage of two epochs of one step, of a network that is frozen in part and slow in another."""
    settings = {"freeze_stages": 2, "freeze_batch_norms": True, "tensorboard": False, "jit_compile": "false"}
    config = configuration.from_values(settings)
    network, averaged = (tiny(freeze_stages=2, freeze_batch_norms=True) for _ in range(2))
    # As selected on: nothing is found, which no epoch changes.
    validation = types.SimpleNamespace(
        truth=[], detections=lambda runner: [], evaluate=lambda runner, names: {"AP": None}
    )

    def kill(row):
        if row["epoch"] == killed_after:
            raise KeyboardInterrupt

    text = io.StringIO()
    distiller = Eager(network)
    train_stage(
        "student",
        distiller,
        {"student": averaged},
        lambda first: endless(batch(64)),
        validation,
        folder,
        epochs=2,
        steps_per_epoch=1,
        optimizer_config=config.optimizer,
        run_config=config.run,
        console=Console(file=text, width=200),
        pretrained=["student"],
        on_row=kill,
    )
    assert isinstance(distiller.optimizer, PartwiseAdamW)
    layers = sum(bool(layer.weights) for layer in backbone_of(network.core).layers)
    said = "student: the pretrained backbone learns at 0.1 of the learning rate, "
    # Stem and first stage, a convolution and a batch norm each time; the six batch norms of the others.
    assert f"{said}12 of its {layers} layers frozen" in text.getvalue()
    variables = [*network.variables, *averaged.variables, *distiller.optimizer.variables]
    return arrays(variables)


def test_a_resumed_stage_ends_at_the_same_bits(tmp_path):
    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", killed_after=1)
    resumed = trained(tmp_path / "killed")
    for a, b in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(a, b)
