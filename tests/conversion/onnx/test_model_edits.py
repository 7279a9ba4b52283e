"""Renaming by hand: the same numbers under other names."""

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from mkd_tf.conversion.onnx.model_edits import append, free_batch, rename


def tensor(name, shape):
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def model(nodes, inputs, outputs, constants=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=list(constants))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


def scaled():
    """Twice the input, clipped to at most 3: Clip's lower bound is left out."""
    constants = [numpy_helper.from_array(np.float32(x), n) for n, x in (("a/b;c", 2.0), ("top", 3.0))]
    nodes = [
        helper.make_node("Mul", ["in:0", "a/b;c"], ["x/y;z"], name="old"),
        helper.make_node("Clip", ["x/y;z", "", "top"], ["out:0"]),
    ]
    return model(nodes, [tensor("in:0", [2])], [tensor("out:0", [2])], constants)


def run(made, **inputs):
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def test_names_change_and_numbers_do_not():
    made = scaled()
    made.graph.value_info.append(tensor("x/y;z", [2]))
    rename(made, {"in:0": "images", "out:0": "scores"})
    assert [n.name for n in made.graph.node] == ["Mul_0", "Clip_0"]
    assert list(made.graph.node[1].input) == ["Mul_0:0", "", "constant_1"]
    assert [t.name for t in made.graph.initializer] == ["constant_0", "constant_1"]
    assert not made.graph.value_info
    onnx.checker.check_model(made, full_check=True)
    np.testing.assert_array_equal(run(made, images=np.float32([-1, 2]))[0], [-2, 3])


def test_decoding_is_fed_by_name_and_not_by_order():
    heads = model(
        [
            helper.make_node("Neg", ["images"], ["class_logits"], name="Neg_0"),
            helper.make_node("Abs", ["images"], ["box_encodings"], name="Abs_0"),
        ],
        [tensor("images", [2])],
        [tensor("class_logits", [2]), tensor("box_encodings", [2])],
    )
    decoding = model(
        [
            helper.make_node("Abs", ["box_encodings"], ["boxes"], name="Abs_0"),
            helper.make_node("Identity", ["class_logits"], ["scores"], name="Identity_0"),
        ],
        [tensor("box_encodings", [2]), tensor("class_logits", [2])],
        [tensor("boxes", [2]), tensor("scores", [2])],
    )
    made = append(heads, decoding)
    assert [o.name for o in made.graph.output] == ["boxes", "scores"]
    assert len({n.name for n in made.graph.node}) == 4
    assert [(e.domain, e.version) for e in made.opset_import] == [("", 17)]
    boxes, scores = run(made, images=np.float32([-1, 2]))
    np.testing.assert_array_equal(boxes, [1, 2])
    np.testing.assert_array_equal(scores, [1, -2])


def test_a_free_batch_has_one_name():
    made = model(
        [helper.make_node("Neg", ["a"], ["b"])], [tensor("a", ["unk__1", 4])], [tensor("b", ["unk__2", 4])]
    )
    free_batch(made)
    dims = [e.type.tensor_type.shape.dim for e in (*made.graph.input, *made.graph.output)]
    assert [[d.dim_param or d.dim_value for d in ds] for ds in dims] == [["batch", 4]] * 2
