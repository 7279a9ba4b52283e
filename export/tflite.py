"""Exports a trained student to TFLite: `python -m export.tflite --workdir=runs/quickstart`."""

from mkd_tf.export_tflite import console

if __name__ == "__main__":
    console()
