"""An ensemble answers with the mean of its members' answers."""

import keras
import numpy as np
import pytest

from mkd_tf.checks import MkdError
from mkd_tf.conversion.tflite.convert import to_tflite
from mkd_tf.conversion.tflite.runner import TFLiteRunner
from mkd_tf.detectors.ensemble import Ensemble, mean_predictions
from mkd_tf.evaluation.cost import macs, parameters
from tests import harness, reference

SPEC = "tiny(widths=(8, 8, 8, 8), pyramid=8, tower=0, block='plain')"


def member(seed, spec=SPEC, **options):
    return harness.shake(harness.build(spec, seed=seed, **options), seed)


def logit(p):
    return np.log(p) - np.log(1 - p)


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def predictions(views=3, anchors=4, classes=2, bins=5):
    rng = np.random.default_rng(0)
    return {
        "class_logits": rng.normal(-1, 3, (views, 2, anchors, classes)).astype("float32"),
        "box_encodings": rng.normal(0, 3, (views, 2, anchors, 4)).astype("float32"),
        "box_logits": rng.normal(0, 2, (views, 2, anchors, 4, bins)).astype("float32"),
    }


def test_the_mean_is_what_the_loops_make():
    outputs = predictions()
    found = {name: np.array(x) for name, x in mean_predictions(outputs).items()}
    assert set(found) == set(outputs)
    views, batch, anchors, classes = outputs["class_logits"].shape
    for b in range(batch):
        for n in range(anchors):
            p = [
                [reference.sigmoid(float(z)) for z in outputs["class_logits"][v, b, n]] for v in range(views)
            ]
            mean = np.mean(p, axis=0)
            np.testing.assert_allclose(found["class_logits"][b, n], logit(mean), atol=1e-4)
            share = [max(row) / sum(max(other) for other in p) for row in p]
            box = sum(share[v] * outputs["box_encodings"][v, b, n].astype("float64") for v in range(views))
            np.testing.assert_allclose(found["box_encodings"][b, n], box, atol=1e-4)
            for k in range(4):
                mixture = sum(share[v] * softmax(outputs["box_logits"][v, b, n, k]) for v in range(views))
                np.testing.assert_allclose(softmax(found["box_logits"][b, n, k]), mixture, atol=1e-5)


def test_the_mean_by_hand():
    # Probabilities 0.2 and 0.8 make 0.5; the more_confident one has four fifths of the say about the box.
    logits = np.float32([logit(0.2), logit(0.8)]).reshape(2, 1, 1, 1)
    boxes = np.float32([[10, 0, 5, -5], [0, 10, 5, 5]]).reshape(2, 1, 1, 4)
    found = mean_predictions({"class_logits": logits, "box_encodings": boxes})
    assert set(found) == {"class_logits", "box_encodings"}
    assert float(found["class_logits"][0, 0, 0]) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found["box_encodings"][0, 0], [2, 8, 5, 3], rtol=1e-5)
    # One that is sure of background does not overrule: (0 + 0.5) / 2.
    found = mean_predictions(
        {"class_logits": np.float32([-60, 0]).reshape(2, 1, 1, 1), "box_encodings": boxes}
    )
    assert float(found["class_logits"][0, 0, 0]) == pytest.approx(logit(0.25), abs=1e-5)


def test_extremes_stay_finite():
    for low, high in ((-1e4, 1e4), (-1e4, -1e4), (1e4, 1e4), (-300, -200)):
        outputs = predictions(views=2)
        outputs["class_logits"][0], outputs["class_logits"][1] = low, high
        outputs["box_logits"] *= 1e4
        found = mean_predictions(outputs)
        for name, x in found.items():
            assert np.isfinite(np.array(x)).all(), name
        if high > low:
            np.testing.assert_allclose(found["box_encodings"], outputs["box_encodings"][1], atol=1e-5)


def test_one_member_is_itself():
    one, images = member(1), harness.random_images(2)
    expected, found = one(images, training=False), Ensemble([one])(images)
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4, err_msg=name)


