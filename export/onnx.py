"""Exports a trained student to ONNX: `python -m export.onnx --workdir=runs/quickstart --opset=17`.

Run it as a module: as a script, its folder comes first on the path and this file
hides the onnx package. Flags of text with listed values take several, comma-separated:

    python -m export.onnx --workdir=runs/mine --quantization=float32,int8
"""

from mkd_tf.conversion.onnx.format import Onnx
from mkd_tf.export import front_door

if __name__ == "__main__":
    front_door(Onnx, __doc__)
