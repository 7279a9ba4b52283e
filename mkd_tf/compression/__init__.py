"""Compression: prunes, clusters or quantises a distilled student during further training."""

from mkd_tf.compression.detector import CompressedDetector
from mkd_tf.compression.methods import METHODS, Method

__all__ = ["METHODS", "CompressedDetector", "Method"]
