"""RetinaNet detectors of keras-hub: all that they say about themselves is read from them.

The network is put together again from its own layers at a static size: the layers of image
encoder, feature pyramid and heads are shared with the detector, not copied, and all are
Keras's own unless the encoder has others, so that a file of it is loaded without keras-hub.
Images come in -1..1, as to every core of this package, and one layer turns them into what
the detector's image converter makes of 0..255, per channel.

keras-hub's own decoding takes deltas (tx, ty, tw, th) of variance 1 whatever the label
encoder trained; where the two differ only the user knows which is right.

Reference: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017 (RetinaNet).
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mkd_tf.checks import fail
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detectors.adapted import AdaptedDetector, adapt

_WHERE = "from_keras_hub"
_SHAPE_OF_ANCHORS = ("min_level", "max_level", "num_scales", "aspect_ratios", "anchor_size")
_HALF = 127.5  # Images in -1..1 times this, plus this, are in 0..255.


def from_keras_hub(
    detector: Any,
    class_names: Sequence[str | None],
    *,
    image_size: int | None = None,
    scale: float | Sequence[float] | None = None,
    offset: float | Sequence[float] | None = None,
    box_coder: str | None = None,
    name: str = "keras_hub",
) -> AdaptedDetector:
    """Makes a detector of a `keras_hub.models.RetinaNetObjectDetector`.

    Anchors, box coder, background and image normalisation are read from it; its pyramid
    becomes the taps P3 to P7, its encoder's maps C3 to C5. Resizing is not: the detector
    sees images as this package brings them to its input.

    Args:
      detector: of keras-hub, with its weights; they are shared with the result.
      class_names: of its `num_classes` columns, in the order of its labels; None for a column
        without a class, as the numbers that COCO skips in 91 columns.
      image_size: side of the square input in pixels; None for that of the detector or its
        preprocessor.
      scale, offset: from images in 0..255 to the detector's input, one or one per channel; None
        for those of its preprocessor.
      box_coder: a spec of `BOX_CODERS` in place of what is read.
      name: of the detector.

    Raises:
      MkdError: without keras-hub, for another kind of detector, or if it contradicts itself.

    Example:
      >>> import mkd_tf
      >>> try:
      ...     mkd_tf.from_keras_hub("retinanet_resnet50_fpn_coco", class_names=("cat", "dog"))
      ... except mkd_tf.MkdError as error:
      ...     print(str(error).partition(". ")[2])
      Load it first, as in keras_hub.models.ObjectDetector.from_preset('retinanet_resnet50_fpn_coco').
      >>> hub = keras_hub.models.ObjectDetector.from_preset(...)  # doctest: +SKIP
      >>> teacher = mkd_tf.from_keras_hub(hub, class_names=hub_names, image_size=640)  # doctest: +SKIP
    """
    if isinstance(detector, str):
        do = f"Load it first, as in keras_hub.models.ObjectDetector.from_preset({detector!r})."
        fail(f"detector of {_WHERE}", expected="a detector of keras-hub", got="a string", do=do)
    try:
        import keras_hub
    except ImportError as error:
        do = "Install it with: pip install mkd_tf[hub]"
        fail(_WHERE, expected="the package keras-hub", got=str(error), do=do)
    if not isinstance(detector, keras_hub.models.RetinaNetObjectDetector):
        expected, do = "a RetinaNetObjectDetector, which predicts at anchors", _other_way(detector)
        fail(f"detector of {_WHERE}", expected=expected, got=type(detector).__name__, do=do)
    if not isinstance(detector.backbone, keras_hub.models.RetinaNetBackbone):
        got = type(detector.backbone).__name__
        do = "Use mkd_tf.adapt with box_coder='keras_hub', and name its outputs and anchors."
        fail(f"backbone of {_WHERE}", expected="a RetinaNetBackbone", got=got, do=do)
    if keras.activations.get(detector.activation) is keras.activations.sigmoid:
        # keras-hub applies no activation and takes the head's numbers for probabilities.
        got, do = (
            "sigmoid, which keras-hub does not apply",
            "Set detector.activation = None if it has logits.",
        )
        fail(f"activation of {_WHERE}", expected="a head that writes logits", got=got, do=do)
    side = _image_size(detector, image_size)
    model = _model(detector, side, *_normalization(detector, scale, offset))
    background = int(detector.label_encoder.background_class)
    return adapt(
        model,
        anchors=_anchors(detector, side),
        class_names=_names(detector, class_names, background >= 0),
        class_logits="cls_logits",
        box_encodings="bbox_regression",
        taps={key: model.output[key] for key in model.output if key[0] in "CP"},
        scale=1 / _HALF,
        offset=-1.0,
        name=name,
        box_coder=box_coder or _coder(detector),
        background=background if background >= 0 else None,
    )


def _other_way(detector: Any) -> str:
    """Returns what to do with a detector of another kind."""
    if "DFine" in type(detector).__name__:
        return (
            "D-FINE predicts a set of boxes without anchors; it can teach by its detections alone: write "
            "them as COCO results and pass that file as the teacher (docs/foreign_heads.md)."
        )
    return "Give a keras_hub.models.RetinaNetObjectDetector, or use mkd_tf.adapt for another Keras model."


def _image_size(detector: Any, wanted: int | None) -> int:
    """Returns the side of the square input that the detector is built for."""
    backbone = detector.backbone
    own = tuple(backbone.image_shape[:2])
    if None in own:
        converter = getattr(detector.preprocessor, "image_converter", None)
        own = tuple(getattr(converter, "image_size", None) or ()) if wanted is None else (wanted, wanted)
    elif wanted not in (None, own[0]):
        do = "Leave image_size out, or build the backbone with image_shape=(None, None, 3)."
        fail(f"image_size of {_WHERE}", expected=f"{own[0]}, the backbone's own", got=str(wanted), do=do)
    largest = max(int(level[1:]) for level in backbone.image_encoder.pyramid_outputs)
    step = 2 ** min(largest, backbone.max_level)
    if len(set(own)) != 1 or own[0] <= 0 or own[0] % step:
        got, do = " x ".join(map(str, own)) or "none", f"Pass image_size, for example {step * 10}."
        fail(f"image_size of {_WHERE}", expected=f"a square of a multiple of {step} px", got=got, do=do)
    return int(own[0])


def _normalization(detector: Any, scale: Any, offset: Any) -> tuple[Any, Any]:
    """Returns factor and offset, one or one per channel, from 0..255 to the detector's input."""
    if scale is not None or offset is not None:
        return 1.0 if scale is None else scale, 0.0 if offset is None else offset
    converter = getattr(detector.preprocessor, "image_converter", None)
    if converter is None:
        do = "Pass scale and offset from 0..255 to what it was trained on; scale=1.0 for 0..255 themselves."
        expected = "a preprocessor with an image converter, which says how images are normalised"
        fail(f"preprocessor of {_WHERE}", expected=expected, got="none", do=do)
    return (
        1.0 if converter.scale is None else converter.scale,
        0.0 if converter.offset is None else converter.offset,
    )


