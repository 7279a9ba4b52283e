"""RetinaNet detectors of keras-hub: read as they are, equal to keras-hub's own decoding, and teaching.

keras-hub is an extra; tests that need it are skipped without it.
"""

import json
import re
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import mkd_tf
from mkd_tf.checks import MkdError
from mkd_tf.detection import boxes as box_math
from mkd_tf.detection import targets as target_math
from mkd_tf.detectors.files import load_detector, save_detector

SIDE, NAMES = 64, ("cat", "dog")
SCALE, OFFSET = (0.016, 0.017, 0.018), (-2.1, -2.0, -1.8)


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("keras_hub", reason="keras-hub is not installed (pip install mkd_tf[hub])")


@pytest.fixture(scope="module")
def encoder(hub):
    sizes = {"stackwise_num_filters": [64, 32, 32, 32], "stackwise_num_blocks": [1, 1, 1, 1]}
    stem = {"input_conv_filters": [64], "input_conv_kernel_sizes": [7], "stackwise_num_strides": [1, 2, 2, 2]}
    keras.utils.set_random_seed(0)
    return hub.models.ResNetBackbone(**sizes, **stem, block_type="basic_block")


def build(hub, encoder, backbone=None, preprocessor="own", background=None, **options):
    """A RetinaNet whose boxes are as after training: of about the anchors' size."""
    levels = {"min_level": 3, "max_level": 5, "use_p5": False} | (backbone or {})
    network = hub.models.RetinaNetBackbone(image_encoder=encoder, **levels)
    if preprocessor == "own":
        converter = hub.layers.RetinaNetImageConverter(image_size=(SIDE, SIDE), scale=SCALE, offset=OFFSET)
        preprocessor = hub.models.RetinaNetObjectDetectorPreprocessor(image_converter=converter)
    keras.utils.set_random_seed(1)
    options = {"num_classes": 2, "pre_logits_num_conv_layers": 1} | options
    made = hub.models.RetinaNetObjectDetector(backbone=network, preprocessor=preprocessor, **options)
    if background is not None:
        made.label_encoder.background_class = background
    last = made.box_head.prediction_layer
    last.set_weights([w * factor for w, factor in zip(last.get_weights(), (0.1, 0.0), strict=True)])
    return made


@pytest.fixture(scope="module")
def detector(hub, encoder):
    return build(hub, encoder)


@pytest.fixture(scope="module")
def teacher(detector):
    return mkd_tf.from_keras_hub(detector, NAMES)


def images(count=2):
    return np.random.default_rng(0).uniform(0, 255, (count, SIDE, SIDE, 3)).astype("float32")


def test_it_is_read_as_it_is(detector, teacher):
    assert (teacher.image_size, teacher.class_names) == (SIDE, NAMES)
    assert teacher.anchors.level_counts == (576, 144, 36)  # nine in each cell
    assert teacher.scaling == (1 / 127.5, -1.0)
    assert set(teacher.output) == {"class_logits", "box_encodings", "C3", "C4", "C5", "P3", "P4", "P5"}
    ours = {id(v) for v in teacher.trainable_variables}
    assert ours == {id(v) for v in detector.trainable_variables}
    found = teacher(images())
    pixels = detector.preprocessor(images())
    np.testing.assert_allclose(found["class_logits"], detector(pixels)["cls_logits"], atol=1e-4)
    np.testing.assert_allclose(found["P5"], detector.backbone(pixels)["P5"], atol=1e-4)


def test_its_boxes_are_those_of_keras_hub(detector, teacher):
    pixels = detector.preprocessor(images())
    raw, anchors = detector(pixels), detector.anchor_generator(pixels)
    theirs = keras.utils.bounding_boxes.decode_deltas_to_boxes(
        anchors=keras.ops.concatenate(list(anchors.values()), axis=0),
        boxes_delta=raw["bbox_regression"],
        anchor_format=detector.anchor_generator.bounding_box_format,
        box_format="yxyx",
        encoded_format="center_xywh",
        image_shape=(SIDE, SIDE, 3),
    )
    found = teacher(images())
    ours = np.asarray(box_math.decode(found["box_encodings"], teacher.anchors.centers_and_sizes()))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    moved = np.abs(ours - teacher.anchors.boxes)
    assert np.median(moved) > 1.0  # They are no longer the anchors.
    # What keras-hub shows in the end is among them, with its score.
    shown = {name: np.asarray(v) for name, v in detector.decode_predictions(raw, pixels).items()}
    scores = 1 / (1 + np.exp(-np.asarray(found["class_logits"]).max(-1)))
    for image in range(2):
        assert shown["num_detections"][image] > 5
        for number in range(shown["num_detections"][image]):
            distance = np.abs(ours[image] - shown["boxes"][image, number]).max(-1)
            assert distance.min() < 1e-4
            score = scores[image, distance.argmin()]
            assert abs(score - shown["confidence"][image, number].max()) < 1e-5


