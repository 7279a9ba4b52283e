"""What every line of STRATEGIES must withstand, with no new test file.

A new strategy is tested as soon as it is in the table; `VARIANTS` lists further
specs of it, where one is not enough. The networks are fakes: random outputs.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.strategies import STRATEGIES
from tests.strategies import fakes

VARIANTS = {
    "soft_classes": (
        "soft_classes",
        "soft_classes(beta=0)",
        "soft_classes(beta=2)",
        "soft_classes(tau=2.0)",
        "soft_classes(tau=4.0, mask='foreground')",
        "soft_classes(form='softmax')",
        "soft_classes(form='softmax', tau=3.0, mask='foreground')",
        "soft_classes(soft_target='score_iou')",
    ),
    "localization": ("localization", "localization(tau=1.0)"),
    "layer_relation": (
        "layer_relation",
        "layer_relation(pairs=(('P3', 'P4'),))",
        "layer_relation(mask='foreground')",
        "layer_relation(adapter='projected')",
        "layer_relation(form='svd', rank=2)",
    ),
    "attention_map": (
        "attention_map",
        "attention_map(form='paper')",
        "attention_map(p=1.0)",
        "attention_map(mask='foreground')",
        "attention_map(centred=True)",
    ),
    "hint": (
        "hint",
        "hint(source='teacher')",
        "hint(taps=('C3', 'C4', 'C5'))",
        "hint(components=2)",
    ),
    "exploration": (
        "exploration",
        "exploration(source='guide', fraction=0.3, head=0.0)",
        "exploration(explore=0.0, head=0.0)",
    ),
}
# Parts that do not imitate: they learn from the truth, or ask to differ from the source.
NO_IMITATION = {"exploration": ("explore", "head")}
SPECS = tuple(spec for name in STRATEGIES for spec in VARIANTS.get(name, (name,)))
each_strategy = pytest.mark.parametrize("spec", SPECS)


class Scene:
    """A connected strategy between a source and a student, with something to compare.

    Attributes:
      outputs: by role.
      targets: by role.
    """

    def __init__(self, spec, *, num_classes=3, source_size=64, target_size=64, same_widths=False, batch=2):
        keras.utils.set_random_seed(0)
        self.strategy = STRATEGIES.build(spec)
        self.source = self.strategy.source
        role = "student" if same_widths else self.source
        self.ports = {
            self.source: fakes.port(role, source_size, num_classes),
            "student": fakes.port("student", target_size, num_classes),
        }
        self.strategy.connect(self.ports)
        self.outputs = {r: fakes.outputs(p, batch, seed) for seed, (r, p) in enumerate(self.ports.items())}
        self.targets = {"student": fakes.targets(self.ports["student"], batch)}
        if spec.startswith("cross_head"):
            # What the source predicts is what its head makes of its maps.
            found = self.outputs[self.source]
            predicted = self.ports[self.source].head(self.strategy.taps)(
                [found[t] for t in self.strategy.taps]
            )
            found |= {name: np.array(value) for name, value in predicted.items()}

    def term(self, **outputs):
        """The term with some roles' outputs replaced."""
        return keras.ops.convert_to_numpy(self.strategy(self.outputs | outputs, self.targets))

    def gradients(self, outputs=None):
        """The term, and its gradients by role and output; None where there is none."""
        watched = tf.nest.map_structure(tf.Variable, outputs or self.outputs)
        with tf.GradientTape() as tape:
            term = self.strategy(watched, self.targets)
        names = [(role, name) for role, found in watched.items() for name in found]
        found = tape.gradient(term, [watched[r][n] for r, n in names] + self.strategy.trainable_variables)
        self.of_adapters = found[len(names) :]
        return term, dict(zip(names, found, strict=False))