def _model(detector: Any, side: int, scale: Any, offset: Any) -> keras.Model:
    """Returns the detector's network from images in -1..1 to its outputs and its maps."""
    images = keras.Input((side, side, 3), name="scaled_images")
    factor, shift = np.asarray(scale, "float64") * _HALF, np.asarray(offset, "float64")
    layer = keras.layers.Rescaling(factor.tolist(), (shift + factor).tolist(), name="normalisation")
    backbone, normalised = detector.backbone, layer(images)
    encoder = backbone.image_encoder
    levels = [f"P{n}" for n in range(backbone.min_level, backbone.max_level + 1)]
    deep = {level: encoder.pyramid_outputs[level] for level in levels if level in encoder.pyramid_outputs}
    deep = keras.Model(encoder.inputs, deep, name="encoder")(normalised)
    maps = _pyramid(backbone.feature_pyramid, deep, levels)
    outputs = {}
    for name, head, size in (
        ("cls_logits", detector.classification_head, detector.num_classes),
        ("bbox_regression", detector.box_head, 4),
    ):
        tower = _tower(head, maps[levels[0]].shape[-1], name)
        parts = [keras.layers.Reshape((-1, size))(tower(maps[level])) for level in levels]
        outputs[name] = keras.layers.Concatenate(axis=1)(parts)
    taps = {level.replace("P", "C"): value for level, value in deep.items()} | maps
    model = keras.Model(images, outputs | taps, name="retinanet")
    _check_same(keras.Model(images, normalised), detector, model)
    return model


