"""Look-up of tensors in a user's functional model: by output key, by layer name, or given directly.

`Functional._nodes_by_depth` and a node's `operation`, `input_tensors` and `output_tensors` are
private to Keras: nothing public separates one model's calls of a layer from another model's.
"""

import difflib
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias

import keras

from mkd_tf.checks import fail

# An output's key, a layer's name, or the tensor itself.
Reference: TypeAlias = "str | keras.KerasTensor"
# Layers that change the shape of a tensor and not its values.
_FORM_ONLY = (keras.layers.Reshape, keras.layers.Concatenate, keras.layers.Permute)


def refuse(what: str, expected: str, got: str, do: str) -> NoReturn:
    """Raises the `MkdError` about one of the arguments of `adapt`."""
    fail(f"{what} of adapt", expected=expected, got=got, do=do)


def flat_graph(model: keras.Model) -> keras.Model:
    """Returns the graph of a functional or sequential model, sharing its layers and tensors.

    Raises:
      MkdError: if it has no graph.
    """
    try:
        inputs, outputs = model.inputs, model.output
    except (AttributeError, ValueError):
        inputs = outputs = None
    if not isinstance(model, keras.Model) or not inputs or outputs is None:
        do = "Build it as keras.Model(inputs, outputs); a subclassed model has no graph to look into."
        refuse("model", "a functional Keras model", type(model).__name__, do)
    return keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs, name=model.name)


def _calls(graph: keras.Model) -> list[Any]:
    """Returns every call of a layer in the graph, from the outputs to the inputs."""
    return [node for nodes in graph._nodes_by_depth.values() for node in nodes]


def find_tensor(graph: keras.Model, reference: Reference, what: str) -> keras.KerasTensor:
    """Returns the tensor that a reference names in a graph of `flat_graph`.

    Raises:
      MkdError: about `what`, if nothing has that name or it means more than one tensor.
    """
    if isinstance(reference, keras.KerasTensor):
        return reference
    if isinstance(graph.output, dict) and reference in graph.output:
        return graph.output[reference]
    found = [t for n in _calls(graph) if n.operation.name == reference for t in n.output_tensors]
    if len(found) == 1:
        return found[0]
    if found:
        got = f"{reference!r}, which gives {len(found)} tensors"
        refuse(what, "a layer with one output that is called once", got, "Give the KerasTensor itself.")
    if owner := _nested_owner(graph, reference):
        got = f"{reference!r} inside its nested model {owner!r}, whose inner tensors cannot be reached"
        do = (
            f"Let {owner!r} return it as a further output and give that KerasTensor, or call its layers "
            "on the outer input (in keras.applications: input_tensor=)."
        )
        refuse(what, "a layer of the model itself", got, do)
    keys = list(graph.output) if isinstance(graph.output, dict) else []
    names = [*keys, *(layer.name for layer in graph.layers)]
    near = difflib.get_close_matches(str(reference), names, n=3, cutoff=0.4)
    do = f"Near it: {', '.join(near)}." if near else f"There are {', '.join(names)}."
    refuse(what, "the key of an output, the name of a layer, or a KerasTensor", repr(reference), do)


def _nested_owner(model: keras.Model, reference: Any) -> str:
    """Returns the name of the nested model that has a layer of that name; empty if none has."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            is_owner = any(inner.name == reference for inner in layer.layers)
            if owner := layer.name if is_owner else _nested_owner(layer, reference):
                return owner
    return ""


def connected(
    graph: keras.Model, outputs: Mapping[str, keras.KerasTensor], titles: Mapping[str, str]
) -> keras.Model:
    """Returns the functional model from the graph's input to `outputs`, which errors call by `titles`.

    Raises:
      MkdError: if one of them is not computed from the input.
    """
    for name, tensor in outputs.items():
        # A tensor computed from the model's outputs later is allowed too: Keras itself decides.
        try:
            keras.Model(graph.inputs[0], tensor, name="core")
        except ValueError:
            expected = f"a tensor that follows from the input of {graph.name}"
            do = "Give a tensor of this model; inner tensors of a nested model belong to that one."
            refuse(titles[name], expected, "one of another model", do)
    return keras.Model(graph.inputs[0], dict(outputs), name="core")


def check_no_activation(graph: keras.Model, tensor: keras.KerasTensor, what: str) -> None:
    """Raises `MkdError` if a sigmoid or softmax has turned logits into probabilities."""
    makers = {id(t): node for node in _calls(graph) for t in node.output_tensors}
    waiting = [tensor]
    while waiting:
        node = makers.get(id(waiting.pop()))
        if node is None:
            continue
        operation = node.operation
        if isinstance(operation, _FORM_ONLY):
            waiting += node.input_tensors
            continue
        kind = getattr(getattr(operation, "activation", None), "__name__", type(operation).__name__.lower())
        if kind in ("sigmoid", "softmax"):
            got = f"layer {operation.name!r}, which ends in a {kind}"
            do = "Take the output before it, or leave its activation out."
            refuse(what, "logits, before any activation", got, do)
