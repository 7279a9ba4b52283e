"""Exports a trained student to TFLite: `python -m export.tflite --workdir=runs/quickstart`.

Flags of text with listed values take several, comma-separated: a file of each. Example:

    python -m export.tflite --workdir=runs/mine --quantization=int8,float32 --postprocess=raw
"""

from mkd_tf.conversion.tflite.format import TFLite
from mkd_tf.export import front_door

if __name__ == "__main__":
    front_door(TFLite, __doc__)
