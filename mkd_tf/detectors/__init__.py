"""Detectors: one family per file, all on the contract of `detectors.base`.

Example:
  >>> from mkd_tf import DETECTORS
  >>> list(DETECTORS)
  ['tiny', 'resnet', 'mobilenet_v2', 'efficientnet_lite']
  >>> DETECTORS.build("tiny(size='fast')", image_size=64, class_names=("cat", "dog")).name
  'tiny'
"""

import dataclasses
import inspect
from typing import Any

from mkd_tf.detectors.adapted import AdaptedDetector, adapt
from mkd_tf.detectors.base import Detector
from mkd_tf.detectors.efficientnet_lite import EfficientNetLite
from mkd_tf.detectors.ensemble import Ensemble
from mkd_tf.detectors.flipped import Flipped
from mkd_tf.detectors.keras_hub import from_keras_hub
from mkd_tf.detectors.mobilenet_v2 import MobileNetV2
from mkd_tf.detectors.resnet import ResNet
from mkd_tf.detectors.teachers import assemble_teacher
from mkd_tf.detectors.tiny import Tiny
from mkd_tf.registry import Table, parse_spec

DETECTORS: Table[Detector] = Table(
    "detector",
    {
        "tiny": Tiny,
        "resnet": ResNet,
        "mobilenet_v2": MobileNetV2,
        "efficientnet_lite": EfficientNetLite,
    },
)


def takes_backbone_weights(spec: str) -> bool:
    """Returns whether the family that `spec` names has a backbone to load weights into."""
    family = DETECTORS[parse_spec(spec, DETECTORS.kind).name]
    return "backbone_weights" in inspect.signature(family).parameters


def build_detector(spec: str, backbone_weights: str = "", **context: Any) -> Detector:
    """Builds what `spec` names, with these `backbone_weights` unless the spec has its own.

    Args:
      spec: a name or a call, as in `resnet(depth=50)`.
      backbone_weights: `imagenet` or a file; families without a backbone ignore it.
      **context: `image_size` and `class_names`.

    Raises:
      MkdError: as the family does.
    """
    parsed = parse_spec(spec, DETECTORS.kind)
    if backbone_weights and takes_backbone_weights(spec):
        arguments = {"backbone_weights": backbone_weights} | dict(parsed.arguments)
        parsed = dataclasses.replace(parsed, arguments=arguments)
    return DETECTORS.build(parsed, **context)


__all__ = [
    "DETECTORS",
    "AdaptedDetector",
    "Detector",
    "EfficientNetLite",
    "Ensemble",
    "Flipped",
    "MobileNetV2",
    "ResNet",
    "Tiny",
    "adapt",
    "assemble_teacher",
    "build_detector",
    "from_keras_hub",
    "takes_backbone_weights",
]