def test_a_file_of_it_needs_no_keras_hub(teacher, tmp_path):
    assert "keras_hub." not in json.dumps(keras.saving.serialize_keras_object(teacher))
    save_detector(teacher, tmp_path / "teacher.keras")
    again, expected = load_detector(tmp_path / "teacher.keras"), teacher(images())
    for name, value in again(images()).items():
        np.testing.assert_array_equal(value, expected[name])


def test_it_teaches_a_student_of_ours(teacher):
    keras.utils.set_random_seed(0)
    student = mkd_tf.Tiny(SIDE, NAMES, widths=(8, 8, 8, 8), pyramid=8)
    taught = [mkd_tf.SoftClasses(), mkd_tf.SoftBoxes(), mkd_tf.AttentionMap(weight=0.1)]
    distiller = mkd_tf.Distiller(student, teacher, strategies=taught)
    distiller.compile(optimizer=keras.optimizers.Adam(5e-3), run_eagerly=True)
    box = np.float32([[[8, 8, 40, 40]]])
    assigned = target_math.assign(
        student.anchors, box, np.zeros((1, 1), "int32"), np.ones((1, 1), "float32"), 2
    )
    batch = {"images": images(1), "targets": {"student": assigned | {"known": tf.ones(1)}}}
    data, before = tf.data.Dataset.from_tensors(batch).repeat(), teacher.get_weights()
    history = distiller.fit(data, epochs=4, steps_per_epoch=1, shuffle=False, verbose=0).history
    for name in ("soft_classes", "soft_boxes", "attention_map"):
        assert 0 < history[name][-1] < history[name][0], name
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_other_forms_compute_the_same(hub, encoder):
    """More levels, norms everywhere, another format of boxes; the networks are compared when it is made."""
    backbone = {"max_level": 7, "use_p5": True, "use_fpn_batch_norm": True}
    other = build(hub, encoder, backbone, bounding_box_format="xywh", use_prediction_head_norm=True)
    made = mkd_tf.from_keras_hub(other, NAMES)
    assert made.anchors.level_counts == (576, 144, 36, 9, 9)
    assert set(made.output) >= {"C5", "P6", "P7"} and "C6" not in made.output
    np.testing.assert_allclose(
        made.anchors.boxes[0], [-11, -23, 11, 23], atol=0.5
    )  # y before x, twice as wide


def test_a_background_of_its_own_is_left_out(hub, encoder):
    made = mkd_tf.from_keras_hub(build(hub, encoder, num_classes=3, background=0), (None, "dog"))
    assert made.class_names == ("dog",)
    assert made.output["class_logits"].shape[-1] == 1