def make_identity(strategy):
    """Turns every adapter of equal widths into the identity."""
    for layer in strategy._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Conv2D):
            kernel = np.zeros(layer.kernel.shape, "float32")
            center = (kernel.shape[0] // 2, kernel.shape[1] // 2)
            kernel[center] = np.eye(*kernel.shape[2:])
            layer.kernel.assign(kernel)
    for basis in getattr(strategy, "_bases", {}).values():
        basis.assign(np.eye(*basis.shape))


@each_strategy
def test_the_term_is_one_number_per_example(spec):
    term = Scene(spec, batch=3).term()
    assert (term.shape, term.dtype) == ((3,), np.float32)
    assert (term > 1e-3).all(), "strangers should differ"


@each_strategy
@pytest.mark.parametrize("num_classes", [1, 3])
def test_zero_when_the_student_agrees(spec, num_classes):
    scene = Scene(spec, same_widths=True, num_classes=num_classes)
    make_identity(scene.strategy)
    for part in NO_IMITATION.get(spec.split("(")[0], ()):
        setattr(scene.strategy, part, 0.0)
    np.testing.assert_allclose(scene.term(student=scene.outputs[scene.source]), 0, atol=1e-5)


@each_strategy
def test_no_gradient_to_the_source(spec):
    scene = Scene(spec)
    _, gradients = scene.gradients()
    for (role, name), gradient in gradients.items():
        if role != "student" and gradient is not None:
            assert np.abs(gradient).max() == 0, f"{role} would learn from its student by {name}"


@each_strategy
def test_a_gradient_step_brings_the_student_nearer(spec):
    scene = Scene(spec)
    term, gradients = scene.gradients()
    moved, step = {}, 1e-2
    for name, value in scene.outputs["student"].items():
        gradient = gradients["student", name]
        moved[name] = value if gradient is None else value - step * gradient.numpy()
    assert any(g is not None for (role, _), g in gradients.items() if role == "student")
    assert (scene.term(student=moved) < term.numpy()).all()


@each_strategy
def test_every_adapter_learns(spec):
    scene = Scene(spec)
    scene.gradients()
    assert len(scene.of_adapters) == len(scene.strategy.trainable_variables)
    for variable, gradient in zip(scene.strategy.trainable_variables, scene.of_adapters, strict=True):
        assert gradient is not None, variable.path
        assert np.abs(gradient).max() > 1e-6, f"{variable.path} has no effect"


def _alternating(shape):
    """Ones; over bins, where equal logits would say nothing, of alternating sign."""
    return np.where(np.arange(shape[-1]) % 2 * (len(shape) == 4), -1, 1) * np.ones(shape, "float32")


@each_strategy
def test_extremes_stay_finite(spec):
    # One example for each: (largest feature, the source's logit, the student's).
    extremes = [(f, a, b) for f in (0.0, 1e-20, 1e4) for a in (0, 50, -50) for b in (0, 50, -50)]
    scene = Scene(spec, batch=len(extremes))
    rng = np.random.default_rng(1)
    maps = np.array([e[0] for e in extremes], "float32")[:, None, None, None]
    logits = {scene.source: [e[1] for e in extremes], "student": [e[2] for e in extremes]}
    outputs = {
        role: {
            name: rng.uniform(0, 1, x.shape).astype("float32") * maps
            if name in fakes.TAPS
            else _alternating(x.shape) * np.array(logits[role], "float32").reshape(-1, *[1] * (x.ndim - 1))
            for name, x in found.items()
        }
        for role, found in scene.outputs.items()
    }
    term, gradients = scene.gradients(outputs)
    assert np.isfinite(term).all(), [extremes[i] for i in np.flatnonzero(~np.isfinite(term))]
    for name, gradient in [*gradients.items(), *(("adapters", g) for g in scene.of_adapters)]:
        assert gradient is None or np.isfinite(gradient).all(), name


@each_strategy
def test_an_example_does_not_see_its_batch(spec):
    scene = Scene(spec, batch=3)
    together = scene.term()
    for i in range(3):
        one = slice(i, i + 1)
        outputs, targets = (
            tf.nest.map_structure(lambda x, one=one: x[one], held) for held in (scene.outputs, scene.targets)
        )
        np.testing.assert_allclose(scene.strategy(outputs, targets), together[one], rtol=1e-5)


@each_strategy
def test_the_size_of_the_image_does_not_matter(spec):
    small, large = Scene(spec), Scene(spec, source_size=128, target_size=128)
    large.strategy.set_weights(small.strategy.get_weights())
    large.outputs = {r: fakes.tiled(found, small.ports[r]) for r, found in small.outputs.items()}
    # The same cells answer for an object in both, and its box lies as far from each of them.
    truth, (near, far) = small.targets["student"], (s.ports["student"].anchors.boxes for s in (small, large))
    cells = {"labels": truth["labels"][..., None], "weights": truth["weights"][..., None]}
    targets = fakes.tiled(cells | {"boxes": truth["boxes"] - near}, small.ports["student"])
    large.targets["student"] = {
        "labels": targets["labels"][..., 0],
        "weights": targets["weights"][..., 0],
        "boxes": targets["boxes"] + far,
        "known": truth["known"],
    }
    np.testing.assert_allclose(large.term(), small.term(), rtol=1e-3)


@each_strategy
def test_a_factor_on_the_sources_features_does_not_matter(spec):
    scene = Scene(spec)
    found, term = scene.outputs[scene.source], scene.term()
    for factor in (0.01, 30.0):
        scaled = {name: x * factor if name in fakes.TAPS else x for name, x in found.items()}
        np.testing.assert_allclose(scene.term(**{scene.source: scaled}), term, rtol=1e-3)


@each_strategy
def test_one_class_does_not_make_it_vanish(spec):
    one, three = (Scene(spec, num_classes=n).term().mean() for n in (1, 3))
    assert one > three / 6


@each_strategy
def test_a_source_of_twice_the_input_size(spec):
    scene = Scene(spec, source_size=128)
    term, gradients = scene.gradients()
    assert np.isfinite(term).all()
    assert (term.numpy() > 1e-3).all()
    assert any(
        g is not None and np.abs(g).max() > 0 for (role, _), g in gradients.items() if role == "student"
    )


@each_strategy
def test_its_configuration_makes_it_again(spec):
    scene = Scene(spec)
    scene.strategy.rise, scene.strategy.fall, scene.strategy.weight = 0.125, 0.25, 3.0
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(scene.strategy))
    assert type(again) is type(scene.strategy)
    assert again.get_config() == scene.strategy.get_config()
    again.connect(scene.ports)
    again.set_weights(scene.strategy.get_weights())
    term = again(scene.outputs, scene.targets)
    np.testing.assert_allclose(term, scene.term(), rtol=1e-6)


@each_strategy
def test_a_missing_source_is_told(spec):
    strategy = STRATEGIES.build(spec)
    with pytest.raises(MkdError, match=f"strategy .*: expected a {strategy.source} to learn from") as error:
        strategy.connect({"student": fakes.port()})
    assert "got networks student" in str(error.value)
