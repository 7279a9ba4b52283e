"""Balance: scales by hand, the window and its end, the guard, and the two inside a step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mkd_tf.checks import MkdError
from mkd_tf.detectors.base import tap_names
from mkd_tf.distillation.balance import LARGEST_SCALE, Balance
from mkd_tf.distillation.distiller import Distiller
from mkd_tf.strategies import AttentionMap, SoftBoxes, SoftClasses
from tests.distillation import test_distiller as scene

TASKS = {"soft": ("class", "box"), "hint": ("class", "box"), "guide_soft": ("guide_class", "guide_box")}
MEANS = {"class": 1.0, "box": 2.0, "guide_class": 4.0, "guide_box": 0.0, "soft": 0.5, "hint": 6.0}


def means(**changed):
    values = MEANS | {"guide_soft": 8.0} | changed
    return {name: tf.constant(value) for name, value in values.items()}


def connected(*args, **options):
    balance = Balance(*args, **options)
    balance.connect(TASKS)
    return balance


def numbers(values):
    return {name: float(value) for name, value in values.items()}


def test_a_fixed_balance_measures_nothing():
    balance = connected()
    balance.measure(means(), 150)
    assert numbers(balance.scales()) == dict.fromkeys(TASKS, 1.0)


def test_a_scale_makes_a_term_as_large_as_the_task_of_its_own_network():
    balance = connected("calibrated", steps=1000)
    assert (balance.begin, balance.end) == (100, 150)
    balance.measure(means(), 100)
    # (1 + 2) / 0.5, (1 + 2) / 6 and (4 + 0) / 8.
    assert numbers(balance.scales()) == pytest.approx({"soft": 6.0, "hint": 0.5, "guide_soft": 0.5})


def test_the_window_averages_and_then_the_scales_stay():
    balance = connected("calibrated", steps=40)
    assert (balance.begin, balance.end) == (4, 6)
    balance.measure(means(soft=3.0), 3)
    assert float(balance.scales()["soft"]) == pytest.approx(1.0), "a stand-in before the window"
    balance.measure(means(soft=0.5), 4)
    balance.measure(means(soft=2.5), 5)
    assert float(balance.scales()["soft"]) == pytest.approx(6.0 / 3.0), "the stand-in does not count"
    balance.measure(means(soft=100.0), 6)
    assert float(balance.scales()["soft"]) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("steps", "window"), [(None, (100, 300)), (10, (1, 2)), (400, (40, 60)), (10_000, (100, 300))]
)
def test_warm_up_and_window_follow_the_length_of_the_run(steps, window):
    balance = connected("calibrated", steps=steps)
    assert (balance.begin, balance.end) == window


def test_the_window_waits_for_a_long_warm_up():
    windows = [
        (b.begin, b.end)
        for b in (Balance("calibrated", steps=s, warmup_steps=1000) for s in (None, 12_000, 3000))
    ]
    assert windows == [(1000, 1200), (1000, 1200), (300, 450)]


def test_a_term_that_is_zero_while_it_is_measured_gets_no_endless_weight():
    balance = connected("calibrated", steps=1000)
    balance.measure(means(soft=0.0), 100)
    assert float(balance.scales()["soft"]) == LARGEST_SCALE


def test_the_guard_lowers_what_pulls_too_hard_and_nothing_else():
    balance = connected(gradient_cap=0.5)
    assert balance.groups == (
        ("soft",),
        ("hint",),
        ("guide_soft",),
        ("class", "box"),
        ("guide_class", "guide_box"),
    )
    weights = {"soft": 2.0, "hint": 1.0, "guide_soft": 1.0}
    squares = tf.constant([9.0, 1.0, 1.0, 16.0, 1.0])
    balance.guard(squares, weights, tf.constant(True))
    # soft: 2 * 3 / 4 = 1.5 -> cap 1/3; hint: 1/4 is allowed; the guide's own task has norm 1.
    assert numbers(balance.scales()) == pytest.approx({"soft": 1 / 3, "hint": 1.0, "guide_soft": 0.5})
    assert numbers(balance.shares()) == pytest.approx({"soft": 0.5, "hint": 0.25, "guide_soft": 0.5})
    # With the caps in the weights, the same gradients ask for the same caps.
    capped = {name: weights[name] * float(scale) for name, scale in balance.scales().items()}
    balance.guard(squares, capped, tf.constant(True))
    assert float(balance.scales()["soft"]) == pytest.approx(1 / 3)
    balance.guard(tf.constant([0.0, 1.0, 1.0, 16.0, 1.0]), capped, tf.constant(False))
    assert float(balance.scales()["soft"]) == pytest.approx(1 / 3), "it was not due"
    balance.guard(tf.constant([0.09, 1.0, 1.0, 16.0, 1.0]), capped, tf.constant(True))
    assert float(balance.scales()["soft"]) == pytest.approx(1.0), "it may rise again"


def test_without_a_cap_shares_are_only_reported():
    balance = connected()
    balance.guard(tf.constant([9.0, 1.0, 1.0, 16.0, 1.0]), dict.fromkeys(TASKS, 1.0), tf.constant(True))
    assert numbers(balance.scales()) == dict.fromkeys(TASKS, 1.0)
    assert numbers(balance.shares()) == pytest.approx({"soft": 0.75, "hint": 0.25, "guide_soft": 1.0})


def test_a_share_of_the_gradient_is_held():
    balance = connected("gradient_share")
    chosen = {"soft": 0.5, "hint": 0.1, "guide_soft": 0.2}
    squares = tf.constant([9.0, 1.0, 1.0, 16.0, 1.0])

    def weights():
        return {name: chosen[name] * float(scale) for name, scale in balance.scales().items()}

    balance.guard(squares, weights(), tf.constant(True))
    # |task| / |term|: 4 / 3, 4 / 1, and the guide's 1 / 1.
    assert numbers(balance.scales()) == pytest.approx({"soft": 4 / 3, "hint": 4.0, "guide_soft": 1.0})
    assert numbers(balance.shares()) == pytest.approx(chosen)
    balance.guard(tf.constant([9.0, 1.0, 1.0, 16.0, 1.0]), weights(), tf.constant(False))
    assert float(balance.scales()["hint"]) == pytest.approx(4.0), "it was not due"
    # The hint's gradient is a quarter: its scale goes half of the way, in logarithms, from 4 to 16.
    balance.guard(tf.constant([9.0, 1 / 16, 1.0, 16.0, 1.0]), weights(), tf.constant(True))
    assert numbers(balance.scales()) == pytest.approx({"soft": 4 / 3, "hint": 8.0, "guide_soft": 1.0})
    assert float(balance.shares()["hint"]) == pytest.approx(0.1 * 8 / 16)
    # A term without a gradient keeps its scale.
    balance.guard(tf.constant([9.0, 0.0, 1.0, 16.0, 1.0]), weights(), tf.constant(True))
    assert float(balance.scales()["hint"]) == pytest.approx(8.0)


def test_a_share_of_the_gradient_has_limits():
    balance = connected("gradient_share", gradient_cap=0.25)
    weights = {"soft": 0.5, "hint": 0.1, "guide_soft": 0.2}
    balance.guard(tf.constant([1e-8, 1.0, 1.0, 16.0, 1.0]), weights, tf.constant(True))
    # 4 / 1e-4 is over the limit of a scale. Hint and guide: 0.1 and 0.2 are under the cap.
    assert numbers(balance.scales()) == pytest.approx({"soft": LARGEST_SCALE, "hint": 4.0, "guide_soft": 1.0})
    balance = connected("gradient_share", gradient_cap=0.25)
    balance.guard(tf.constant([1.0, 1.0, 1.0, 16.0, 1.0]), weights, tf.constant(True))
    assert float(balance.scales()["soft"]) == pytest.approx(4.0 * 0.5), "0.5 is capped to 0.25"
    assert float(balance.shares()["soft"]) == pytest.approx(0.25)


def test_terms_without_a_gradient_leave_no_mark():
    balance = connected(gradient_cap=1.0)
    balance.guard(tf.zeros(5), dict.fromkeys(TASKS, 1.0), tf.constant(True))
    assert numbers(balance.scales()) == dict.fromkeys(TASKS, 1.0)
    assert numbers(balance.shares()) == dict.fromkeys(TASKS, 0.0)


def test_a_balance_belongs_to_one_distiller():
    balance = connected()
    with pytest.raises(MkdError, match="balance: expected a Balance that no other Distiller has"):
        balance.connect(TASKS)
    assert [v.path for v in balance.variables] == [
        f"balance/{n}" for n in ("sums", "scales", "caps", "shares")
    ]


def test_shares_in_a_step_are_the_gradients_at_the_taps():
    strategies = [SoftClasses(2.0), AttentionMap(0.5)]
    made = Distiller(scene.detector(), scene.detector(64, 1), strategies=strategies)
    made.compile(optimizer=keras.optimizers.SGD(0.0), jit_compile=False)
    batch = tf.nest.map_structure(tf.constant, scene.batch(64))
    with tf.GradientTape(persistent=True) as tape:
        outputs = {
            "teacher": made.teacher(batch["images"]),
            "student": made.student(batch["images"], training=True),
        }
        terms = made.objective.terms(outputs, batch["targets"])
        means = {name: tf.reduce_mean(term) for name, term in terms.items()}
        task = means["class"] + means["box"]

    taps = [outputs["student"][name] for name in tap_names(outputs["student"])]

    def norm(value):
        gradients = [g for g in tape.gradient(value, taps) if g is not None]
        return np.sqrt(sum((g.numpy() ** 2).sum() for g in gradients))

    logs = made.fit(
        scene.endless(scene.batch(64)), epochs=1, steps_per_epoch=1, verbose=0, shuffle=False
    ).history
    for name, weight in {"soft_classes": 2.0, "attention_map": 0.5}.items():
        expected = weight * norm(means[name]) / norm(task)
        # The first step reports what the guard saw in that step.
        assert logs[f"share_{name}"][0] == pytest.approx(expected, rel=1e-3)


def test_a_calibrated_guarded_run_keeps_its_balance_in_a_file(tmp_path):
    strategies = [SoftClasses(0.5), SoftBoxes(0.5), AttentionMap(0.1)]
    made = Distiller(
        scene.detector(),
        scene.detector(64, 1),
        strategies=strategies,
        steps=40,
        balance="calibrated",
        gradient_cap=0.2,
        warmup_steps=3,
    )
    assert (made.balance.begin, made.balance.end) == (3, 5)
    made.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=False)
    data = scene.endless(scene.batch(64))
    logs = made.fit(data, epochs=8, steps_per_epoch=1, shuffle=False, verbose=0).history
    assert float(made.balance._scales[0]) != 1.0
    assert (np.array(logs["share_soft_classes"])[1:] < 0.2001).all()
    made.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras", safe_mode=True)
    assert (again.balance.mode, again.balance.gradient_cap, again.balance.end) == ("calibrated", 0.2, 5)
    for mine, theirs in zip(made.balance.variables, again.balance.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balance": "auto"}, "balance: expected one of fixed, calibrated"),
        ({"gradient_cap": -1.0}, "gradient_cap: expected"),
        ({"learn_guide": True}, "learn_guide: expected a guide that learns"),
    ],
)
def test_wrong_options_are_told(options, message):
    with pytest.raises(MkdError, match=message):
        Distiller(scene.detector(), **options)