def test_what_contradicts_itself_is_refused(hub, detector, encoder, monkeypatch):
    def refused(message, names=NAMES, size=None, **attributes):
        with monkeypatch.context() as changed, pytest.raises(MkdError, match=message):
            for path, value in attributes.items():
                owner, _, name = path.rpartition("__")
                changed.setattr(getattr(detector, owner) if owner else detector, name, value)
            mkd_tf.from_keras_hub(detector, names, image_size=size)

    refused("class_names of from_keras_hub: expected 2 names, got 3", names=("a", "b", "c"))
    refused("preprocessor of .*how images are normalised, got none. Pass scale", preprocessor=None, size=64)
    refused("image_size of from_keras_hub: expected a square of .* 32 px, got none", preprocessor=None)
    refused("image_size of from_keras_hub: .* got 80 x 80. Pass image_size, for example 320", size=80)
    refused(
        r"label_encoder of .* got targets in center_xywh of variance \(0.1, 0.1, 0.2, 0.2\)\. "
        r'Pass box_coder="keras_hub\(variance=\(0.1, 0.1, 0.2, 0.2\)\)"',
        label_encoder__box_variance=[0.1, 0.1, 0.2, 0.2],
    )
    refused(
        r'got targets in center_yxhw .*box_coder="ssd\(weights=\(1.0, 1.0, 1.0, 1.0\)\)"',
        label_encoder__encoding_format="center_yxhw",
    )
    other = hub.layers.AnchorGenerator("yxyx", 3, 5, 3, [0.5, 1.0, 2.0], 6.0)
    refused(
        "label_encoder of .*expected the anchors of the detector, .*6.0",
        label_encoder__anchor_generator=other,
    )
    refused("activation of from_keras_hub: .* got sigmoid", activation=keras.activations.sigmoid)
    with pytest.raises(MkdError, match="detector of from_keras_hub: .* got ResNetBackbone. Give a keras_hub"):
        mkd_tf.from_keras_hub(encoder, NAMES)
    d_fine = type("DFineObjectDetector", (), {})()
    with pytest.raises(
        MkdError, match="got DFineObjectDetector. D-FINE predicts a set of boxes without anchors"
    ):
        mkd_tf.from_keras_hub(d_fine, NAMES)


def test_what_is_given_replaces_what_is_read(hub, encoder):
    made = build(hub, encoder, preprocessor=None)
    made.label_encoder.box_variance = [0.1, 0.1, 0.2, 0.2]
    options = {"image_size": SIDE, "scale": 1 / 255, "box_coder": "keras_hub(variance=(0.1, 0.1, 0.2, 0.2))"}
    found = mkd_tf.from_keras_hub(made, NAMES, **options)(images())["box_encodings"]
    # Variances 0.1 and 0.2 in the order xy are our own scales in the order yx.
    raw = np.asarray(made(images() / 255)["bbox_regression"])
    np.testing.assert_allclose(found, raw[..., [1, 0, 3, 2]], atol=1e-4)


def test_plain_adapt_does_not_misread_it(hub, encoder):
    made = build(hub, encoder, {"image_shape": (SIDE, SIDE, 3)})
    names = {"class_logits": "cls_logits", "box_encodings": "bbox_regression"}
    anchors = mkd_tf.from_keras_hub(made, NAMES).anchors
    with pytest.raises(MkdError, match="box_coder of adapt: .*Use mkd_tf.from_keras_hub"):
        mkd_tf.adapt(made, anchors=anchors, class_names=NAMES, **names)


def test_without_keras_hub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(MkdError, match=r"from_keras_hub: expected the package keras-hub.*mkd_tf\[hub\]"):
        mkd_tf.from_keras_hub(types.SimpleNamespace(), NAMES)


def test_the_code_of_the_docs_runs(detector):
    text = (Path(__file__).resolve().parents[2] / "docs" / "foreign_heads.md").read_text(encoding="utf-8")
    _, block = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    found = {"theirs": detector, "names": NAMES}
    exec(compile(block, "foreign_heads.md", "exec"), found)  # noqa: S102 (our own file)
    assert found["student"].class_names == NAMES


def test_a_file_with_layers_of_keras_hub_says_so_without_it(tmp_path):
    gate = type("Gate", (keras.layers.ReLU,), {"__module__": "keras_hub.src.models.gates"})
    cell = gate()(inputs := keras.Input((32, 32, 3)))
    cell = keras.layers.Conv2D(6, 32, strides=32)(cell)
    outputs = {
        "class_logits": keras.layers.Reshape((1, 2))(cell[..., :2]),
        "box_encodings": keras.layers.Reshape((1, 4))(cell[..., 2:]),
    }
    anchors = mkd_tf.grid_anchors(32, strides=(32,))
    made = mkd_tf.adapt(keras.Model(inputs, outputs), anchors=anchors, class_names=NAMES)
    save_detector(made, tmp_path / "gate.keras")
    with pytest.raises(MkdError, match=r"gate.keras: expected the package keras-hub.* mkd_tf\[hub\]"):
        load_detector(tmp_path / "gate.keras")