def _pyramid(pyramid: Any, deep: dict[str, Any], levels: Sequence[str]) -> dict[str, Any]:
    """Returns what the `FeaturePyramid` computes of the encoder's maps, in layers of Keras alone."""

    def normalised(layers: Any, level: str, x: Any) -> Any:
        return layers[level](x) if pyramid.use_batch_norm else x

    maps: dict[str, Any] = {}
    above = None
    for level in reversed(list(deep)):
        x = pyramid.lateral_conv_layers[level](deep[level])
        x = x if above is None else pyramid.merge_op([x, pyramid.top_down_op(above)])
        above = maps[level] = normalised(pyramid.lateral_batch_norm_layers, level, x)
    for level in deep:
        maps[level] = pyramid.output_conv_layers[level](maps[level])
    last = list(deep)[-1]
    x = deep[last] if pyramid.use_p5 else maps[last]
    for level in levels[len(deep) :]:
        x = pyramid.output_conv_layers[level](x)
        x = maps[level] = normalised(pyramid.output_batch_norms, level, x)
        x = keras.layers.Activation(pyramid.activation)(x)
    return {level: maps[level] for level in levels}


def _tower(head: Any, channels: int, name: str) -> keras.Model:
    """Returns a `PredictionHead` in layers of Keras alone: keras-hub's own cannot be loaded from a file."""
    x = inputs = keras.Input((None, None, channels))
    for number, convolution in enumerate(head.conv_layers):
        x = convolution(x)
        x = head.group_norm_layers[number](x) if head.use_group_norm else x
        x = keras.layers.Activation(head.activation)(x)
    return keras.Model(inputs, head.prediction_layer(x), name=f"{name}_head")


def _check_same(normalisation: keras.Model, detector: Any, model: keras.Model) -> None:
    """Raises `MkdError` unless both compute the same: keras-hub may have changed since this was written."""
    images = np.random.default_rng(0).uniform(-1, 1, (1, *model.input_shape[1:])).astype("float32")
    ours, theirs = model(images, training=False), detector(normalisation(images), training=False)
    for name in ("cls_logits", "bbox_regression"):
        a, b = (keras.ops.convert_to_numpy(found[name]).astype("float64") for found in (ours, theirs))
        if a.shape != b.shape or np.abs(a - b).max() > 1e-3 * max(1.0, np.abs(b).max()):
            got, do = f"other values of {name}", "Use the versions in constraints.txt."
            fail(_WHERE, expected="the network that the detector runs", got=got, do=do)


def _anchors(detector: Any, side: int) -> Anchors:
    """Returns the anchors of the detector's own generator."""
    generator = detector.anchor_generator
    levels = generator(np.zeros((1, side, side, 3), "float32"))
    convert = keras.utils.bounding_boxes.convert_format
    form = {"source": generator.bounding_box_format, "target": "yxyx", "height": side, "width": side}
    boxes = [keras.ops.convert_to_numpy(convert(level, **form)) for level in levels.values()]
    return Anchors.from_boxes(np.concatenate(boxes), side, [len(level) for level in boxes])


def _names(detector: Any, names: Sequence[str | None], has_background: bool) -> tuple[str | None, ...]:
    """Returns the names, of which there must be one for each column but the background."""
    names = tuple(names)
    count = detector.num_classes - has_background
    if len(names) != count:
        do = "Give one for each label number, in order, and None for a number without a class."
        if count == 91:
            do += " The names of COCO's 91 numbers are keras_hub.utils.coco_id_to_name(number)."
        fail(f"class_names of {_WHERE}", expected=f"{count} names", got=str(len(names)), do=do)
    return names


def _coder(detector: Any) -> str:
    """Returns the box coder with which keras-hub decodes the detector's boxes.

    Raises:
      MkdError: if its label encoder trained it otherwise.
    """
    encoder, generator = detector.label_encoder, detector.anchor_generator
    variance = tuple(float(v) for v in encoder.box_variance)
    trained = f"{encoder.encoding_format} of variance {variance}"
    if trained != (read := f"center_xywh of variance {(1.0,) * 4}"):
        order, weights = encoder.encoding_format[-4:], tuple(1 / v for v in variance)
        theirs = f"keras_hub(variance={variance})" if order == "xywh" else f"ssd(weights={weights})"
        do = (
            f'Pass box_coder="{theirs}" if this label encoder has trained the weights, box_coder="keras_hub" '
            "if its predict() shows the boxes at the right places."
        )
        expected = f"boxes written as its predict() reads them, {read}"
        fail(f"label_encoder of {_WHERE}", expected=expected, got=f"targets in {trained}", do=do)
    decoded, learnt = (
        [np.ravel(getattr(g, key)).tolist() for key in _SHAPE_OF_ANCHORS]
        for g in (generator, encoder.anchor_generator)
    )
    if decoded != learnt:
        expected, do = f"the anchors of the detector, {decoded}", "Give both the same anchor generator."
        fail(f"label_encoder of {_WHERE}", expected=expected, got=str(learnt), do=do)
    return "keras_hub"
