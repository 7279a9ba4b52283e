"""Names of layers, from names of tensors as the converter writes them."""

import keras
import pytest

from mkd_tf.diagnosis.layer_names import keras_layer, keras_names, last_part, unique

FUSED = "core_1/stem_relu_1/Relu6;core_1/stem_bn_1/batchnorm/add_1;core_1/stem_conv_1/convolution"


@pytest.mark.parametrize(
    ("tensor", "names", "found"),
    [
        (FUSED, ["stem_conv", "stem_bn", "stem_relu"], "stem_conv"),
        ("core_1/head_5/BiasAdd;core_1/head_1/Squeeze", ["stem", "head"], "head"),
        ("core_1/block_1_1/convolution", ["block", "block_1"], "block_1"),
        ("core/block_1/convolution", ["block_1"], "block_1"),
        ("Sigmoid", ["stem"], None),
    ],
)
def test_the_first_of_the_fused_layers_gives_its_name(tensor, names, found):
    assert keras_layer(tensor, {name: i for i, name in enumerate(names)}) == found


def test_layers_of_nested_models_are_known():
    inner = keras.Sequential([keras.layers.ReLU(name="within")], name="inner")
    images = keras.Input((4,))
    model = keras.Model(images, keras.layers.ReLU(name="behind")(inner(images)))
    names = keras_names(model)
    assert names.index("inner") < names.index("within") < names.index("behind")


def test_no_two_layers_share_a_name():
    names = ["stem", "head", "head", "head", "add"]
    shapes = [(8, 8), (4, 4), (2, 2), (2, 2), ()]
    assert unique(names, shapes) == ["stem", "head@4x4", "head@2x2", "head@2x2#2", "add"]
    assert unique(["a", "a"], [(), ()]) == ["a", "a#2"]
    assert last_part("x/y;z/concat") == "concat"
