"""Changes to an ONNX graph after its conversion: names, decoding and metadata."""

import collections
import json
import warnings
from collections.abc import Mapping

import onnx
from onnx import compose

from mkd_tf.conversion.facts import FACTS_KEY, FileFacts
from mkd_tf.conversion.onnx.runner import INPUT, RAW, SCHEMA, SCHEMA_KEY
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.boxes import SCALE_CENTER, SCALE_SIZE

BATCH = "batch"
_TEXTS = {
    INPUT: "RGB images, 0..255, height and width before the channels",
    "class_logits": "before the sigmoid",
    "box_encodings": "ty, tx, th, tw",
    "scores": "0..1, one column per class",
    "boxes": "ymin, xmin, ymax, xmax as fractions of the input, before suppression",
    "detection_boxes": "ymin, xmin, ymax, xmax as fractions of the input",
    "detection_classes": "from 0, in the order of class_names",
    "detection_scores": "0..1, best first",
}


def order(model: onnx.ModelProto, public: Mapping[str, str]) -> None:
    """Brings nodes and constants into an order that follows from the graph alone, in place.

    tf2onnx lists them in an order that differs between processes. Here each node stands as soon
    as its inputs do, walked from the outputs, sorted by public name, back to the inputs. Nodes
    that no output needs are dropped.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output if name}
    constants = {constant.name: constant for constant in graph.initializer}
    outputs = sorted(graph.output, key=lambda entry: public.get(entry.name, entry.name))
    nodes: list[onnx.NodeProto] = []
    used: dict[str, None] = {}
    placed: set[int] = set()
    waiting = [(entry.name, False) for entry in reversed(outputs)]
    while waiting:
        name, inputs_stand = waiting.pop()
        node = makers.get(name)
        if node is None:
            if name in constants:
                used[name] = None
        elif id(node) not in placed and inputs_stand:
            placed.add(id(node))
            nodes.append(node)
        elif id(node) not in placed:
            waiting.append((name, True))
            waiting += [(source, False) for source in reversed(node.input)]
    copied = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    kept = [constants[name] for name in used]
    tensors = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    ports = [onnx.ValueInfoProto.FromString(entry.SerializeToString()) for entry in outputs]
    for field, entries in ((graph.node, copied), (graph.initializer, tensors), (graph.output, ports)):
        del field[:]
        field.extend(entries)


def rename(model: onnx.ModelProto, public: Mapping[str, str]) -> None:
    """Renames every tensor in place: inputs and outputs as in `public`, others by the op that makes them.

    A converter joins the names of all layers that a tensor was folded from; these names
    took a third of an int8 file.

    Args:
      model: whose graph has no subgraphs.
      public: from the present names of inputs and outputs to the new ones.
    """
    graph, names = model.graph, dict(public)
    order(model, public)
    for index, constant in enumerate(graph.initializer):
        names.setdefault(constant.name, f"constant_{index}")
    counts: collections.Counter[str] = collections.Counter()
    for node in graph.node:
        node.name, node.doc_string = f"{node.op_type}_{counts[node.op_type]}", ""
        counts[node.op_type] += 1
        for index, output in enumerate(node.output):
            names.setdefault(output, f"{node.name}:{index}")
    # An input that is not wired has an empty name, and keeps it.
    names[""] = ""
    for node in graph.node:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    for entry in (*graph.initializer, *graph.input, *graph.output):
        entry.name = names[entry.name]
    # Shapes of tensors by their old names; readers infer them.
    del graph.value_info[:]


def in_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a float32 model with float16 weights and operators; inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        # Of weights that are too small or too large for float16, which become the next number.
        warnings.filterwarnings("ignore", message="the float32 number")
        halved: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True)
    rename(halved, {entry.name: entry.name for entry in (*halved.graph.input, *halved.graph.output)})
    return halved


def append(model: onnx.ModelProto, decoding: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a model of raw heads with `decoding` behind it.

    Args:
      model: with the outputs `class_logits` and `box_encodings`.
      decoding: takes them under the same names, and is of the same opset.
    """
    renamed = compose.add_prefix(decoding, "decode/", rename_inputs=True, rename_outputs=False)
    merged = compose.merge_models(model, renamed, io_map=[(name, f"decode/{name}") for name in RAW])
    # The merged model lists the operator sets of both; strict readers refuse duplicates.
    sets = {entry.domain: entry.version for entry in merged.opset_import}
    del merged.opset_import[:]
    merged.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in sets.items())
    return merged


def free_batch(model: onnx.ModelProto) -> None:
    """Gives the batch of all inputs and outputs one name; the converter makes one up for each."""
    for entry in (*model.graph.input, *model.graph.output):
        entry.type.tensor_type.shape.dim[0].dim_param = BATCH


def describe(
    model: onnx.ModelProto, labels: tuple[str, ...], fit: str, anchors: Anchors, *, is_raw: bool
) -> None:
    """Writes the metadata that `conversion.onnx.runner` reads."""
    facts = {
        SCHEMA_KEY: SCHEMA,
        "class_names": json.dumps(labels, ensure_ascii=False),
        "image_size": str(anchors.image_size),
        "fit": fit,
    }
    if is_raw:
        rows = (anchors.centers_and_sizes() / anchors.image_size).astype("float32").tolist()
        # Nine digits are exact to the float32.
        facts["anchors"] = json.dumps([[float(f"{x:.9g}") for x in row] for row in rows])
        facts["box_encoding_scales"] = json.dumps([SCALE_CENTER, SCALE_CENTER, SCALE_SIZE, SCALE_SIZE])
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, facts)
    for entry in (*model.graph.input, *model.graph.output):
        entry.doc_string = _TEXTS[entry.name]
    is_suppressed = "detection_boxes" in {entry.name for entry in model.graph.output}
    form = "raw heads" if is_raw else "after suppression" if is_suppressed else "before suppression"
    model.graph.doc_string = f"Object detector, {form}"


def with_facts(content: bytes, facts: FileFacts) -> bytes:
    """Returns an ONNX file with what it says of itself inside."""
    from mkd_tf.conversion.onnx.suppression import with_thresholds

    model = onnx.load_from_string(content)
    if facts.score_threshold is not None and facts.max_detections is not None:
        with_thresholds(model, facts.score_threshold, facts.max_detections)
    others = {entry.key: entry.value for entry in model.metadata_props if entry.key != FACTS_KEY}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, others | {FACTS_KEY: facts.to_json()})
    return model.SerializeToString(deterministic=True)
