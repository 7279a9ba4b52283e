"""Finds the Keras layer that a tensor of a TFLite file comes from, by their names."""

import re
from collections.abc import Mapping, Sequence

import keras


def keras_names(model: keras.Model) -> list[str]:
    """Returns the names of all layers, those of nested models included, in the order of the graph."""
    names: list[str] = []
    for layer in model.layers:
        names += [layer.name, *(keras_names(layer) if isinstance(layer, keras.Model) else [])]
    return names


def keras_layer(tensor: str, names: Mapping[str, int]) -> str | None:
    """Returns the first Keras layer of those fused into a tensor, None where there is none.

    Args:
      tensor: its name, as in `core_1/stem_relu_1/Relu6;core_1/stem_conv_1/convolution`;
        TensorFlow counts the calls of a layer behind its name.
      names: every layer's place in the graph.
    """
    found = set()
    for piece in re.split("[;/]", tensor):
        candidates = (re.sub(r"_\d+$", "", piece), piece)
        found |= set([name for name in candidates if name in names][:1])
    return min(found, key=lambda name: names[name], default=None)


def last_part(tensor: str) -> str:
    """Returns the name of a tensor that comes from no Keras layer."""
    return re.split("[;/]", tensor)[-1]


def unique(names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> list[str]:
    """Makes names unique: `head@24x24` where one occurs twice, then `head@24x24#2`.

    Args:
      names: of the layers.
      shapes: the map's size of each, `(H, W)`.
    """
    given: list[str] = []
    for name, shape in zip(names, shapes, strict=True):
        size = "x".join(str(side) for side in shape)
        longer = f"{name}@{size}" if names.count(name) > 1 and size else name
        times = sum(other.split("#")[0] == longer for other in given)
        given.append(f"{longer}#{times + 1}" if times else longer)
    return given
