"""Detectors: one family per file, all on the contract of `detectors.base`."""

from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.tiny import Tiny
from mkd_tf.registry import Table

DETECTORS: Table[Detector] = Table("detector", {"tiny": Tiny})

__all__ = ["DETECTORS", "Detector", "Tiny"]
