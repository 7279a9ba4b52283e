"""Conversion: detectors become files for phones and boards."""

from mkd_tf.conversion.tflite.convert import to_tflite

__all__ = ["to_tflite"]
