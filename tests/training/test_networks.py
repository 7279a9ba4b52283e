"""What a run builds: seeds, given networks, the guide that learns along, and the plan of stages."""

import keras
import numpy as np
import pytest

from mkd_tf import config as configuration
from mkd_tf.checks import MkdError
from mkd_tf.config import CompressionConfig, RolesConfig
from mkd_tf.detectors.files import save_detector
from mkd_tf.training.networks import Networks, strategies_of, synchronize
from mkd_tf.training.plan import MKD, expanded, plan

NAMES = ("a", "b")
SPEC = "tiny(widths=(8, 8, 8, 8), pyramid=8)"


def networks(**values):
    small = {"teacher": SPEC, "guide": SPEC, "student": SPEC, "image_size": 64}
    config = configuration.from_values(small | values)
    return Networks(config, NAMES), plan(config.roles)


def weights(network):
    return np.concatenate([w.ravel() for w in network.get_weights()])


def test_the_control_starts_from_the_weights_of_the_student():
    built = networks()[0]
    start = {
        role: weights(built.build(role, SPEC)) for role in ("teacher", "guide", "student", "student_alone")
    }
    np.testing.assert_array_equal(start["student"], start["student_alone"])
    assert not np.array_equal(start["student"], start["guide"])
    assert not np.array_equal(start["teacher"], start["guide"])
    other = networks(seed=1)[0]
    assert not np.array_equal(start["student"], weights(other.build("student", SPEC)))


@pytest.mark.parametrize("role", ["teacher", "guide"])
def test_a_given_network_is_taken_and_checked(tmp_path, role):
    made = networks()[0].build("student", SPEC)
    path = str(tmp_path / "given.keras")
    save_detector(made, path)
    taken = networks(**{f"{role}_weights": path})[0].build(role, "tiny")
    np.testing.assert_array_equal(weights(made), weights(taken))
    message = f"{role} .*given.keras: expected images of 96 px, got 64 px. Set --{role}_image_size=64"
    with pytest.raises(MkdError, match=message):
        networks(**{f"{role}_weights": path, f"{role}_image_size": 96})[0].build(role, SPEC)
    config = configuration.from_values({f"{role}_weights": path, "image_size": 64})
    with pytest.raises(MkdError, match=f"{role} .*: expected the classes x, got a, b"):
        Networks(config, ("x",)).build(role, SPEC)


def test_several_teachers_are_averaged(tmp_path):
    paths = [str(tmp_path / f"{i}.keras") for i in range(2)]
    for seed, path in enumerate(paths):
        save_detector(networks(seed=seed)[0].build("teacher", SPEC), path)
    teacher = networks(teacher_weights=",".join(paths))[0].build("teacher", SPEC)
    assert type(teacher).__name__ == "Ensemble"


def test_the_plan_of_a_frozen_a_learning_and_no_guide():
    def stages(**values):
        return [(s.role, s.sources, s.guide) for s in networks(**values)[1]]

    assert stages(baseline=True) == [
        ("teacher", (), ""),
        ("guide", ("teacher",), ""),
        ("student_alone", (), ""),
        ("student", ("teacher", "guide"), ""),
    ]
    assert stages(guide="none") == [("teacher", (), ""), ("student", ("teacher",), "")]
    assert stages(guide_mode="learning") == [("teacher", (), ""), ("student", ("teacher", "guide"), SPEC)]
    assert stages(guide_mode="learning", guide="none") == stages(guide="none")


def test_a_guide_that_learns_has_strategies_of_its_own():
    built, stages = networks(
        guide_mode="learning", strategies="soft_classes, hint", guide_strategies="soft_boxes"
    )
    made = {role: built.build(role, SPEC) for role in ("teacher", "guide", "student")}
    distiller = built.distiller(stages[-1], made["student"], made, steps=10)
    assert distiller.learn_guide
    assert [(s.name, s.target) for s in distiller.strategies] == [
        ("soft_classes", "student"),
        ("hint", "student"),
        ("guide_soft_boxes", "guide"),
    ]
    frozen, stages = networks()
    distiller = frozen.distiller(stages[1], made["guide"], made, steps=10)
    assert (distiller.learn_guide, distiller.guide) == (False, None)


