"""Strategies: one kind of knowledge per file, all on the contract of `strategies.base`."""

from mkd_tf.registry import Table
from mkd_tf.strategies.attention_map import AttentionMap
from mkd_tf.strategies.base import Port, Strategy
from mkd_tf.strategies.guide import Hint
from mkd_tf.strategies.layer_relation import LayerRelation
from mkd_tf.strategies.soft_targets import SoftBoxes, SoftClasses

STRATEGIES: Table[Strategy] = Table(
    "strategy",
    {
        "soft_classes": SoftClasses,
        "soft_boxes": SoftBoxes,
        "layer_relation": LayerRelation,
        "attention_map": AttentionMap,
        "hint": Hint,
    },
)

__all__ = [
    "STRATEGIES",
    "Port",
    "Strategy",
    "AttentionMap",
    "Hint",
    "LayerRelation",
    "SoftBoxes",
    "SoftClasses",
]
