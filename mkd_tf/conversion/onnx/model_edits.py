"""Changes to an ONNX graph after its conversion: names, decoding and metadata."""

import collections
import json
from collections.abc import Mapping

import onnx
from onnx import compose

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
}


def rename(model: onnx.ModelProto, public: Mapping[str, str]) -> None:
    """Renames every tensor in place: inputs and outputs as in `public`, others by the op that makes them.

    A converter joins the names of all layers that a tensor was folded from; these names
    took a third of an int8 file.

    Args:
      model: whose graph has no subgraphs.
      public: from the present names of inputs and outputs to the new ones.
    """
    graph, names = model.graph, dict(public)
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
    model.graph.doc_string = "Object detector, " + ("raw heads" if is_raw else "before suppression")