def test_a_name_of_ones_own_stays():
    assert strategies_of("soft_classes(name='mine')", target="guide")[0].name == "mine"


def test_the_whole_method_stands_behind_one_word():
    assert expanded("soft_boxes", has_guide=True) == "soft_boxes"
    with_guide, without = ({s.name: s for s in strategies_of(expanded("mkd", g))} for g in (True, False))
    names = {"soft_classes", "soft_boxes", "cross_head", "attention_map", "layer_relation", "hint"}
    assert set(with_guide) == set(without) == names
    assert with_guide["hint"].source == "guide"
    assert without["hint"].source == "teacher"
    assert "SOURCE" not in expanded(MKD, has_guide=True)
    # Shares of the gradient go with it, and with nothing else, unless a run says so.
    assert [s.balance for s in plan(RolesConfig(strategies=" mkd "))] == ["fixed", "fixed", "gradient_share"]
    assert {s.balance for s in plan(RolesConfig())} == {"fixed"}
    assert {s.balance for s in plan(RolesConfig(strategies="mkd"), None, "calibrated")[1:]} == {"calibrated"}
    compression = CompressionConfig(compress="qat", compress_strategies="mkd")
    assert [s.balance for s in plan(RolesConfig(), compression)][-2:] == ["fixed", "gradient_share"]


def test_the_whole_method_is_built_before_a_stage_begins():
    for values in ({}, {"guide": "none"}, {"guide_mode": "learning"}):
        built, stages = networks(strategies="mkd", **values)
        built.check(stages)
    built, stages = networks(strategies="hint", guide="none")
    with pytest.raises(MkdError, match="strategy hint: expected a guide to learn from"):
        built.check(stages)


@pytest.mark.parametrize(
    ("balance", "of_guide", "weights"),
    [
        ("auto", "soft_classes, soft_boxes(weight=2.0)", (0.5, 0.5)),
        ("auto", "soft_classes, soft_boxes(weight=0.3)", (1.0, 0.3)),
        ("fixed", "soft_classes, soft_boxes(weight=2.0)", (1.0, 2.0)),
    ],
)
def test_a_guide_that_learns_beside_the_whole_method_has_shares_too(balance, of_guide, weights):
    config = configuration.from_values(
        {"strategies": "mkd", "guide_mode": "learning", "balance": balance, "guide_strategies": of_guide}
    )
    built, stages = Networks(config, NAMES), plan(config.roles, None, balance)
    made = {role: built.build(role, SPEC) for role in ("teacher", "guide", "student")}
    distiller = built.distiller(stages[-1], made["student"], made, steps=10)
    found = {s.name: s.weight for s in distiller.strategies if s.target == "guide"}
    assert tuple(found.values()) == weights


def test_synchronised_batch_norms_are_also_those_of_nested_models():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    outer = keras.Sequential([keras.Input((4,)), keras.Sequential([inner])])
    synchronize(outer)
    assert inner.layers[-1].synchronized


def test_synchronised_batch_norms_are_all_of_them():
    network = networks()[0].build("student", SPEC)
    synchronize(network)
    norms = [x for x in network.core.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert norms
    assert all(x.synchronized for x in norms)


def test_what_a_trained_network_began_with_is_not_asked_for_again(tmp_path):
    path = str(tmp_path / "given.keras")
    save_detector(networks()[0].build("student", SPEC), path)
    built, stages = networks(teacher_weights=str(tmp_path / "gone.keras"))
    with pytest.raises(MkdError, match="gone.keras.*no such file"):
        built.check(stages)
    built.check(stages, {"teacher": tmp_path / "given.keras"})


def test_adapters_after_a_seed_do_not_hang_on_what_was_built_before():
    built, stages = networks(strategies="hint(source='teacher')", guide="none")

    def kernel():
        made = {role: built.build(role, SPEC) for role in ("teacher", "student")}
        keras.layers.Dense(3).build((None, 5))
        built.seed("student")
        distiller = built.distiller(stages[-1], made["student"], made, steps=10)
        return np.array(distiller.strategies[0].trainable_variables[0])

    first = kernel()
    networks(seed=7)[0].build("student", SPEC)
    np.testing.assert_array_equal(first, kernel())
