"""Sizes up to which operators were seen mapped in files of the Edge TPU compiler.

The documentation says of some operators only that the size decides ("depending on
input/output size, this operation may not be mapped"). Up to the sizes below they were
mapped in public compiled files; beyond, only the compiler can decide, and the static check
calls the file doubtful. `tests/edgetpu/compiled_pairs.json` has the facts.
"""

from mkd_tf.edgetpu.operators import Operator

# Factor of the side, and side of the output in pixels. Bilinear: MoveNet Lightning 24 to 48, and
# 33 to 33 of DeepLab. Nearest: EfficientDet-Lite3x at 640 px, 40 to 80.
_RESIZED = {"RESIZE_BILINEAR": (2.0, 48), "RESIZE_NEAREST_NEIGHBOR": (2.0, 80)}
# DeepLab's 33 to 513 (factor 15.5) and 1 to 33 were left to the CPU.
_LEFT_FACTOR = 15.0
_TILED_SIDE = 33
_LSTM_STEPS, _LSTM_UNITS = 28, 20


def _sides(op: Operator) -> tuple[float, int] | None:
    """Returns the largest factor of a side and the largest side of the output, of `[1, H, W, C]` maps."""
    first = op.inputs[0] if op.inputs else None
    if first is None or not op.outputs:
        return None
    before, after = first.shape[1:3], op.outputs[0].shape[1:3]
    if len(before) != 2 or len(after) != 2 or min(before) < 1:
        return None
    return max(a / b for a, b in zip(after, before, strict=True)), max(after)


def resize_problem(op: Operator) -> str | None:
    """Returns why a resize is left to the CPU; None if no such size is known."""
    found = _sides(op)
    if op.name == "RESIZE_BILINEAR" and found is not None and found[0] >= _LEFT_FACTOR:
        return f"it enlarges {found[0]:.1f} times; from {_LEFT_FACTOR:g} times on it was seen left to the CPU"
    return None


def unseen(op: Operator) -> str | None:
    """Returns why only the compiler can decide whether the operator is mapped; None if it was seen.

    Args:
      op: an operator without a problem.
    """
    found = _sides(op)
    if op.name in _RESIZED and found is not None:
        factor, side = _RESIZED[op.name]
        if found[0] > factor or found[1] > side:
            return (
                f"enlarges {found[0]:g} times to {found[1]} px; it was seen mapped up to {factor:g} times and"
                f" {side} px"
            )
    if op.name == "TILE" and found is not None and found[1] > _TILED_SIDE:
        return f"repeats one position to {found[1]} px; it was seen mapped up to {_TILED_SIDE} px"
    if op.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        steps, units = (op.outputs[0].shape[-2:] if op.outputs else ()) or (0, 0)
        if steps > _LSTM_STEPS or units > _LSTM_UNITS:
            return (
                f"has {steps} steps of {units} units; it was seen mapped up to {_LSTM_STEPS} steps of"
                f" {_LSTM_UNITS} units"
            )
    return None
