"""Exports a trained student to ONNX: `python -m export.onnx --workdir=runs/quickstart`.

Run it as a module: as a script, its folder comes first on the path and this file
hides the onnx package.
"""

from mkd_tf.export_onnx import console

if __name__ == "__main__":
    console()
