"""What adapt refuses about heads, since it would train without an error and teach nonsense."""

import keras
import numpy as np
import pytest
from keras import layers

from mkd_tf.checks import MkdError
from mkd_tf.detection.anchors import grid_anchors
from mkd_tf.detectors import adapt

SIDE = 32
GRID = grid_anchors(SIDE, (4,))  # 64 anchors


def model_of(columns=3, box_columns=4, end=None):
    keras.utils.set_random_seed(0)
    images = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 3, 4, "same", activation="relu")(images)
    classes = layers.Reshape((-1, columns))(layers.Conv2D(columns, 1)(x))
    classes = classes if end is None else end(classes)
    boxes = layers.Reshape((-1, box_columns))(layers.Conv2D(box_columns, 1)(x))
    return keras.Model(images, {"class_logits": classes, "box_encodings": boxes})


def adapted(model, **options):
    return adapt(model, **({"anchors": GRID, "class_names": ("cat", "dog"), "scale": 1 / 255} | options))


SOFTMAX = {"activation": "softmax", "background": "first"}


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ({}, {}, r"expected shape \[None, 64, 2\], got .*64, 3\]. If one column is the background"),
        (
            {},
            {"class_names": ("a", "b", "c"), **SOFTMAX},
            "If there is no background class, leave background",
        ),
        ({"columns": 7}, {}, r"It seems to hold boxes and classes together.*output\[..., 4:\]"),
        ({"columns": 9}, {}, r"expected shape \[None, 64, 2\].* Give one name per column"),
        ({}, {"background": "first", "box_coder": "yolo(bins=16)"}, r"box_encodings.*Choose the box_coder"),
        ({"box_columns": 64}, SOFTMAX, r"box_encodings.*needs box_coder='yolo\(bins=16\)'"),
        (
            {},
            {"activation": "softmax"},
            "background of adapt: expected a background class, since.*sum to one",
        ),
        ({}, {"background": "second"}, "background of adapt: expected first, last, a column from 0 to 2"),
        ({}, {"background": True}, "background of adapt: expected first, last.* got True"),
        ({}, {"activation": "relu"}, "activation of adapt: expected one of sigmoid, softmax"),
        (
            {},
            {"class_names": ("background", "cat", "dog")},
            "class_names of adapt: expected names of objects.* pass background='first'",
        ),
        (
            {},
            {"class_names": ("cat", "dog", "__background__")},
            "got '__background__'. Leave .* pass background='last'",
        ),
        ({}, {"class_names": ("cat", "N/A", "N/A")}, "got N/A more than once. Put None for an unused column"),
        ({"columns": 1}, {"class_names": (None,)}, "class_names of adapt: .* got no name"),
        ({}, {"anchors": GRID.boxes[:60]}, r"class_logits of adapt: expected N = 60 rows, one per anchor"),
        ({}, {**SOFTMAX, "box_coder": "yolov3"}, "box_coder: expected one of ssd, efficientdet"),
        (
            {},
            {**SOFTMAX, "box_coder": "yolo", "anchors": GRID.boxes + np.eye(64, 4)},
            "anchors: expected the centres of one square grid per level",
        ),
        (
            {"end": layers.Permute((2, 1))},
            SOFTMAX,
            r"class_logits.*expected shape \[None, 64, 3\], got shape \[None, 3, 64\]. Append .*Permute",
        ),
    ],
)
def test_what_cannot_be_right_is_refused(model, options, message):
    with pytest.raises(MkdError, match=message):
        adapted(model_of(**model), **options)


def test_one_output_cannot_be_both():
    names = ("a", "b", "c", "d")
    with pytest.raises(MkdError, match="box_encodings of adapt: expected another output than class_logits"):
        adapted(model_of(columns=4), class_names=names, box_encodings="class_logits")


@pytest.mark.parametrize("names", [("a", "b", "c", "d"), ("a", "b", "c")])
def test_four_columns_of_classes_are_not_taken_for_boxes(names):
    options = {"class_names": names} | ({} if len(names) == 4 else SOFTMAX)
    model = model_of(columns=4)
    adapted(model, **options)
    swapped = {"class_logits": "box_encodings", "box_encodings": "class_logits"}
    with pytest.raises(
        MkdError, match="'box_encodings' for classes and 'class_logits' for boxes. Both have 4"
    ):
        adapted(model, **options, **swapped)
    # Names that say nothing, or both, are the user's to know.
    plain = keras.Model(model.input, {"a": model.output["class_logits"], "b": model.output["box_encodings"]})
    adapted(plain, **options, class_logits="b", box_encodings="a")


@keras.saving.register_keras_serializable("tests")
class Hidden(layers.Layer):
    """A layer of a user's own, in which an activation cannot be seen."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x):
        return getattr(keras.ops, self.function)(x)


@pytest.mark.parametrize("options", [SOFTMAX, {"class_names": ("a", "b", "c")}])
def test_hidden_probabilities_are_found_by_their_values(options):
    with pytest.raises(
        MkdError, match="expected logits, got values in 0..1 that sum to one.* Take the output"
    ):
        adapted(model_of(end=Hidden("softmax")), **options)
    with pytest.raises(MkdError, match="expected logits, got values that all lie in 0..1"):
        adapted(model_of(end=Hidden("sigmoid")), **options)


def test_a_log_softmax_is_logits_of_a_softmax_alone():
    model = model_of(end=Hidden("log_softmax"))
    found = adapted(model, **SOFTMAX)(np.zeros((1, SIDE, SIDE, 3), "float32"))["class_logits"]
    assert np.isfinite(found).all()
    with pytest.raises(MkdError, match="expected logits of a sigmoid, got logarithms.* activation='softmax'"):
        adapted(model, class_names=("a", "b", "c"))


def test_logits_that_are_all_equal_are_logits():
    model = model_of(end=layers.Rescaling(0.0, offset=0.5))
    assert adapted(model, class_names=("a", "b", "c")).class_names == ("a", "b", "c")


def like_keras_hub(name, base, **attributes):
    """A class that says it is keras-hub's, which is not installed everywhere."""
    return type(name, (base,), {"__module__": f"keras_hub.src.models.{name.lower()}", **attributes})


def test_a_retinanet_of_keras_hub_is_recognised():
    head = like_keras_hub("PredictionHead", layers.Conv2D)
    images = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 3, 4, "same")(images)
    outputs = {
        "cls_logits": layers.Reshape((-1, 2))(head(2, 1)(x)),
        "bbox_regression": layers.Reshape((-1, 4))(head(4, 1)(x)),
    }
    hub = keras.Model(images, outputs)
    inside = keras.Model(images, hub(images))
    names = {"class_logits": "cls_logits", "box_encodings": "bbox_regression"}
    for model in (hub, inside):
        with pytest.raises(MkdError, match="box_coder of adapt: .*Use mkd_tf.from_keras_hub"):
            adapted(model, **names)
        found = adapted(model, **names, box_coder="keras_hub")(np.ones((1, SIDE, SIDE, 3), "float32"))
        raw = np.asarray(model(np.ones((1, SIDE, SIDE, 3), "float32") / 255)["bbox_regression"])
        np.testing.assert_allclose(found["box_encodings"], raw[..., [1, 0, 3, 2]] * [10, 10, 5, 5], atol=1e-5)


def test_a_set_of_boxes_without_anchors_is_refused():
    model = model_of()
    fine = like_keras_hub("DFineObjectDetector", keras.Model)(model.input, model.output)
    with pytest.raises(MkdError, match="model of adapt: expected a detector with anchors, got D-FINE"):
        adapted(fine, **SOFTMAX)