def test_members_are_averaged_and_taps_are_the_firsts():
    members, images = [member(seed) for seed in range(3)], harness.random_images(2)
    ensemble = Ensemble(members)
    outputs = [m(images, training=False) for m in members]
    stacked = {k: np.stack([o[k] for o in outputs]) for k in ("class_logits", "box_encodings")}
    expected = outputs[0] | mean_predictions(stacked)
    # As a teacher it has no training mode, whoever asks for it.
    before = [np.array(v) for v in ensemble.variables]
    for training in (False, True):
        found = ensemble(images, training=training)
        assert set(found) == set(expected)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)
    for a, b in zip(before, ensemble.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (ensemble.image_size, ensemble.class_names) == (members[0].image_size, members[0].class_names)
    assert ensemble.anchors is members[0].anchors


def test_its_cost_is_that_of_all():
    members = [member(0), member(1, "tiny(size='student')")]
    model = Ensemble(members).inference()
    assert set(model.output) == {"class_logits", "box_encodings"}
    assert parameters(model) == sum(parameters(m.inference()) for m in members)
    assert macs(model) == sum(macs(m.inference()) for m in members)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (
            {"num_classes": 2},
            r"member 2 \(tiny\): expected the classes class0, class1, class2, got class0, class1",
        ),
        ({"image_size": 96}, r"member 2 \(tiny\): expected images of 64 px, got 96 px"),
        ({"spec": "tiny(anchor_scale=3.0)"}, r"member 2 \(tiny\): expected the 84 anchors of the first"),
    ],
)
def test_members_that_do_not_go_together_are_told(others, message):
    with pytest.raises(MkdError, match=message):
        Ensemble([member(0), member(1, **others)])


def test_no_member_and_no_core_are_told():
    with pytest.raises(MkdError, match="ensemble: expected one detector or more, got none"):
        Ensemble([])
    with pytest.raises(MkdError, match="core of ensemble: expected a single network"):
        Ensemble([member(0)]).inference_core()


def test_a_float_file_is_the_ensemble_and_an_integer_one_is_refused():
    ensemble, images = Ensemble([member(0), member(1)]), harness.random_images(2).astype("uint8")
    runner = TFLiteRunner(to_tflite(ensemble, "float32", postprocess="raw"))
    expected = ensemble.predict(images.astype("float32"), verbose=0)
    for i, image in enumerate(images):
        for name, values in runner.invoke(image).items():
            np.testing.assert_allclose(values[0], expected[name][i], atol=1e-4, err_msg=name)
    with pytest.raises(MkdError, match="core of ensemble: expected a single network"):
        to_tflite(ensemble, "int8", images, "raw")


def test_distributions_are_averaged_where_all_have_them():
    def with_bins(seed, bins):
        detector = member(seed)
        cells = len(detector.anchors)
        layer = keras.layers.Dense(4 * bins, kernel_initializer=keras.initializers.RandomNormal(seed=seed))
        logits = keras.layers.Reshape((cells, 4, bins))(layer(detector.core.output["box_encodings"]))
        core = keras.Model(detector.core.input, detector.core.output | {"box_logits": logits}, name="core")
        from mkd_tf.detectors.base import Detector

        return Detector(core, detector.anchors, detector.class_names, {"name": f"bins{seed}"})

    images, members = harness.random_images(2), [with_bins(0, 5), with_bins(1, 5)]
    outputs = [m(images, training=False) for m in members]
    names = ("class_logits", "box_encodings", "box_logits")
    expected = mean_predictions({k: np.stack([o[k] for o in outputs]) for k in names})
    np.testing.assert_allclose(Ensemble(members)(images)["box_logits"], expected["box_logits"], atol=1e-4)
    assert "box_logits" not in Ensemble([members[0], with_bins(2, 7)]).output
    assert "box_logits" not in Ensemble([members[0], member(3)]).output
