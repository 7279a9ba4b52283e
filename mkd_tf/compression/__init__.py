"""Compression: a distilled student is pruned, clustered or quantised while it goes on learning."""

from mkd_tf.compression.detector import CompressedDetector
from mkd_tf.compression.methods import METHODS, Method

__all__ = ["METHODS", "CompressedDetector", "Method"]
